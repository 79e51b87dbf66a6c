"""`-m sctp`: ports, and the chunks a packet carries (net/netfilter/xt_sctp.c).

match_packet walks the chunks in order, and may know its answer before it meets the
malformed one that would drop the packet. So `any` and `only` look at the chunks seen
before they ask the guard, and `all`, which walks to the end, asks the guard first.
"""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RefusedError, RuleError
from bpfilter.ext.ranges import PORT_OPTIONS, Range, shown_ports
from bpfilter.plan.fields import (
    DPORT,
    SCTP_ABORT_FLAGS,
    SCTP_CHUNKS,
    SCTP_DATA_FLAGS,
    SCTP_GUARD,
    SCTP_SHUTDOWN_FLAGS,
    SCTPCHUNK_GUARD,
    SPORT,
)
from bpfilter.plan.nodes import (
    FALSE,
    TRUE,
    All,
    Any,
    Guard,
    Not,
    Predicate,
    all_of,
    any_bit,
    equals,
)
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, Word, match
from bpfilter.rules.values import inverted, need_protocol, port_range

_PROTOCOL = 132

#: Chunk types by iptables' names (RFC 9260 section 3.2 and the registry's later ones).
CHUNKS: dict[str, int] = {
    "DATA": 0,
    "INIT": 1,
    "INIT_ACK": 2,
    "SACK": 3,
    "HEARTBEAT": 4,
    "HEARTBEAT_ACK": 5,
    "ABORT": 6,
    "SHUTDOWN": 7,
    "SHUTDOWN_ACK": 8,
    "ERROR": 9,
    "COOKIE_ECHO": 10,
    "COOKIE_ACK": 11,
    "ECN_ECNE": 12,
    "ECN_CWR": 13,
    "SHUTDOWN_COMPLETE": 14,
    "I_DATA": 64,
    "RE_CONFIG": 130,
    "PAD": 132,
    "ASCONF": 193,
    "ASCONF_ACK": 128,
    "FORWARD_TSN": 192,
    "I_FORWARD_TSN": 194,
}
_NAMES = {number: name for name, number in CHUNKS.items()}

# Letters of the flag bits a chunk may be asked for, bit 7 first; `-` asks for bit 7 clear.
_LETTERS = dict.fromkeys(CHUNKS.values(), "--------") | {
    CHUNKS["DATA"]: "----IUBE",
    CHUNKS["I_DATA"]: "----IUBE",
    CHUNKS["ABORT"]: "-------T",
    CHUNKS["SHUTDOWN_COMPLETE"]: "-------T",
}

# Which (flags & mask) values were seen, for the chunks whose flags are kept, and that mask.
_FLAGS_SEEN = {
    CHUNKS["DATA"]: (SCTP_DATA_FLAGS, 0x0F),
    CHUNKS["ABORT"]: (SCTP_ABORT_FLAGS, 0x01),
    CHUNKS["SHUTDOWN_COMPLETE"]: (SCTP_SHUTDOWN_FLAGS, 0x01),
}

# iptables stores flags by place in its table of names; above this, that is no longer the
# chunk's type and the flags have no effect, nor are they printed.
_LAST_WITH_FLAGS = CHUNKS["SHUTDOWN_COMPLETE"]
_MAX_FLAGGED = 4  # XT_NUM_SCTP_FLAGS


@dataclass(frozen=True, slots=True)
class ChunkFlags:
    """`(flags & mask) == value`, asked of chunks of one type; mask is not 0."""

    type: int
    mask: int
    value: int

    def __str__(self) -> str:
        return "".join(
            letter if self.value & bit else letter.lower()
            for letter, bit in zip(_LETTERS[self.type], _BITS, strict=True)
            if self.mask & bit
        )

    def seen(self, *, fitting: bool) -> Predicate:
        """True if a chunk of the type was seen whose flags fit, or one whose flags do not."""
        field, kept = _FLAGS_SEEN.get(self.type, (SCTP_DATA_FLAGS, 0))
        if self.mask & ~kept:
            raise RefusedError(f"sctp: flags '{self}' of chunk {_NAMES[self.type]} are not read")
        wanted = sum(
            1 << flags for flags in range(kept + 1) if (flags & self.mask == self.value) is fitting
        )
        return any_bit(field, wanted)


_BITS = tuple(1 << bit for bit in range(7, -1, -1))


