"""What x_tables does with packets, rule by rule, without anything of the project.

The walk is over rules, in order; each step asks one rule of all packets that got to it.
Order of tests and their fate with fragments and short headers: ip_packet_match,
ip6_packet_match, ipv6_find_hdr, tcp_mt, udp_mt, multiport_mt, icmp_match and icmp6_match of
Linux 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.harness.large.rules import (
    STATES,
    Address,
    Comment,
    Icmp,
    Interface,
    Mark,
    Match,
    Multiport,
    Ports,
    Rule,
    Ruleset,
    Span,
    State,
)

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint32]

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HOPOPTS, ROUTING, FRAGMENT, AUTH, NONE, DSTOPTS = 0, 43, 44, 51, 59, 60
EXTENSIONS = (HOPOPTS, ROUTING, FRAGMENT, AUTH, NONE, DSTOPTS)


@dataclass(eq=False)
class Packets:
    """Packets from the network header on, a row each, and what the kernel keeps beside them.

    `iif` and `oif` number `names`; `state` is a bit of STATES.
    """

    version: int
    data: NDArray[np.uint8]  # [n, W]
    length: Ints
    hook: Ints  # index of HOOKS
    names: tuple[str, ...]
    iif: Ints
    oif: Ints
    mark: Words
    state: Ints

    def __len__(self) -> int:
        return len(self.length)

    def take(self, which: Ints) -> Packets:
        """Give some of the packets."""
        return Packets(
            self.version,
            self.data[which],
            self.length[which],
            self.hook[which],
            self.names,
            self.iif[which],
            self.oif[which],
            self.mark[which],
            self.state[which],
        )

    def read(self, at: Ints, width: int, which: Ints | None = None) -> Ints:
        """Give big-endian numbers at an offset of each packet; beyond its row they are junk."""
        rows = np.arange(len(self)) if which is None else which
        value = np.zeros(len(rows), np.int64)
        for byte in range(width):
            column = np.minimum(at + byte, self.data.shape[1] - 1)
            value = value << 8 | self.data[rows, column]
        return value

    def has(self, end: Ints) -> Bools:
        return self.length >= end

    @cached_property
    def source(self) -> Words:
        return self._addresses(12 if self.version == 4 else 8)

    @cached_property
    def destination(self) -> Words:
        return self._addresses(16 if self.version == 4 else 24)

    def _addresses(self, at: int) -> Words:
        end = at + (4 if self.version == 4 else 16)
        part = np.ascontiguousarray(self.data[:, at:end])
        return np.ascontiguousarray(part.view(">u4").astype(np.uint32).T)

    @cached_property
    def upper(self) -> Upper:
        return upper4(self) if self.version == 4 else upper6(self)


@dataclass(eq=False)
class Upper:
    """The transport header: where it is, of what protocol, in which fragment (par->fragoff).

    `lost` are packets in which IPv6 rules with `-p` cannot find it, and drop.
    """

    protocol: Ints
    at: Ints
    fragment: Ints
    lost: Bools
    source_port: Ints
    target_port: Ints
    flags: Ints  # of TCP
    kind: Ints  # of ICMP
    code: Ints


def _upper(p: Packets, protocol: Ints, at: Ints, fragment: Ints, lost: Bools) -> Upper:
    ports = p.read(at, 4)
    flags = p.read(at + 13, 1)
    return Upper(
        protocol, at, fragment, lost, ports >> 16, ports & 0xFFFF, flags, ports >> 24,
        ports >> 16 & 0xFF,
    )  # fmt: skip


def upper4(p: Packets) -> Upper:
    at = (p.data[:, 0] & 15).astype(np.int64) * 4
    fragment = p.read(np.full(len(p), 6), 2) & 0x1FFF
    return _upper(p, p.data[:, 9].astype(np.int64), at, fragment, np.zeros(len(p), np.bool_))


def upper6(p: Packets) -> Upper:
    protocol, at = p.data[:, 6].astype(np.int64), np.full(len(p), 40)
    fragment, lost = np.zeros(len(p), np.int64), np.zeros(len(p), np.bool_)
    walking = np.ones(len(p), np.bool_)
    while (walking := walking & np.isin(protocol, EXTENSIONS) & (protocol != NONE)).any():
        bad = ~p.has(at + np.where(protocol == ROUTING, 4, 2))
        bad |= (protocol == FRAGMENT) & ~p.has(at + 4)
        following, units = p.read(at, 1), p.read(at + 1, 1)
        offset = p.read(at + 2, 2) & ~7
        later = walking & ~bad & (protocol == FRAGMENT) & (offset != 0)
        last = ~np.isin(following, EXTENSIONS) | (following == NONE)
        lost |= later & ~last
        fragment[later & last] = offset[later & last]
        size = (units + 1) * 8
        size[protocol == AUTH] = (units[protocol == AUTH] + 2) * 4
        size[protocol == FRAGMENT] = 8
        bad |= ~later & ~p.has(at + size)
        lost |= walking & bad
        goes_on = walking & ~bad & ~later
        at = np.where(goes_on, at + size, at)
        protocol = np.where(goes_on | later, following, protocol)
        walking = goes_on
    return _upper(p, protocol, at, fragment, lost)


@dataclass(eq=False)
class Judgement:
    """Verdicts of packets, and what rules (by chain) and policies counted: packets, bytes."""

    accepted: Bools
    rules: dict[str, Ints]  # [n, 2]
    policies: dict[str, Ints]  # [2]


class Judge:
    """Asks rules of packets."""

    def __init__(self, ruleset: Ruleset, packets: Packets) -> None:
        self.ruleset = ruleset
        self.packets = packets
        self._gone = np.zeros(len(packets), np.bool_)
        self.result = Judgement(
            np.zeros(len(packets), np.bool_),
            {name: np.zeros((len(rules), 2), np.int64) for name, rules in ruleset.chains.items()},
            {name: np.zeros(2, np.int64) for name in ruleset.policies},
        )

    def run(self, hooks: tuple[str, ...]) -> Judgement:
        for number, hook in enumerate(hooks):
            left = self._chain(hook, np.flatnonzero(self.packets.hook == number))
            self._count(self.result.policies[hook], left)
            self.result.accepted[left] = self.ruleset.policies[hook] == "ACCEPT"
        return self.result

    def _count(self, counter: Ints, which: Ints) -> None:
        counter += (len(which), int(self.packets.length[which].sum()))

    # Gives the packets that come back from a chain.
    def _chain(self, name: str, alive: Ints) -> Ints:
        back = [alive[:0]]
        for rule, counter in zip(self.ruleset.chains[name], self.result.rules[name], strict=True):
            if not len(alive):
                break
            matched, dropped = self.ask(rule, alive)
            if len(dropped):
                alive = self._without(alive, dropped)
            if not len(matched):
                continue
            self._count(counter, matched)
            if not rule.target:
                continue
            alive = self._without(alive, matched)
            if rule.jumps_to is None:
                if rule.target == "RETURN":
                    back.append(matched)
                self.result.accepted[matched] = rule.target == "ACCEPT"
                continue
            returned = self._chain(rule.jumps_to, matched)
            if rule.goto:
                back.append(returned)
            else:
                alive = np.sort(np.concatenate([alive, returned]))
        return np.sort(np.concatenate([*back, alive]))

    def _without(self, alive: Ints, some: Ints) -> Ints:
        self._gone[some] = True
        alive = alive[~self._gone[alive]]
        self._gone[some] = False
        return alive

    def ask(self, rule: Rule, alive: Ints) -> tuple[Ints, Ints]:
        """Give the packets that match a rule, and those it drops for what they are."""
        p, no_one = self.packets, alive[:0]
        for address, words in ((rule.source, "source"), (rule.destination, "destination")):
            if address:
                alive = alive[_address(address, getattr(p, words), alive, p.version)]
        for interface, numbers in ((rule.in_interface, p.iif), (rule.out_interface, p.oif)):
            if interface:
                alive = alive[_interfaces(interface, p.names)[numbers[alive]]]
        dropped = [no_one]
        if rule.protocol is not None:
            alive = _drop(alive, p.upper.lost[alive], dropped)
            alive = _kept(alive, p.upper.protocol[alive] == rule.protocol, rule.protocol_inverted)
        if rule.fragment is not None:
            alive = alive[(p.upper.fragment[alive] != 0) == rule.fragment]
        for match in rule.matches:
            if not len(alive):
                break
            alive = self._match(match, alive, dropped)
        return alive, np.concatenate(dropped)

    def _match(self, match: Match, alive: Ints, dropped: list[Ints]) -> Ints:
        p, upper = self.packets, self.packets.upper
        match match:
            case Comment():
                return alive
            case Mark(value, mask, inverted):
                return _kept(alive, (p.mark[alive] & np.uint32(mask)) == value, inverted)
            case State(names, inverted):
                asked = sum(STATES[name] for name in names)
                return _kept(alive, (p.state[alive] & asked) != 0, inverted)
            case Ports():
                if match.protocol == "tcp" and p.version == 4:
                    alive = _drop(alive, upper.fragment[alive] == 1, dropped)
                alive = self._header(alive, 20 if match.protocol == "tcp" else 8, dropped)
                return alive[_ports(match, upper, alive)]
            case Multiport():
                alive = self._header(alive, 4, dropped)
                return alive[_multiport(match, upper, alive)]
            case Icmp():
                alive = self._header(alive, 8, dropped)
                fits = upper.kind[alive] == match.kind
                if match.code is not None:
                    fits &= upper.code[alive] == match.code
                return _kept(alive, fits, match.inverted)

    # Later fragments match nothing; what is too short for the header is dropped.
    def _header(self, alive: Ints, size: int, dropped: list[Ints]) -> Ints:
        p = self.packets
        alive = alive[p.upper.fragment[alive] == 0]
        return _drop(alive, p.length[alive] < p.upper.at[alive] + size, dropped)


def _kept(alive: Ints, fits: Bools, inverted: bool) -> Ints:
    return alive[~fits if inverted else fits]


def _drop(alive: Ints, doomed: Bools, dropped: list[Ints]) -> Ints:
    if not doomed.any():
        return alive
    dropped.append(alive[doomed])
    return alive[~doomed]


def _address(address: Address, words: Words, alive: Ints, version: int) -> Bools:
    fits = np.ones(len(alive), np.bool_)
    count = 1 if version == 4 else 4
    for number in range(count):
        shift = 32 * (count - 1 - number)
        mask = address.mask >> shift & 0xFFFFFFFF
        if mask:
            value = address.value >> shift & mask
            fits &= (words[number][alive] & np.uint32(mask)) == value
    return fits ^ address.inverted


@lru_cache(1024)
def _interfaces(interface: Interface, names: tuple[str, ...]) -> Bools:
    wanted = interface.name
    if wanted.endswith("+"):
        fits = [name.startswith(wanted[:-1]) for name in names]
    else:
        fits = [name == wanted for name in names]
    return np.array(fits, np.bool_) ^ interface.inverted


def _within(numbers: Ints, span: Span) -> Bools:
    return (numbers >= span[0]) & (numbers <= span[1])


def _ports(match: Ports, upper: Upper, alive: Ints) -> Bools:
    fits = np.ones(len(alive), np.bool_)
    if match.source:
        fits &= _within(upper.source_port[alive], match.source) ^ match.source_inverted
    if match.target:
        fits &= _within(upper.target_port[alive], match.target) ^ match.target_inverted
    if match.flags:
        mask, value = match.flags
        fits &= ((upper.flags[alive] & mask) == value) ^ match.flags_inverted
    return fits


def _multiport(match: Multiport, upper: Upper, alive: Ints) -> Bools:
    fits = np.zeros(len(alive), np.bool_)
    for span in match.spans:
        if match.which != "dports":
            fits |= _within(upper.source_port[alive], span)
        if match.which != "sports":
            fits |= _within(upper.target_port[alive], span)
    return fits ^ match.inverted
