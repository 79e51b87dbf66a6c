"""Control flow, memory and calls; arithmetic is in test_alu.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.fakes import Args
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R6, R7, R10, U64, Insn, Size
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import ArrayModel, HashModel, MapModel, ProgramArrayModel
from bpfilter.errors import InterpError


def assemble(write: Callable[[Builder], None]) -> tuple[Insn, ...]:
    b = Builder()
    write(b)
    return b.build()


def test_loop_with_a_jump_back() -> None:
    def program(b: Builder) -> None:
        b.mov(R0, 0)
        b.label("again")
        b.add(R0, R1)
        b.sub(R1, 1)
        b.jne(R1, 0, "again")
        b.exit()

    machine = Machine(assemble(program))
    assert machine.run(4) == 4 + 3 + 2 + 1
    assert machine.executed == 1 + 4 * 3 + 1


def test_the_budget_ends_endless_loops() -> None:
    def program(b: Builder) -> None:
        b.label("again")
        with b.origin("rule 9"):
            b.jump("again")

    with pytest.raises(InterpError, match=r"longer than its budget \(for rule 9\)") as caught:
        Machine(assemble(program), budget=1000).run(0)
    assert caught.value.index == 0


def test_may_goto_ends_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(b: Builder) -> None:
        b.mov(R0, 0)
        b.label("again")
        b.may_goto("out")
        b.add(R0, 1)
        b.jne(R0, R1, "again")
        b.label("out")
        b.exit()

    monkeypatch.setattr(abi, "MAX_LOOPS", 5)
    machine = Machine(assemble(program))
    assert [machine.run(end) for end in (1, 5, 6, 6)] == [1, 5, 5, 5]


def test_errors_name_the_instruction_and_its_origin() -> None:
    def program(b: Builder) -> None:
        b.mov(R0, 0)
        b.jeq(R1, 0, "out")
        with b.origin("rule 3"):
            b.call_sub("sub")
        b.label("out")
        b.exit()
        b.label("sub")
        with b.origin("rule 4"):
            b.load(R0, R1, 8)
        b.exit()

    machine = Machine(assemble(program))
    assert machine.run(0) == 0
    with pytest.raises(InterpError) as caught:
        machine.run(16)
    assert str(caught.value) == (
        "instruction 4: read of 8 bytes at 0x18, where nothing is (for rule 4)"
    )
    assert (caught.value.index, caught.value.origin) == (4, "rule 4")
    assert machine.run(0) == 0  # and it can go on


@pytest.mark.parametrize("size", Size)
def test_loads_and_stores(size: Size) -> None:
    def program(b: Builder) -> None:
        b.load(R2, R1, 1, size)
        b.store(R1, 16, R2, size)
        b.store(R1, 32, -2, size)
        b.mov(R0, R2)
        b.exit()

    memory = Memory()
    region = memory.add("ctx", bytes(range(0x80, 0xB0)))
    value = int.from_bytes(region.data[1 : 1 + size.nbytes], "little")
    assert Machine(assemble(program), memory=memory).run(region.base) == value
    assert region.data[16 : 16 + size.nbytes] == value.to_bytes(size.nbytes, "little")
    assert region.data[32] == 0xFE
    assert set(region.data[33 : 32 + size.nbytes]) <= {0xFF}
    assert region.data[32 + size.nbytes] == 0xA0 + size.nbytes


def test_sign_extending_load() -> None:
    def program(b: Builder) -> None:
        b.loadsx(R0, R1, 0, Size.H)
        b.exit()

    memory = Memory()
    region = memory.add("ctx", b"\xfe\xff\x7f")
    assert Machine(assemble(program), memory=memory).run(region.base) == U64 - 1


ATOMICS = [
    ("atomic_add", 0xF0, 0xF0 + 0x3C, None),
    ("atomic_or", 0xF0, 0xFC, None),
    ("atomic_and", 0xF0, 0x30, None),
    ("atomic_xor", 0xF0, 0xCC, None),
    ("fetch_add", 0xF0, 0xF0 + 0x3C, 0xF0),
    ("fetch_or", 0xF0, 0xFC, 0xF0),
    ("fetch_and", 0xF0, 0x30, 0xF0),
    ("fetch_xor", 0xF0, 0xCC, 0xF0),
    ("xchg", 0xF0, 0x3C, 0xF0),
]


@pytest.mark.parametrize("size", [Size.W, Size.DW])
@pytest.mark.parametrize(("operation", "before", "after", "fetched"), ATOMICS)
def test_atomics(operation: str, before: int, after: int, fetched: int | None, size: Size) -> None:
    b = Builder()
    b.imm64(R2, 0x3C + (7 << 32))
    getattr(b, operation)(R1, 8, R2, size)
    b.mov(R0, R2)
    b.exit()
    memory = Memory()
    region = memory.add("counter", before.to_bytes(8, "little").rjust(16, b"\x11") + b"\x22" * 8)
    result = Machine(b.build(), memory=memory).run(region.base)
    assert result == (0x3C + (7 << 32) if fetched is None else fetched)
    wide = size is Size.DW and operation.split("_")[-1] in ("add", "or", "xor", "xchg")
    assert int.from_bytes(region.data[8:16], "little") == after + (7 << 32) * wide
    assert region.data[:8] + region.data[16:] == b"\x11" * 8 + b"\x22" * 8


def test_a_32_bit_counter_wraps_alone() -> None:
    def program(b: Builder) -> None:
        b.mov(R2, 1)
        b.fetch_add(R1, 0, R2, Size.W)
        b.mov(R0, R2)
        b.exit()

    memory = Memory()
    region = memory.add("counter", b"\xff\xff\xff\xff\x05\0\0\0")
    assert Machine(assemble(program), memory=memory).run(region.base) == 0xFFFF_FFFF
    assert region.data == b"\0\0\0\0\x05\0\0\0"


@pytest.mark.parametrize("expected", [7, 8])
def test_cmpxchg(expected: int) -> None:
    def program(b: Builder) -> None:
        b.imm64(R0, expected + (1 << 32))  # only the lower half is compared
        b.mov(R2, 9)
        b.cmpxchg(R1, 0, R2, Size.W)
        b.exit()

    memory = Memory()
    region = memory.add("word", b"\x07\0\0\0\xee")
    assert Machine(assemble(program), memory=memory).run(region.base) == 7
    assert region.data == (b"\x09" if expected == 7 else b"\x07") + b"\0\0\0\xee"


def test_subprograms_have_frames_of_their_own() -> None:
    def program(b: Builder) -> None:
        b.store(R10, -512, 1)
        b.mov(R6, 100)
        b.mov(R1, 20)
        b.mov(R2, R10)
        b.add(R2, -8)
        b.call_sub("sub")
        b.add(R0, R6)  # kept over the call
        b.load(R1, R10, -512)
        b.add(R0, R1)
        b.load(R1, R10, -8)  # written by the callee through a pointer
        b.add(R0, R1)
        b.exit()
        b.label("sub")
        b.store(R10, -512, 2)
        b.store(R2, 0, 3000)
        b.mov(R6, 0)
        b.mov(R0, R1)
        b.exit()

    assert Machine(assemble(program)).run(0) == 20 + 100 + 1 + 3000


def test_calls_take_the_argument_registers() -> None:
    def program(b: Builder) -> None:
        b.mov(R2, 5)
        b.call(Helper.GET_SMP_PROCESSOR_ID)
        b.mov(R0, R2)
        b.exit()

    assert Machine(assemble(program)).run(0) != 5


def test_frames_are_given_back() -> None:
    def program(b: Builder) -> None:
        for _ in range(20):
            b.call_sub("sub")
        b.exit()
        b.label("sub")
        b.mov(R0, 42)
        b.exit()

    assert Machine(assemble(program)).run(0) == 42


@pytest.mark.parametrize("depth", [7, 8])
def test_eight_frames_at_most(depth: int) -> None:
    def program(b: Builder) -> None:
        for number in range(depth):
            b.call_sub(f"sub{number}")
            b.exit()
            b.label(f"sub{number}")
        b.mov(R0, 42)
        b.exit()

    machine = Machine(assemble(program))
    if depth == 7:
        assert machine.run(0) == 42
    else:
        with pytest.raises(InterpError, match="more than 8 frames"):
            machine.run(0)


def looping(b: Builder) -> None:
    # bpf_loop(R1, step, &total, 0); R0 = total * 1000 + what bpf_loop gave
    b.store(R10, -8, 0)
    b.load_func(R2, "step")
    b.mov(R3, R10)
    b.add(R3, -8)
    b.mov(R4, 0)
    b.call(Helper.LOOP)
    b.load(R1, R10, -8)
    b.mul(R1, 1000)
    b.add(R0, R1)
    b.exit()
    b.label("step")
    b.load(R3, R2, 0)
    b.add(R3, R1)
    b.store(R2, 0, R3)
    b.mov(R0, 0)
    b.jlt(R1, 5, "go on")
    b.mov(R0, 1)
    b.label("go on")
    b.exit()


@pytest.mark.parametrize(
    ("count", "total", "done"), [(0, 0, 0), (4, 6, 4), (6, 15, 6), (99, 15, 6)]
)
def test_bpf_loop(count: int, total: int, done: int) -> None:
    assert Machine(assemble(looping)).run(count) == total * 1000 + done


def test_bpf_loop_refuses_what_the_kernel_refuses() -> None:
    assert Machine(assemble(looping)).run(abi.MAX_LOOPS + 1) == -7 & U64  # E2BIG


def test_callbacks_count_against_the_budget() -> None:
    machine = Machine(assemble(looping), budget=20)
    with pytest.raises(InterpError, match="budget"):
        machine.run(5)


def test_a_callback_must_be_a_subprogram() -> None:
    def program(b: Builder) -> None:
        b.mov(R1, 1)
        b.mov(R2, 77)
        b.mov(R4, 0)
        b.call(Helper.LOOP)
        b.exit()

    with pytest.raises(InterpError, match="no subprogram at 0x4d"):
        Machine(assemble(program)).run(0)


def test_helpers_and_kfuncs_get_five_arguments_and_give_r0() -> None:
    def program(b: Builder) -> None:
        b.mov(R6, R1)
        b.mov(R2, 2)
        b.call(Helper.KTIME_GET_NS)
        b.mov(R1, R0)
        b.type_id(R2, "sk_buff")
        b.kfunc("bpf_rdonly_cast")
        b.exit()

    seen: list[tuple[int, ...]] = []

    def clock(machine: Machine, args: Args) -> int:
        seen.append(args)
        return -1

    def cast(machine: Machine, args: Args) -> int:  # instead of the one in fakes.py
        assert args[1] == machine.type_ids["sk_buff"]
        return args[0] - 1

    insns = assemble(program)
    machine = Machine(
        insns, helpers={Helper.KTIME_GET_NS: clock}, kfuncs={"bpf_rdonly_cast": cast}
    )
    assert machine.run(1) == U64 - 1
    assert seen[0][:2] == (1, 2)
    assert len(seen[0]) == 5


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda b: b.call(Helper.KTIME_GET_NS), "helper ktime_get_ns, which has no model"),
        (lambda b: b.kfunc("bpf_f"), "kernel function bpf_f, which has no model"),
        (lambda b: b.jump("away"), "leads nowhere"),
        (lambda b: b.jne(R1, 1, "away"), "leads nowhere"),
        (lambda b: b.call_sub("away"), "leads nowhere"),
        (lambda b: b.mov(R0, 0), "past its end"),
    ],
)
def test_mistakes_show_when_they_are_met(write: Callable[[Builder], None], words: str) -> None:
    machine = Machine(assemble(write))
    with pytest.raises(InterpError, match=words) as caught:
        machine.run(0)
    assert caught.value.index == 0


@pytest.mark.parametrize(
    "insn",
    [
        Insn(abi.BPF_LD | abi.BPF_ABS | abi.BPF_W),
        Insn(abi.BPF_ALU64 | 0xE0),
        Insn(abi.BPF_ALU64 | abi.BPF_ADD, off=1),
        Insn(abi.BPF_ALU | abi.BPF_END, imm=17),
        Insn(abi.BPF_JMP32 | abi.BPF_JCOND),
        Insn(abi.BPF_STX | abi.BPF_ATOMIC | abi.BPF_DW, imm=0x33),
        Insn(abi.BPF_STX | abi.BPF_ATOMIC | abi.BPF_B),
        Insn(abi.BPF_LDX | abi.BPF_ATOMIC),
        Insn(abi.CALL, src=9),
    ],
)
def test_unknown_opcodes_are_refused(insn: Insn) -> None:
    with pytest.raises(InterpError, match=r"not known|17 bits"):
        Machine([insn, Insn(abi.EXIT)])


def counting(b: Builder) -> None:
    # Count in a direct value, then in an array by look-up, then in a hash.
    b.mov(R6, R1)
    b.load_map_value(R1, "direct", 8)
    b.mov(R2, 1)
    b.atomic_add(R1, 0, R2)
    b.store(R10, -4, R6, Size.W)
    b.load_map(R1, "array")
    b.mov(R2, R10)
    b.add(R2, -4)
    b.call(Helper.MAP_LOOKUP_ELEM)
    b.jeq(R0, 0, "out")
    b.load(R7, R0, 0)
    b.add(R7, 1)
    b.store(R0, 0, R7)
    b.store(R10, -16, R7)
    b.load_map(R1, "hash")
    b.mov(R2, R10)
    b.add(R2, -4)
    b.mov(R3, R10)
    b.add(R3, -16)
    b.mov(R4, 0)
    b.call(Helper.MAP_UPDATE_ELEM)
    b.load_map(R1, "hash")
    b.mov(R2, R10)
    b.add(R2, -4)
    b.jne(R6, 2, "out")
    b.call(Helper.MAP_DELETE_ELEM)
    b.label("out")
    b.exit()


def test_maps_and_their_observer() -> None:
    memory = Memory()
    direct = ArrayModel(memory, "direct", value_bytes=16)
    array = ArrayModel(memory, "array", value_bytes=8, entries=3)
    table = HashModel(memory, "hash", key_bytes=4, value_bytes=8, entries=4)
    maps: dict[str, MapModel] = {"direct": direct, "array": array, "hash": table}
    seen: list[tuple[str, int]] = []
    machine = Machine(
        assemble(counting),
        maps,
        memory=memory,
        on_map_write=lambda name, offset: seen.append((name, offset)),
    )
    for index in (1, 1, 0, 2):
        assert machine.run(index) == 0
    assert seen[:2] == [("direct", 8), ("array", 8)]
    assert machine.run(9) == 0  # no such index: look-up gives null
    assert direct.get(bytes(4)) == bytes(8) + (5).to_bytes(8, "little")
    assert array.values.data == b"".join(n.to_bytes(8, "little") for n in (1, 2, 1))
    one, zero = b"\1\0\0\0", bytes(4)
    assert dict(table.items()) == {one: b"\2" + bytes(7), zero: b"\1" + bytes(7)}


def test_maps_that_are_not_given() -> None:
    with pytest.raises(InterpError, match="map value direct, which is not given"):
        Machine(assemble(counting))


def test_a_helper_needs_a_real_map() -> None:
    def program(b: Builder) -> None:
        b.call(Helper.MAP_LOOKUP_ELEM)
        b.exit()

    with pytest.raises(InterpError, match="no map at 0x5"):
        Machine(assemble(program)).run(5)


def tail_calling(index: int) -> tuple[Insn, ...]:
    b = Builder()
    b.mov(R6, R1)
    b.load_map(R2, "programs")
    b.mov(R3, index)
    b.call(Helper.TAIL_CALL)
    b.load(R0, R6, 0)  # reached only if there is no such program
    b.add(R0, 1000)
    b.exit()
    return b.build()


def machine_with(programs: Mapping[int, tuple[Insn, ...]], index: int) -> tuple[Machine, int]:
    memory = Memory()
    array = ProgramArrayModel(memory, "programs", programs)
    context = memory.add("ctx", bytes(8)).base
    return Machine(tail_calling(index), {"programs": array}, memory=memory), context


def test_tail_calls() -> None:
    def target(b: Builder) -> None:
        b.call_sub("sub")
        b.exit()
        b.label("sub")
        b.load(R0, R1, 0)
        b.add(R0, 5)
        b.exit()

    machine, context = machine_with({3: assemble(target)}, 3)
    assert machine.run(context) == 5
    assert machine.run(context) == 5
    machine, context = machine_with({3: assemble(target)}, 2)
    assert machine.run(context) == 1000


def test_33_tail_calls_at_most() -> None:
    def again(b: Builder) -> None:
        b.load(R2, R1, 0)
        b.add(R2, 1)
        b.store(R1, 0, R2)
        for insn in tail_calling(0):
            b.emit(insn)

    machine, context = machine_with({0: assemble(again)}, 0)
    assert machine.run(context) == 1033
    assert machine.run(context) == 1066  # a new run counts anew


def test_errors_in_a_program_called_by_tail_call() -> None:
    def faulty(b: Builder) -> None:
        b.mov(R0, 0)
        with b.origin("the other"):
            b.load(R0, R0, 0)
        b.exit()

    machine, context = machine_with({0: assemble(faulty)}, 0)
    with pytest.raises(InterpError, match=r"instruction 1: .*for the other"):
        machine.run(context)


def test_a_tail_call_needs_a_program_array() -> None:
    memory = Memory()
    array = ArrayModel(memory, "programs", value_bytes=4)
    machine = Machine(tail_calling(0), {"programs": array}, memory=memory)
    with pytest.raises(InterpError, match="no program array"):
        machine.run(0)


def test_probe_read_kernel_gives_zeros_for_what_cannot_be_read() -> None:
    def program(b: Builder) -> None:
        b.mov(R3, R1)
        b.mov(R1, R10)
        b.add(R1, -8)
        b.imm64(R2, 7 << 32 | 4)  # the size is 32 bits
        b.call(Helper.PROBE_READ_KERNEL)
        b.mov(R6, R0)
        b.load(R0, R10, -8, Size.W)
        b.add(R0, R6)
        b.exit()

    memory = Memory()
    region = memory.add("ctx", b"\1\2\0\0\0")
    machine = Machine(assemble(program), memory=memory)
    assert machine.run(region.base) == 0x201
    assert machine.run(region.base + 2) == -14 & U64  # EFAULT
    assert machine.run(0) == -14 & U64


def test_a_cast_changes_nothing() -> None:
    def program(b: Builder) -> None:
        b.type_id(R2, "sk_buff")
        b.kfunc("bpf_rdonly_cast")
        b.exit()

    assert Machine(assemble(program)).run(1234) == 1234


def summing(b: Builder) -> None:
    # The sum of the numbers from the lower to the upper half of R1; the error above them.
    b.mov(R2, R1)
    b.mov(R3, R1)
    b.rsh(R3, 32)
    b.mov(R1, R10)
    b.add(R1, -8)
    b.kfunc("bpf_iter_num_new")
    b.mov(R7, R0)
    b.lsh(R7, 32)
    b.label("again")
    b.mov(R1, R10)
    b.add(R1, -8)
    b.kfunc("bpf_iter_num_next")
    b.jeq(R0, 0, "done")
    b.loadsx(R1, R0, 0, Size.W)
    b.add(R7, R1)
    b.jump("again")
    b.label("done")
    b.mov(R1, R10)
    b.add(R1, -8)
    b.kfunc("bpf_iter_num_destroy")
    b.load(R0, R10, -8)
    b.or_(R0, R7)
    b.exit()


@pytest.mark.parametrize(
    ("start", "end", "total"),
    [(0, 0, 0), (0, 5, 10), (-3, 3, -3), (7, 8, 7), (-(1 << 31), -(1 << 31) + 1, -(1 << 31))],
)
def test_number_iterators(start: int, end: int, total: int) -> None:
    machine = Machine(assemble(summing))
    argument = end % (1 << 32) << 32 | start % (1 << 32)
    assert machine.run(argument) == total & U64


@pytest.mark.parametrize(("start", "end", "code"), [(1, 0, 22), (0, abi.MAX_LOOPS + 1, 7)])
def test_number_iterators_that_cannot_be(start: int, end: int, code: int) -> None:
    assert Machine(assemble(summing)).run(end << 32 | start) == -code << 32 & U64
