"""`-m rt`: the IPv6 routing header."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RefusedError
from bpfilter.ext._values import fail, host
from bpfilter.plan import fields
from bpfilter.plan.nodes import All, Guard, Predicate, equals, inverted_if, masked_words, within
from bpfilter.rules.address import format_host
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import V6, Context, Given, Option, Use, match
from bpfilter.rules.values import U32, format_range, inverted, number, number_range

_MAX_ADDRESSES = 16  # IP6T_RT_HOPS
_FIXED_BYTES = 8  # struct rt0_hdr
_ODD_BYTES = 8  # half an address may follow the last one


@dataclass(frozen=True, slots=True)
class Number:
    value: int
    inverted: bool = False


@match("rt", families=V6)
@dataclass(frozen=True, slots=True)
class Rt(Match):
    """`length` is the whole header's, in bytes; `addresses` of a type 0 header, in order."""

    type: Number | None = None
    segments_left: tuple[int, int] = (0, U32)
    segments_inverted: bool = False
    length: Number | None = None
    reserved: bool = False
    addresses: tuple[bytes, ...] = ()
    not_strict: bool = False

    OPTIONS = (
        Option("--rt-type", "type", "type of routing header", invertible=True),
        Option("--rt-segsleft", "n[:n]", "number of segments left, or range", invertible=True),
        Option("--rt-len", "length", "length of the header in bytes", invertible=True),
        Option("--rt-0-res", "", "with a reserved field of zero, type 0", values=0),
        Option("--rt-0-addrs", "address[,address]", "the first addresses, type 0"),
        Option("--rt-0-not-strict", "", "they may stand anywhere in the list", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        kind, length = given.get("--rt-type"), given.get("--rt-len")
        segments, addresses = given.get("--rt-segsleft"), given.get("--rt-0-addrs")
        made = cls(
            Number(number(kind, "rt"), kind.inverted) if kind else None,
            number_range(segments, "rt") if segments else (0, U32),
            segments is not None and segments.inverted,
            Number(number(length, "rt"), length.inverted) if length else None,
            "--rt-0-res" in given,
            _parse_addresses(addresses) if addresses else (),
            "--rt-0-not-strict" in given,
        )
        _check_order(given, made.type)
        return made

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self.type is not None:
            words += inverted(["--rt-type", str(self.type.value)], self.type.inverted)
        if self.segments_left != (0, U32) or self.segments_inverted:
            range_text = format_range(*self.segments_left)
            words += inverted(["--rt-segsleft", range_text], self.segments_inverted)
        if self.length is not None:
            words += inverted(["--rt-len", str(self.length.value)], self.length.inverted)
        if self.reserved:
            words.append("--rt-0-res")
        if self.addresses:
            words += ["--rt-0-addrs", self._list()]
        return [*words, "--rt-0-not-strict"] if self.not_strict else words

    def describe(self, family: Family) -> str:
        words = ["rt"]
        if self.type is not None:
            words.append(f"type:{'!' if self.type.inverted else ''}{self.type.value}")
        if self.segments_left != (0, U32) or self.segments_inverted:
            sign, low, high = "!" if self.segments_inverted else "", *self.segments_left
            both = f"segslefts:{sign}{low}:{high}"
            words.append(f"segsleft:{sign}{low}" if low == high else both)
        if self.length is not None:
            words.append(f"length:{'!' if self.length.inverted else ''}{self.length.value}")
        if self.reserved:
            words.append("reserved")
        if self.addresses:
            words.append(f"0-addrs {self._list()}")
        return " ".join([*words, "0-not-strict"] if self.not_strict else words)

    def _list(self) -> str:
        return ",".join(map(format_host, self.addresses))

    # rt_mt6 (net/ipv6/netfilter/ip6t_rt.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        if self.not_strict:
            raise RefusedError(
                "match 'rt' with --rt-0-not-strict cannot be enforced as eBPF: "
                f"a header has up to 127 addresses, and only {_MAX_ADDRESSES} are read",
                rule.span,
            )
        segments = within(fields.RT_SEGSLEFT, *self.segments_left)
        parts: list[Predicate] = [inverted_if(self.segments_inverted, segments)]
        for field, asked in ((fields.RT_LENGTH, self.length), (fields.RT_TYPE, self.type)):
            if asked is not None:
                same = within(field, asked.value, asked.value)
                parts.append(inverted_if(asked.inverted, same))
        if self.reserved:
            parts.append(equals(fields.RT_RESERVED, 0))
        if self.addresses:
            listed = b"".join(self.addresses)
            whole = _FIXED_BYTES + len(listed)
            parts.append(within(fields.RT_LENGTH, whole, whole + _ODD_BYTES))
            parts.append(masked_words(fields.RT_ADDRS, listed, b"\xff" * len(listed)))
        return All((Guard(fields.RT_GUARD), *parts))


# What is said of a type 0 header must come after what makes it one.
def _check_order(given: Given, kind: Number | None) -> None:
    before: set[str] = set()
    for use in given.uses:
        name = use.option.name
        if name in ("--rt-0-res", "--rt-0-addrs") and (
            "--rt-type" not in before or kind != Number(0)
        ):
            fail(f"rt: `--rt-type 0' required before `{name}'", use)
        if name == "--rt-0-not-strict" and "--rt-0-addrs" not in before:
            fail(f"rt: `--rt-0-addrs ...' required before `{name}'", use)
        before.add(name)


def _parse_addresses(use: Use) -> tuple[bytes, ...]:
    texts = use.value.split(",")
    if len(texts) > _MAX_ADDRESSES:
        fail(f"rt: more than {_MAX_ADDRESSES} addresses", use)
    return tuple(host(text, use, Family.IPV6) for text in texts)
