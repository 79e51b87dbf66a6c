"""Rules as plain data, and as the save text that both firewalls read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")  # bit 0 upwards
HOOKS = ("INPUT", "FORWARD", "OUTPUT")
VERDICTS = ("ACCEPT", "DROP", "RETURN")
#: Connection states, and their bits in the word that programs test (XT_CONNTRACK_STATE_BIT).
STATES = {"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}

#: Lowest and highest, both included.
Span: TypeAlias = tuple[int, int]
ALL_PORTS: Span = (0, 0xFFFF)


@dataclass(frozen=True, slots=True)
class Address:
    """`-s` or `-d`; value and mask as numbers of 32 or 128 bits."""

    value: int
    mask: int
    inverted: bool = False

    def words(self, version: int) -> str:
        network = self.value & self.mask
        length = self.mask.bit_count()
        top = bits_of(version)
        if self.mask == prefix_mask(length, version):
            text = "" if length == top else f"/{length}"
        else:
            text = "/" + address_text(self.mask, version)
        return address_text(network, version) + text


@dataclass(frozen=True, slots=True)
class Interface:
    name: str
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """`-m tcp` or `-m udp`: both ports, and for TCP its flags as mask and value."""

    protocol: str
    source: Span | None = None
    target: Span | None = None
    source_inverted: bool = False
    target_inverted: bool = False
    flags: tuple[int, int] | None = None
    flags_inverted: bool = False

    def words(self) -> str:
        parts = [f"-m {self.protocol}"]
        if self.source:
            parts.append(f"{_not(self.source_inverted)}--sport {span_text(self.source)}")
        if self.target:
            parts.append(f"{_not(self.target_inverted)}--dport {span_text(self.target)}")
        if self.flags == (0x17, 0x02):
            parts.append(f"{_not(self.flags_inverted)}--syn")
        elif self.flags:
            mask, value = (flag_names(number) for number in self.flags)
            parts.append(f"{_not(self.flags_inverted)}--tcp-flags {mask} {value}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Multiport:
    """`-m multiport`; `which` is sports, dports or ports."""

    which: str
    spans: tuple[Span, ...]
    inverted: bool = False

    def words(self) -> str:
        ports = ",".join(map(span_text, self.spans))
        return f"-m multiport {_not(self.inverted)}--{self.which} {ports}"


@dataclass(frozen=True, slots=True)
class Icmp:
    version: int
    kind: int
    code: int | None = None
    inverted: bool = False

    def words(self) -> str:
        name, option = ("icmp", "icmp-type") if self.version == 4 else ("icmp6", "icmpv6-type")
        code = "" if self.code is None else f"/{self.code}"
        return f"-m {name} {_not(self.inverted)}--{option} {self.kind}{code}"


@dataclass(frozen=True, slots=True)
class Mark:
    value: int
    mask: int = 0xFFFFFFFF
    inverted: bool = False

    def words(self) -> str:
        mask = "" if self.mask == 0xFFFFFFFF else f"/{self.mask:#x}"
        return f"-m mark {_not(self.inverted)}--mark {self.value:#x}{mask}"


@dataclass(frozen=True, slots=True)
class State:
    """`-m conntrack --ctstate`."""

    names: tuple[str, ...]
    inverted: bool = False

    def words(self) -> str:
        return f"-m conntrack {_not(self.inverted)}--ctstate {','.join(self.names)}"


@dataclass(frozen=True, slots=True)
class Comment:
    text: str

    def words(self) -> str:
        return f'-m comment --comment "{self.text}"'


Match: TypeAlias = Ports | Multiport | Icmp | Mark | State | Comment


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule asks, header first, then matches in their order; "" is no target."""

    source: Address | None = None
    destination: Address | None = None
    in_interface: Interface | None = None
    out_interface: Interface | None = None
    protocol: int | None = None
    protocol_inverted: bool = False
    fragment: bool | None = None
    matches: tuple[Match, ...] = ()
    target: str = ""
    goto: bool = False

    @property
    def jumps_to(self) -> str | None:
        return self.target if self.target and self.target not in VERDICTS else None

    def words(self, chain: str, version: int) -> Iterator[str]:
        yield f"-A {chain}"
        for option, address in (("-s", self.source), ("-d", self.destination)):
            if address:
                yield f"{_not(address.inverted)}{option} {address.words(version)}"
        for option, interface in (("-i", self.in_interface), ("-o", self.out_interface)):
            if interface:
                yield f"{_not(interface.inverted)}{option} {interface.name}"
        if self.protocol is not None:
            yield f"{_not(self.protocol_inverted)}-p {self.protocol}"
        if self.fragment is not None:
            yield f"{_not(not self.fragment)}-f"
        for match in self.matches:
            yield match.words()
        if self.target:
            yield f"-{'g' if self.goto else 'j'} {self.target}"


@dataclass(slots=True)
class Ruleset:
    """Table filter: base chains with policies, then user chains."""

    version: int
    policies: dict[str, str]
    chains: dict[str, list[Rule]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.chains.values()))

    def text(self) -> str:
        lines = ["*filter"]
        lines += [f":{name} {self.policies.get(name, '-')} [0:0]" for name in self.chains]
        for name, rules in self.chains.items():
            lines += [" ".join(rule.words(name, self.version)) for rule in rules]
        return "\n".join([*lines, "COMMIT", ""])


def _not(inverted: bool) -> str:
    return "! " if inverted else ""


def bits_of(version: int) -> int:
    return 32 if version == 4 else 128


def prefix_mask(length: int, version: int) -> int:
    bits = bits_of(version)
    return (1 << bits) - (1 << (bits - length))


def address_text(number: int, version: int) -> str:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, number.to_bytes(bits_of(version) // 8, "big"))


def span_text(span: Span) -> str:
    low, high = span
    return str(low) if low == high else f"{low}:{high}"


def flag_names(number: int) -> str:
    names = [name for bit, name in enumerate(TCP_FLAGS) if number >> bit & 1]
    return ",".join(names) if names else "NONE"
