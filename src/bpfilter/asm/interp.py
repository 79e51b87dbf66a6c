"""A reference interpreter: runs programs anywhere, with the world outside faked in Python.

    memory = Memory()
    hits = ArrayModel(memory, "hits", value_bytes=16)
    machine = Machine(insns, {"hits": hits}, memory=memory)
    verdict = machine.run(memory.add("ctx", bytes(64)).base)

It is a little-endian machine with one CPU. What a verified program cannot do (read
outside its memory, run on for ever) is an InterpError that names the instruction.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Final, cast

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import HELPER_NAMES
from bpfilter.asm import alu
from bpfilter.asm.fakes import HELPERS, KFUNCS, Args, Fake
from bpfilter.asm.insn import U32, Insn, Ref, RefKind
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import MapModel, ProgramArrayModel
from bpfilter.asm.translate import translate
from bpfilter.errors import InterpError

Registers = list[int]
Block = Callable[[Registers], "Block | None"]

#: What unwritten registers and stack hold: nothing a program would mistake for a value.
POISON: Final = 0xDEAD_BEEF_DEAD_BEEF
_LOST: Final = [POISON] * 5
_STALE_STACK: Final = bytes([0xA5]) * abi.MAX_STACK


class Machine:
    """One program with its maps, helpers and kernel functions.

    `insns` may be resolved or not; maps, kernel functions and types are found by the names
    in their references, so programs decoded from bytes can only use helpers. `helpers` and
    `kfuncs` are called with the machine and the tuple R1-R5; they add to, and override,
    those in fakes.py. A missing one is an error when it is called. `budget` is
    how many instructions a run may execute. `on_map_write(name, offset)` is called after
    every write of a program into a map's values.
    """

    def __init__(
        self,
        insns: Sequence[Insn],
        maps: Mapping[str, MapModel | ProgramArrayModel] | None = None,
        helpers: Mapping[int, Fake] | None = None,
        kfuncs: Mapping[str, Fake] | None = None,
        memory: Memory | None = None,
        *,
        budget: int = 10_000_000,
        on_map_write: Callable[[str, int], None] | None = None,
    ) -> None:
        self.maps = dict(maps or {})
        self.helpers: dict[int, Fake] = {**HELPERS, **(helpers or {})}
        self.kfuncs: dict[str, Fake] = {**KFUNCS, **(kfuncs or {})}
        self.memory = memory if memory is not None else Memory()
        self.budget = budget
        self.type_ids: dict[str, int] = {}
        self._handles = {model.handle: model for model in self.maps.values()}
        self._fuel = [budget]
        self._rounds = [abi.MAX_LOOPS]  # may_goto falls through so many times
        self._frames = [
            self.memory.add(f"stack of frame {n}", abi.MAX_STACK)
            for n in range(abi.MAX_CALL_FRAMES)
        ]
        self._depth = -1
        self._tail_calls = 0
        self._callbacks: dict[int, Block] = {}
        self._programs: dict[str, _Program] = {}  # by the file name in their tracebacks
        self._tail_programs: dict[tuple[int, int], _Program] = {}
        self._environment = self._make_environment()
        if on_map_write is not None:
            for name, model in self.maps.items():
                if isinstance(model, MapModel):
                    model.observe(_with_name(on_map_write, name))
        self._main = self._load(insns)

    @property
    def executed(self) -> int:
        """Instructions executed in the last run."""
        return self.budget - self._fuel[0]

    def run(self, context: int) -> int:
        """Run with R1 = `context`; give R0, unsigned 64 bits.

        Raises: InterpError with the index and origin of the instruction at fault.
        """
        self._fuel[0] = self.budget
        self._depth = -1
        self._tail_calls = 0
        self._rounds[0] = abi.MAX_LOOPS
        try:
            return self._enter(self._main.entry, (context, *_LOST[1:]))
        except InterpError as error:
            raise self._located(error) from error

    def call(self, address: int, *args: int) -> int:
        """Call a subprogram by address, as a helper does with a callback; gives R0."""
        callback = self._callbacks.get(address)
        if callback is None:
            raise InterpError(f"no subprogram at {address:#x}")
        if self._fuel[0] < 0:
            raise _out_of_budget()
        return self._enter(callback, (*args, *_LOST[len(args) :]))

    def map_at(self, handle: int) -> MapModel:
        """Give the map a program holds a pointer to."""
        found = self._handles.get(handle)
        if not isinstance(found, MapModel):
            raise InterpError(f"no map at {handle:#x} that a helper could work on")
        return found

    def _enter(self, block: Block | None, args: Sequence[int]) -> int:
        if self._depth + 1 == abi.MAX_CALL_FRAMES:
            raise InterpError(f"calls nest more than {abi.MAX_CALL_FRAMES} frames deep")
        self._depth += 1
        frame = self._frames[self._depth]
        frame.data[:] = _STALE_STACK
        registers = [POISON, *args, POISON, POISON, POISON, POISON, frame.base + abi.MAX_STACK]
        while block is not None:
            block = block(registers)
        self._depth -= 1
        return registers[0]

    def _tail_call(self, registers: Registers) -> Block | None:
        # bpf_tail_call(context, array, index): goes on after the call only if it fails.
        array, index = self._handles.get(registers[2]), registers[3] & U32
        if not isinstance(array, ProgramArrayModel):
            raise InterpError(f"no program array at {registers[2]:#x}")
        if index not in array.programs or self._tail_calls == abi.MAX_TAIL_CALLS:
            registers[0] = POISON
            registers[1:6] = _LOST
            return None
        self._tail_calls += 1
        registers[2:10] = [POISON] * 8
        self._frames[self._depth].data[:] = _STALE_STACK
        key = (array.handle, index)
        if key not in self._tail_programs:
            self._tail_programs[key] = self._load(array.programs[index])
        return self._tail_programs[key].entry

    def _load(self, insns: Sequence[Insn]) -> _Program:
        name = f"<bpf program {next(_serial)}>"
        code = self.memory.add(name, 0, writable=False)
        translation = translate(insns, self._link, code.base)
        scope: dict[str, object] = {**self._environment}
        for index, insn in enumerate(insns):
            if insn.opcode == abi.CALL and insn.src != abi.BPF_PSEUDO_CALL:
                scope[f"call{index}"] = self._callee(insn)
        exec(compile(translation.source, name, "exec"), scope)
        for index in translation.callbacks:
            self._callbacks[code.base + index] = cast("Block", scope[f"b{index}"])
        program = _Program(insns, translation.lines, cast("Block", scope["b0"]))
        self._programs[name] = program
        return program

    def _link(self, ref: Ref) -> int:
        if ref.kind is RefKind.TYPE:
            return self.type_ids.setdefault(ref.name, len(self.type_ids) + 1)
        model = self.maps.get(ref.name)
        if ref.kind is RefKind.MAP and model is not None:
            return model.handle
        if isinstance(model, MapModel):
            return model.value_address(ref.offset)
        raise InterpError(f"the program uses {ref.kind.value} {ref.name}, which is not given")

    def _callee(self, insn: Insn) -> Fake:
        if insn.src == abi.BPF_HELPER_CALL:
            name = HELPER_NAMES.get(insn.imm, str(insn.imm))
            return self.helpers.get(insn.imm) or _missing(f"helper {name}")
        name = insn.ref.name if insn.ref is not None else str(insn.imm)
        return self.kfuncs.get(name) or _missing(f"kernel function {name}")

    def _make_environment(self) -> dict[str, object]:
        # What the lines made by translate.py refer to.
        memory, fuel, rounds = self.memory, self._fuel, self._rounds
        load = {nbytes: memory.loader(nbytes) for nbytes in (1, 2, 4, 8)}
        store = {nbytes: memory.storer(nbytes) for nbytes in (1, 2, 4, 8)}

        def again(block: Block) -> Block:
            if fuel[0] < 0:
                raise _out_of_budget()
            return block

        def is_endless() -> bool:
            rounds[0] -= 1
            return rounds[0] < 0

        def update(
            address: int, nbytes: int, operation: Callable[[int, int], int], value: int
        ) -> int:
            old = load[nbytes](address)
            store[nbytes](address, operation(old, value))
            return old

        def exchange(address: int, nbytes: int, value: int) -> int:
            return update(address, nbytes, lambda _old, new: new, value)

        def compare_exchange(address: int, nbytes: int, expected: int, value: int) -> int:
            old = load[nbytes](address)
            if old == expected & (1 << nbytes * 8) - 1:
                store[nbytes](address, value)
            return old

        return {
            **{f"load{nbytes}": function for nbytes, function in load.items()},
            **{f"store{nbytes}": function for nbytes, function in store.items()},
            "update": update,
            "exchange": exchange,
            "compare_exchange": compare_exchange,
            "add": operator.add,
            "or_": operator.or_,
            "and_": operator.and_,
            "xor": operator.xor,
            "swap": alu.swap,
            "sign_extend": alu.sign_extend,
            "signed_div": alu.signed_div,
            "signed_mod": alu.signed_mod,
            "machine": self,
            "enter": self._enter,
            "tail_call": self._tail_call,
            "lost": _LOST,
            "fuel": fuel,
            "again": again,
            "is_endless": is_endless,
            "nowhere": _nowhere,
            "past_the_end": _past_the_end,
        }

    def _located(self, error: InterpError) -> InterpError:
        # The innermost line of translated code in the traceback is the instruction.
        trace: TracebackType | None = error.__traceback__
        index, origin = error.index, error.origin
        while trace is not None:
            program = self._programs.get(trace.tb_frame.f_code.co_filename)
            if program is not None:
                index = program.lines[trace.tb_lineno - 1]
                origin = program.insns[index].origin
            trace = trace.tb_next
        return InterpError(error.message, index, origin)


class _Program:
    def __init__(self, insns: Sequence[Insn], lines: tuple[int, ...], entry: Block) -> None:
        self.insns = insns
        self.lines = lines
        self.entry = entry


_serial = count(1)


def _missing(what: str) -> Fake:
    def fail(_machine: Machine, _args: Args) -> int:
        raise InterpError(f"call of {what}, which has no model here")

    return fail


def _with_name(observer: Callable[[str, int], None], name: str) -> Callable[[int], None]:
    return lambda offset: observer(name, offset)


def _out_of_budget() -> InterpError:
    return InterpError("the program ran longer than its budget")


def _nowhere() -> Block:
    raise InterpError("a jump or call leads nowhere")


def _past_the_end() -> Block:
    raise InterpError("the program runs past its end")