@dataclass(frozen=True, slots=True)
class ChunkTypes:
    """`mode` is any, all or only; `types` None is ALL, empty is NONE."""

    mode: str
    types: frozenset[int] | None
    flags: tuple[ChunkFlags, ...] = ()
    inverted: bool = False

    def listed(self, *, numeric: bool) -> str:
        if self.types is None:
            return "ALL"
        flags = {asked.type: f":{asked}" for asked in self.flags}
        return (
            ",".join(
                (f"0x{number:04X}" if numeric else _NAMES[number]) + flags.get(number, "")
                for number in sorted(self.types)
            )
            or "NONE"
        )

    def predicate(self) -> Predicate:
        if self.mode == "all":
            return self._all()
        if self.mode == "any":
            return self._any()
        return self._only()

    # False once the guard says 2; inverted, that is true, and drops the packet afterwards.
    def _all(self) -> Predicate:
        # x_tables clears a bit for every type seen, but its map of all types has 2048 bits.
        part = FALSE if self.types is None else all_of(*self._required())
        if not self.inverted:
            return all_of(Guard(SCTPCHUNK_GUARD), part)
        dropped = equals(SCTPCHUNK_GUARD, 2)
        return All((Guard(SCTPCHUNK_GUARD, late=True), Any((dropped, Not(part)))))

    def _any(self) -> Predicate:
        seen = Any(tuple(self._sufficient()))
        if self.inverted:
            return All((Not(seen), Guard(SCTPCHUNK_GUARD, late=True)))
        return Any((seen, All((Guard(SCTPCHUNK_GUARD), FALSE))))

    def _only(self) -> Predicate:
        foreign = Any(tuple(self._foreign()))
        if self.inverted:
            late = Guard(SCTPCHUNK_GUARD, late=True)
            return Any((foreign, All((late, equals(SCTPCHUNK_GUARD, 2)))))
        return All((Not(foreign), Guard(SCTPCHUNK_GUARD)))

    # Bits of SCTP_CHUNKS, word by word, for the types asked without flags.
    def _words(self) -> list[int]:
        if self.types is None:
            return [0xFFFF_FFFF] * SCTP_CHUNKS.words
        words = [0] * SCTP_CHUNKS.words
        for number in self.types - {asked.type for asked in self.flags}:
            words[number // 32] |= 1 << (31 - number % 32)
        return words

    def _required(self) -> list[Predicate]:
        plain: list[Predicate] = [
            equals(SCTP_CHUNKS, bits, bits, word)
            for word, bits in enumerate(self._words())
            if bits
        ]
        return plain + [asked.seen(fitting=True) for asked in self.flags]

    def _sufficient(self) -> list[Predicate]:
        plain = [
            any_bit(SCTP_CHUNKS, bits, word) for word, bits in enumerate(self._words()) if bits
        ]
        return plain + [asked.seen(fitting=True) for asked in self.flags]

    def _foreign(self) -> list[Predicate]:
        words = self._words()
        for asked in self.flags:
            words[asked.type // 32] |= 1 << (31 - asked.type % 32)
        plain = [
            any_bit(SCTP_CHUNKS, ~bits & 0xFFFF_FFFF, word)
            for word, bits in enumerate(words)
            if bits != 0xFFFF_FFFF
        ]
        return plain + [asked.seen(fitting=False) for asked in self.flags]


@match("sctp")
@dataclass(frozen=True, slots=True)
class Sctp(Match):
    source: Range | None = None
    destination: Range | None = None
    chunks: ChunkTypes | None = None

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        *PORT_OPTIONS,
        Option(
            "--chunk-types",
            "all|any|only type[:flags],...",
            "which chunks the packet has",
            values=2,
            invertible=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "sctp", _PROTOCOL)
        source = given.get("--source-port")
        destination = given.get("--destination-port")
        chunks = given.get("--chunk-types")
        return cls(
            Range(*port_range(source, "sctp"), source.inverted) if source else None,
            Range(*port_range(destination, "sctp"), destination.inverted) if destination else None,
            _parse_chunks(chunks) if chunks else None,
        )

    def format(self, family: Family) -> list[str]:
        words = self.source.format("--sport") if self.source else []
        words += self.destination.format("--dport") if self.destination else []
        if self.chunks:
            listed = self.chunks.listed(numeric=False)
            words += inverted(["--chunk-types", self.chunks.mode, listed], self.chunks.inverted)
        return words

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        text = shown_ports("sctp", self.source, self.destination, names)
        if self.chunks:
            sign = " !" if self.chunks.inverted else ""
            text += f"{sign} {self.chunks.mode} {self.chunks.listed(numeric=names.numeric)}"
        return text

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(
            Guard(SCTP_GUARD),
            self.source.predicate(SPORT) if self.source else TRUE,
            self.destination.predicate(DPORT) if self.destination else TRUE,
            self.chunks.predicate() if self.chunks else TRUE,
        )


def _parse_chunks(use: Use) -> ChunkTypes:
    mode, chunks = use.words
    if mode.text.lower() not in ("any", "all", "only"):
        raise RuleError('Match type has to be one of "ALL", "ANY" or "ONLY"', mode.span)
    if chunks.text.upper() == "ALL":
        return ChunkTypes(mode.text.lower(), None, (), use.inverted)
    types: set[int] = set()
    flags: dict[int, ChunkFlags] = {}
    named = "" if chunks.text.upper() == "NONE" else chunks.text
    for part in filter(None, named.split(",")):
        name, _, letters = part.partition(":")
        number = CHUNKS.get(name.upper())
        if number is None:
            raise RuleError(f"Unknown sctp chunk `{name}'", chunks.span)
        types.add(number)
        for letter in letters:
            flags[number] = _add_flag(flags.get(number, ChunkFlags(number, 0, 0)), letter, chunks)
    if len(flags) > _MAX_FLAGGED:
        raise RuleError(f"flags of more than {_MAX_FLAGGED} chunk types", chunks.span)
    kept = tuple(flags[number] for number in sorted(flags) if number <= _LAST_WITH_FLAGS)
    return ChunkTypes(mode.text.lower(), frozenset(types), kept, use.inverted)


# An upper-case letter wants the bit set, a lower-case one clear; set wins if both are given.
def _add_flag(asked: ChunkFlags, letter: str, word: Word) -> ChunkFlags:
    at = _LETTERS[asked.type].find(letter.upper())
    if at < 0:
        raise RuleError(f"Invalid flag {letter} for chunk {_NAMES[asked.type]}", word.span)
    value = _BITS[at] if letter.isupper() else 0
    return ChunkFlags(asked.type, asked.mask | _BITS[at], asked.value | value)
