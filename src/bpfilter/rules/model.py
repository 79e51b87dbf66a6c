"""The ruleset as values: what iptables-save text, argv and the kernel's blobs all mean.

Frozen, comparable and family-neutral: addresses are 4 or 16 bytes, and `Family`
says which. A position in the source rides along (`span`) but takes no part in
equality, nor do counters: two rules are equal if they mean and print the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from bpfilter.dataclass import dataclass, field

if TYPE_CHECKING:
    from bpfilter.plan.nodes import Predicate
    from bpfilter.rules.names import Names
    from bpfilter.source import Span


class Family(IntEnum):
    """NFPROTO_* (include/uapi/linux/netfilter.h)."""

    IPV4 = 2
    IPV6 = 10

    @property
    def address_bytes(self) -> int:
        return 4 if self is Family.IPV4 else 16

    @property
    def command(self) -> str:
        return "iptables" if self is Family.IPV4 else "ip6tables"


class Hook(IntEnum):
    """NF_INET_* (include/uapi/linux/netfilter.h)."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


#: Base chains of each table, in the order iptables-save prints them.
TABLES: dict[str, tuple[str, ...]] = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


@dataclass(frozen=True, slots=True)
class Counters:
    """What a rule or a policy has counted, in 64 bits each."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """`-s`/`-d`: `(packet & mask) == value`, xor inverted; network byte order."""

    value: bytes
    mask: bytes
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """`-i`/`-o`: a name, or a prefix when it ends in `+`."""

    name: str
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Protocol:
    """`-p`: a number; 0 is never stored (`-p all` is no protocol at all)."""

    number: int
    inverted: bool = False


class Match:
    """Base of every match extension (`-m NAME`); subclasses are frozen dataclasses in `ext/`."""

    __slots__ = ()
    NAME: ClassVar[str]
    #: While a rule has this match, wherever it is, connections are tracked and fragments put
    #: together: its checkentry takes a reference (nf_ct_netns_get).
    TRACKS: ClassVar[bool] = False

    def format(self, family: Family) -> list[str]:
        """Give the options as iptables-save prints them, without `-m NAME`; unquoted words."""
        raise NotImplementedError

    def describe(self, family: Family) -> str:
        """Give the text `iptables -nvL` prints for it, without surrounding spaces."""
        from bpfilter.rules.names import NUMBERS

        return self.describe_named(family, NUMBERS, Rule())

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        """Give the text `iptables -vL` prints, with the names that numbers have.

        A class gives this one if its text has any or needs to know the rule, or else `describe`.
        """
        return self.describe(family)

    def unsaved(self) -> str:
        """Name what `format` loses, because iptables-save does; mostly nothing."""
        return ""

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        """Give the condition on packet fields; RefusedError if BPF cannot decide it."""
        raise NotImplementedError

    def asks_users(self) -> bool:
        """Whether it has numbers of users or groups, which each user namespace has its own."""
        return False

    def chains(self) -> tuple[str, ...]:
        """Name the base chains it may be reached from (xt_check_match); none named: any."""
        return ()


class Target:
    """Base of every target (`-j NAME`); a target that is not a verdict lives in `ext/`."""

    __slots__ = ()
    NAME: ClassVar[str]

    def format(self, family: Family) -> list[str]:
        """Give the options as iptables-save prints them, without `-j NAME`."""
        raise NotImplementedError

    def describe(self, family: Family) -> str:
        """Give the text `iptables -nvL` prints after the matches."""
        from bpfilter.rules.names import NUMBERS

        return self.describe_named(family, NUMBERS, Rule())

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        """Give the text `iptables -vL` prints, with the names that numbers have.

        A class gives this one if its text has any or needs to know the rule, or else `describe`.
        """
        return self.describe(family)

    def chains(self) -> tuple[str, ...]:
        """Name the base chains it may be reached from (xt_check_target); none named: any."""
        return ()


@dataclass(frozen=True, slots=True)
class Verdict(Target):
    """ACCEPT, DROP, RETURN (and QUEUE, which is read and written but refused)."""

    name: str


@dataclass(frozen=True, slots=True)
class Jump(Target):
    """`-j CHAIN`, or `-g CHAIN` with `goto`."""

    chain: str
    goto: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a chain: its own tests, those of matches, and what is done then."""

    source: Address | None = None
    destination: Address | None = None
    in_interface: Interface | None = None
    out_interface: Interface | None = None
    protocol: Protocol | None = None
    #: `-f` is True, `! -f` is False; IPv4 only.
    fragment: bool | None = None
    matches: tuple[Match, ...] = ()
    target: Target | None = None
    counters: Counters = field(default=Counters(), compare=False)
    span: Span | None = field(default=None, compare=False)
    #: IPv6 `-p all`: any protocol, but headers that cannot be followed to one drop the packet
    #: (IP6T_F_PROTO without a number). iptables-save does not write it, so rules are equal
    #: without it.
    any_protocol: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """`policy` is ACCEPT or DROP for a base chain, None for a user's own.

    `declared` is False for a base chain whose policy the text did not say: iptables-restore
    leaves the one in force as it is, and `policy` is ACCEPT for want of any.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    policy: str | None = None
    counters: Counters = field(default=Counters(), compare=False)
    span: Span | None = field(default=None, compare=False)
    declared: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class Table:
    """Chains in iptables-save's order: base chains first, then user chains by name."""

    name: str
    chains: tuple[Chain, ...] = ()

    def chain(self, name: str) -> Chain:
        for chain in self.chains:
            if chain.name == name:
                return chain
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What one save file has: the tables of a family."""

    family: Family
    tables: tuple[Table, ...] = ()

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)

    def rules(self) -> Iterator[tuple[Table, Chain, int, Rule]]:
        """Walk all rules with their table, chain and number in it (from 1)."""
        for table in self.tables:
            for chain in table.chains:
                for number, rule in enumerate(chain.rules, 1):
                    yield table, chain, number, rule
