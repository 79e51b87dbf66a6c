"""`-m bpf`: a classic BPF program, or one pinned in bpffs, which says yes or no (libxt_bpf.c)."""

from __future__ import annotations

import re
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text, fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import U8, U16, U32, only_one

_MAX_INSTRUCTIONS = 64  # XT_BPF_MAX_NUM_INSTR
_PATH_BYTES = 512  # XT_BPF_PATH_MAX
_HEAD = re.compile(r"\s*\+?([0-9]+),(.*)", re.ASCII | re.DOTALL)
_INSTRUCTION = re.compile(r"\s*\+?([0-9]+)\s+\+?([0-9]+)\s+\+?([0-9]+)\s+\+?([0-9]+)", re.ASCII)
_LIMITS = (U16, U8, U8, U32)
_RETURNS = (0x06, 0x16)  # BPF_RET with a constant, or with the accumulator


@match("bpf")
@dataclass(frozen=True, slots=True)
class Bpf(UnenforcedMatch):
    """`program` has (code, true, false, constant) of each instruction; or `path` is a pin's."""

    program: tuple[tuple[int, int, int, int], ...] = ()
    path: str = ""

    OPTIONS = (
        Option("--bytecode", "program", "classic BPF: its length, then its instructions"),
        Option("--object-pinned", "path", "a socket filter pinned in a BPF file system"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "bpf", "--bytecode", "--object-pinned")
        if not given.uses:
            fail("bpf: one of --bytecode or --object-pinned is required", given)
        use = given.uses[0]
        if use.option.name == "--bytecode":
            return cls(_parse_program(use))
        return cls((), cut_text(use, "bpf", _PATH_BYTES))

    def format(self, family: Family) -> list[str]:
        if self.path:
            return ["--object-pinned", self.path]
        return ["--bytecode", f'"{len(self.program)},{self._code()}"']

    # The C string ends in a NUL, which the listing has too.
    def describe(self, family: Family) -> str:
        return f"match bpf pinned {self.path}" if self.path else f"match bpf {self._code()}\0"

    def _code(self) -> str:
        return ",".join(" ".join(map(str, instruction)) for instruction in self.program)


# LENGTH,CODE TRUE FALSE CONSTANT,…
def _parse_program(use: Use) -> tuple[tuple[int, int, int, int], ...]:
    head = _HEAD.fullmatch(use.value)
    if head is None:
        fail("bpf: error parsing program length", use)
    length = int(head[1])
    if not 0 < length <= _MAX_INSTRUCTIONS:
        fail(f"bpf: a program has 1 to {_MAX_INSTRUCTIONS} instructions, not {length}", use)
    texts = head[2].split(",")
    if not texts[-1]:
        texts.pop()
    if len(texts) != length:
        fail(f"bpf: {len(texts)} instructions, but their number says {length}", use)
    program = tuple(_parse_instruction(text, at, use) for at, text in enumerate(texts))
    _check(program, use)
    return program


def _parse_instruction(text: str, at: int, use: Use) -> tuple[int, int, int, int]:
    found = _INSTRUCTION.match(text)
    if found is None:
        fail(f"bpf: error at instr {at}", use)
    code, true, false, constant = (
        int(value) & limit for value, limit in zip(found.groups(), _LIMITS, strict=True)
    )
    return code, true, false, constant


# Of bpf_check_classic (net/core/filter.c): jumps stay inside, and the last one returns.
def _check(program: tuple[tuple[int, int, int, int], ...], use: Use) -> None:
    for at, (code, true, false, constant) in enumerate(program):
        if code & 0x07 == 0x05:  # BPF_JMP
            furthest = constant if code == 0x05 else max(true, false)
            if at + furthest + 1 >= len(program):
                fail(f"bpf: instruction {at} jumps out of the program", use)
    if program[-1][0] not in _RETURNS:
        fail("bpf: the last instruction does not return", use)
