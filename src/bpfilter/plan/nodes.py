"""What a rule asks of a packet, as a boolean expression over packet fields.

Evaluation is left to right and stops as soon as the answer is known, so a
`Guard` placed before a test protects it, exactly as the order of matches does
in x_tables. All values are host order; a field wider than 32 bits is tested a
32-bit word at a time, most significant word first.
"""

from __future__ import annotations

from bpfilter.dataclass import dataclass
from bpfilter.plan.fields import Field

U32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Test:
    """True if `lo <= (field.word & mask) <= hi`."""

    __test__ = False

    field: Field
    lo: int
    hi: int
    mask: int = U32
    word: int = 0


@dataclass(frozen=True, slots=True)
class Contains:
    """True if a number of a list lies between: `lo <= number <= hi`."""

    field: Field
    lo: int
    hi: int


@dataclass(frozen=True, slots=True)
class Guard:
    """Ask a guard field: 0 goes on, 1 fails the whole rule, 2 drops the packet at once.

    This is x_tables' `return false` before any inversion, and `par->hotdrop`.

    A `late` guard is true for 2 as for 0: the hotdrop was set by an inverted part, so
    the rule goes on and, if all of it matches, is counted; whether it does or not, the
    packet is dropped when the rule is done (`while (!acpar.hotdrop)` of ipt_do_table).
    """

    field: Field
    late: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """True if every part is; `All(())` is true."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """True if one part is; `Any(())` is false."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Predicate


Predicate = Test | Contains | Guard | All | Any | Not

TRUE = All(())
FALSE = Any(())


def equals(field: Field, value: int, mask: int = U32, word: int = 0) -> Test:
    """`(field & mask) == value`."""
    return Test(field, value, value, mask, word)


def any_bit(field: Field, mask: int, word: int = 0) -> Predicate:
    """`(field & mask) != 0`."""
    return Not(Test(field, 0, 0, mask, word))


def inverted_if(inverted: bool, part: Predicate) -> Predicate:
    return Not(part) if inverted else part


def masked_words(field: Field, value: bytes, mask: bytes) -> Predicate:
    """`(field & mask) == value` for a field of several words; words with no mask are left out."""
    tests: list[Predicate] = []
    for word in range(len(mask) // 4):
        bits = int.from_bytes(mask[word * 4 : word * 4 + 4], "big")
        want = int.from_bytes(value[word * 4 : word * 4 + 4], "big")
        if bits:
            tests.append(equals(field, want, bits, word))
    return tests[0] if len(tests) == 1 else All(tuple(tests))


def at_least(field: Field, bound: bytes) -> Predicate:
    """Lexicographic `field >= bound` over the words of an address."""
    words = [int.from_bytes(bound[i : i + 4], "big") for i in range(0, len(bound), 4)]
    result: Predicate = Test(field, words[-1], U32, word=len(words) - 1)
    for index in range(len(words) - 2, -1, -1):
        same = All((equals(field, words[index], word=index), result))
        if words[index] == U32:
            result = same
        else:
            result = Any((Test(field, words[index] + 1, U32, word=index), same))
    return result


def at_most(field: Field, bound: bytes) -> Predicate:
    """Lexicographic `field <= bound` over the words of an address."""
    words = [int.from_bytes(bound[i : i + 4], "big") for i in range(0, len(bound), 4)]
    result: Predicate = Test(field, 0, words[-1], word=len(words) - 1)
    for index in range(len(words) - 2, -1, -1):
        same = All((equals(field, words[index], word=index), result))
        result = (
            same
            if words[index] == 0
            else Any((Test(field, 0, words[index] - 1, word=index), same))
        )
    return result


def all_of(*parts: Predicate) -> Predicate:
    """`All` of the parts that ask anything."""
    return All(tuple(part for part in parts if part != TRUE))


def within(field: Field, lo: int, hi: int) -> Predicate:
    """`lo <= field <= hi` for bounds of any size: reversed or out of reach is false."""
    top = (1 << field.bits) - 1
    if lo > hi or lo > top:
        return FALSE
    return TRUE if lo == 0 and hi >= top else Test(field, lo, min(hi, top))


def masked_equals(field: Field, value: int, mask: int) -> Predicate:
    """`(field & mask) == value` for any value: one with bits outside the mask is false."""
    if value & ~mask:
        return FALSE
    return equals(field, value, mask) if mask else TRUE
