"""Packets near the rules of a ruleset, as bytes: within a rule, at its edges, and odd ones.

A packet is drawn for one rule and the rules that jump to its chain: what each of them asks
is laid over a packet drawn at random, callers first. Then some are moved by a little, and
some are made odd: fragments, cut short, other protocols, extension headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.harness.large.reference import Ints, Packets
from tests.harness.large.rules import (
    HOOKS,
    STATES,
    Address,
    Icmp,
    Interface,
    Mark,
    Multiport,
    Ports,
    Rule,
    Ruleset,
    Span,
    State,
)

Random = np.random.Generator

#: Callers laid over a packet, at most.
DEPTH = 4
TCP, UDP, ICMP, ICMPV6, UDPLITE, SCTP = 6, 17, 1, 58, 136, 132
PORTS_OF = (TCP, UDP, UDPLITE, SCTP, 33)
HEADER_BYTES = 24  # what is behind the IP header, when it is whole

#: IPv6 extension headers, and where the number of what follows them is.
HOPOPTS, ROUTING, FRAGMENT, AUTH, DSTOPTS = 0, 43, 44, 51, 60
_OPTIONS = bytes([0, 0, 1, 4, 0, 0, 0, 0])
_AUTH = bytes([0, 4]) + bytes(22)


@dataclass(frozen=True, slots=True)
class Around:
    """Values for what rules do not ask; addresses are (value, mask) pairs to be within."""

    sources: tuple[tuple[int, int], ...]
    destinations: tuple[tuple[int, int], ...]
    names: tuple[str, ...] = ("", "lo", "eth0", "eth1", "eth12", "wlan0", "e", "ethernet-islong")
    marks: tuple[int, ...] = (0, 1, 2, 0x10, 0xFF, 0x80000001)


def _columns(n: int) -> dict[str, Ints]:
    return {name: np.full(n, -1, np.int64) for name in _ASKED}


_ASKED = (
    "protocol", "sport_low", "sport_high", "dport_low", "dport_high", "flags", "flags_mask",
    "kind", "code", "mark", "mark_mask", "state", "iif", "oif", "fragment",
)  # fmt: skip


class Wishes:
    """What each rule asks of a packet, in columns; -1 or mask 0 where it asks nothing.

    Of several ways to please a rule one is drawn: a range of a multiport, a state.
    """

    def __init__(self, rules: Sequence[Rule], version: int, names: Sequence[str], random: Random):
        self.words = 1 if version == 4 else 4
        self.names = names
        self.random = random
        n = len(rules)
        self.value = np.zeros((2, n, self.words), np.uint32)
        self.mask = np.zeros((2, n, self.words), np.uint32)
        self.asked = _columns(n)
        for row, rule in enumerate(rules):
            self._rule(row, rule)

    def _rule(self, row: int, rule: Rule) -> None:
        for number, address in enumerate((rule.source, rule.destination)):
            if address and self._pleases(address.inverted):
                self._address(number, row, address)
        for name, wanted in (("iif", rule.in_interface), ("oif", rule.out_interface)):
            if wanted and self._pleases(wanted.inverted):
                self._put(row, name, self._interface(wanted))
        if rule.protocol is not None and self._pleases(rule.protocol_inverted):
            self._put(row, "protocol", rule.protocol)
        if rule.fragment is not None:
            self._put(row, "fragment", int(rule.fragment))
        for match in rule.matches:
            match match:
                case Ports():
                    self._ports(row, match)
                case Multiport(which, spans, inverted) if self._pleases(inverted):
                    both = ("sport", "dport")
                    end = {"sports": 0, "dports": 1}.get(which, self._below(2))
                    self._span(row, both[end], spans[self._below(len(spans))])
                case Icmp(_, kind, code, inverted) if self._pleases(inverted):
                    self._put(row, "kind", kind)
                    self._put(row, "code", 0 if code is None else code)
                case Mark(value, mask, inverted) if self._pleases(inverted):
                    self._put(row, "mark", value)
                    self._put(row, "mark_mask", mask)
                case State(states, inverted) if self._pleases(inverted):
                    self._put(row, "state", STATES[states[self._below(len(states))]])
                case _:
                    pass

    def _pleases(self, inverted: bool) -> bool:
        # what a rule excludes is rarely wanted, and to be had by chance
        return not inverted or self._below(5) == 0

    def _below(self, number: int) -> int:
        return int(self.random.integers(number))

    def _put(self, row: int, name: str, value: int) -> None:
        self.asked[name][row] = value

    def _address(self, number: int, row: int, address: Address) -> None:
        for word in range(self.words):
            shift = 32 * (self.words - 1 - word)
            self.value[number, row, word] = (address.value & address.mask) >> shift & 0xFFFFFFFF
            self.mask[number, row, word] = address.mask >> shift & 0xFFFFFFFF

    def _interface(self, wanted: Interface) -> int:
        prefix = wanted.name.removesuffix("+")
        fits = [
            number
            for number, name in enumerate(self.names)
            if name == wanted.name or (prefix != wanted.name and name.startswith(prefix))
        ]
        return fits[self._below(len(fits))] if fits else -1

    def _ports(self, row: int, match: Ports) -> None:
        if match.source and self._pleases(match.source_inverted):
            self._span(row, "sport", match.source)
        if match.target and self._pleases(match.target_inverted):
            self._span(row, "dport", match.target)
        if match.flags and self._pleases(match.flags_inverted):
            self._put(row, "flags_mask", match.flags[0])
            self._put(row, "flags", match.flags[1])

    def _span(self, row: int, port: str, span: Span) -> None:
        self._put(row, f"{port}_low", span[0])
        self._put(row, f"{port}_high", span[1])


class Drawer:
    """Draws packets for a ruleset."""

    def __init__(self, ruleset: Ruleset, around: Around, random: Random) -> None:
        self.version = ruleset.version
        self.around = around
        self.random = random
        rules = [rule for chain in ruleset.chains.values() for rule in chain]
        self.wishes = Wishes(rules, self.version, around.names, random)
        numbers = {name: number for number, name in enumerate(ruleset.chains)}
        sizes = [len(chain) for chain in ruleset.chains.values()]
        self.chain_of = np.repeat(np.arange(len(sizes)), sizes)
        callers: list[list[int]] = [[] for _ in sizes]
        for row, rule in enumerate(rules):
            if rule.jumps_to is not None:
                callers[numbers[rule.jumps_to]].append(row)
        self.callers = [np.array(found, np.int64) for found in callers]
        self.hook_of = np.array(
            [HOOKS.index(name) if name in HOOKS else -1 for name in ruleset.chains]
        )

    def draw(self, n: int) -> Packets:
        path = self._paths(n)
        self.addresses = self._noise(n)
        self.plain = self._plain(n)
        for rows in path[::-1]:
            self._lay_over(rows)
        self._move()
        hook = self.hook_of[self.chain_of[path[-1]]]
        hook = np.where(hook < 0, self.random.integers(len(HOOKS), size=n), hook)
        return self._packets(hook)

    # Rules for each packet: its own, then the one that jumps there, up to the base chain.
    def _paths(self, n: int) -> list[Ints]:
        weight = np.bincount(self.chain_of)[self.chain_of] ** -0.5  # small chains more often
        here = self.random.choice(len(self.chain_of), n, p=weight / weight.sum())
        path = [here]
        for _ in range(DEPTH):
            chains = self.chain_of[here]
            caller = here.copy()
            for chain in np.unique(chains):
                rows = self.callers[chain]
                if len(rows):
                    which = chains == chain
                    caller[which] = self.random.choice(rows, int(which.sum()))
            path.append(caller)
            here = caller
        return path

    def _noise(self, n: int) -> NDArray[np.uint32]:
        # addresses of no rule: within what is around
        found = np.zeros((2, n, self.wishes.words), np.uint32)
        for number, spaces in enumerate((self.around.sources, self.around.destinations)):
            which = self.random.integers(len(spaces), size=n)
            noise = self.random.integers(0, 1 << 32, found.shape[1:], np.uint32)
            for word in range(self.wishes.words):
                shift = 32 * (self.wishes.words - 1 - word)
                value, mask = (
                    np.array([pair[part] >> shift & 0xFFFFFFFF for pair in spaces], np.uint32)
                    for part in (0, 1)
                )
                found[number, :, word] = value[which] | noise[:, word] & ~mask[which]
        return found

    def _plain(self, n: int) -> dict[str, Ints]:
        random, around = self.random, self.around
        protocols = [TCP, TCP, UDP, UDP, ICMP if self.version == 4 else ICMPV6, UDPLITE, SCTP, 47]
        ports = self.wishes.asked
        known = np.concatenate([ports["sport_low"], ports["dport_low"], ports["dport_high"]])
        known = known[known >= 0] if (known >= 0).any() else np.array([0, 80, 0xFFFF])
        drawn = {
            "protocol": random.choice(protocols, n),
            "sport": random.choice(known, n),
            "dport": random.choice(known, n),
            "flags": random.choice([0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0, 0x29], n),
            "kind": random.choice([0, 3, 8, 11, 128, 129, 1, 4], n),
            "code": random.choice([0, 0, 1, 3, 4], n),
            "mark": random.choice(around.marks, n),
            "state": random.choice(list(STATES.values()), n),
            "iif": random.integers(len(around.names), size=n),
            "oif": random.integers(len(around.names), size=n),
            "fragment": np.zeros(n, np.int64),
        }
        for port in ("sport", "dport"):
            any_port = random.random(n) < 0.5
            drawn[port] = np.where(any_port, random.integers(0x10000, size=n), drawn[port])
        return drawn

    def _lay_over(self, rows: Ints) -> None:
        wishes, plain = self.wishes, self.plain
        for number in (0, 1):
            mask = wishes.mask[number, rows]
            mine = self.addresses[number]
            self.addresses[number] = mine & ~mask | wishes.value[number, rows] & mask
        asked = {name: column[rows] for name, column in wishes.asked.items()}
        for name in ("protocol", "kind", "code", "state", "iif", "oif", "fragment"):
            plain[name] = np.where(asked[name] >= 0, asked[name], plain[name])
        for name in ("flags", "mark"):
            mask = np.maximum(asked[f"{name}_mask"], 0)
            plain[name] = plain[name] & ~mask | asked[name] & mask
        for port in ("sport", "dport"):
            low, high = asked[f"{port}_low"], asked[f"{port}_high"]
            within = low + self.random.integers(0, np.maximum(high - low, 0) + 1)
            edge = np.where(self.random.random(len(rows)) < 0.5, low, high)
            chosen = np.where(self.random.random(len(rows)) < 0.3, edge, within)
            plain[port] = np.where(low >= 0, chosen, plain[port])

    # Just beside what was asked: the next port, the borders of a network, one bit of anything.
    def _move(self) -> None:
        random, plain = self.random, self.plain
        n = len(plain["mark"])
        for port in ("sport", "dport"):
            by = random.choice([-1, 1, 0], n, p=[0.08, 0.08, 0.84])
            plain[port] = plain[port] + by & 0xFFFF
        for number in (0, 1):
            kind = random.random(n)
            bit = random.integers(32 * self.wishes.words, size=n)
            word, flip = bit // 32, np.uint32(1) << (bit % 32).astype(np.uint32)
            some = np.flatnonzero(kind < 0.05)
            self.addresses[number, some, word[some]] ^= flip[some]
            # the lowest or highest address that a few upper bits leave
            low = np.flatnonzero((kind > 0.05) & (kind < 0.15))
            below = flip[low] - np.uint32(1)
            upper = random.random(len(low)) < 0.5
            mine = self.addresses[number, low, word[low]] & ~below
            self.addresses[number, low, word[low]] = np.where(upper, mine | below, mine)
        for name, share in (("flags", 0.05), ("mark", 0.03)):
            bits = 1 << random.integers(8, size=n)
            plain[name] = np.where(random.random(n) < share, plain[name] ^ bits, plain[name])
        other = random.choice([TCP, UDP, ICMP, ICMPV6, UDPLITE, 47], n)
        plain["protocol"] = np.where(random.random(n) < 0.03, other, plain["protocol"])

    def _packets(self, hook: Ints) -> Packets:
        plain, around = self.plain, self.around
        upper = self._upper()
        make = self._ipv4 if self.version == 4 else self._ipv6
        data, length = make(upper)
        # No device where a hook has none.
        none = around.names.index("")
        iif = np.where(hook == HOOKS.index("OUTPUT"), none, plain["iif"])
        oif = np.where(hook == HOOKS.index("INPUT"), none, plain["oif"])
        mark = plain["mark"].astype(np.uint32)
        return Packets(
            self.version, data, length, hook, around.names, iif, oif, mark, plain["state"]
        )

    def _upper(self) -> NDArray[np.uint8]:
        plain = self.plain
        n = len(plain["mark"])
        upper = self.random.integers(0, 256, (n, HEADER_BYTES), np.uint8)
        has_ports = np.isin(plain["protocol"], PORTS_OF)
        for at, port in ((0, "sport"), (2, "dport")):
            upper[has_ports, at] = (plain[port] >> 8)[has_ports]
            upper[has_ports, at + 1] = (plain[port] & 0xFF)[has_ports]
        tcp = plain["protocol"] == TCP
        upper[tcp, 12] = 0x50
        upper[tcp, 13] = plain["flags"][tcp]
        icmp = np.isin(plain["protocol"], (ICMP, ICMPV6))
        upper[icmp, 0], upper[icmp, 1] = plain["kind"][icmp], plain["code"][icmp]
        return upper

    def _cut(self, whole: Ints, least: int) -> Ints:
        # some are cut short anywhere behind the IP header
        at = self.random.integers(least, np.maximum(whole, least + 1))
        return np.where(self.random.random(len(whole)) < 0.08, at, whole)

    def _ipv4(self, upper: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Ints]:
        random, plain = self.random, self.plain
        n = len(upper)
        words = np.where(random.random(n) < 0.05, random.integers(6, 16, size=n), 5)
        offset = np.where(plain["fragment"] > 0, random.choice([1, 2, 185, 8191], n), 0)
        odd = random.random(n) < 0.06
        offset = np.where(odd, random.choice([0, 0x2000, 1, 0x2001, 2, 0x20B9, 8191], n), offset)
        data = np.zeros((n, 60 + HEADER_BYTES), np.uint8)
        data[:, 0] = 0x40 | words
        data[:, 6], data[:, 7] = offset >> 8, offset & 0xFF
        data[:, 8], data[:, 9] = 64, plain["protocol"]
        data[:, 12:16], data[:, 16:20] = (_bytes(part) for part in self.addresses)
        place = (words * 4)[:, None] + np.arange(HEADER_BYTES)
        data[np.arange(n)[:, None], place] = upper
        data[(words > 5), 20] = 1  # a no-op, of as many as there is room
        length = self._cut(words * 4 + HEADER_BYTES, 20)
        length = np.maximum(length, words * 4)
        data[:, 2], data[:, 3] = length >> 8, length & 0xFF
        return data, length

    def _ipv6(self, upper: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Ints]:
        random, plain = self.random, self.plain
        n = len(upper)
        chains = _extensions()
        width = 40 + max(len(body) for _, body, _ in chains) + HEADER_BYTES
        data = np.zeros((n, width), np.uint8)
        data[:, 0], data[:, 7] = 0x60, 64
        data[:, 8:24], data[:, 24:40] = (_bytes(part) for part in self.addresses)
        length = np.zeros(n, np.int64)
        which = np.where(random.random(n) < 0.12, random.integers(len(chains), size=n), 0)
        for number, (first, body, last) in enumerate(chains):
            rows = np.flatnonzero(which == number)
            end = 40 + len(body)
            data[rows, 40:end] = np.frombuffer(body, np.uint8)
            data[rows, 6] = first
            data[rows, last] = plain["protocol"][rows]
            data[rows, end : end + HEADER_BYTES] = upper[rows]
            length[rows] = end + HEADER_BYTES
        length = self._cut(length, 40)
        data[:, 4], data[:, 5] = (length - 40) >> 8, (length - 40) & 0xFF
        return data, length


def _bytes(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words.astype(">u4")).view(np.uint8)


def _extensions() -> list[tuple[int, bytes, int]]:
    """Give chains of extension headers: first number, bytes, and where the last number goes."""
    chains: list[list[tuple[int, bytes]]] = [
        [],
        [(HOPOPTS, _OPTIONS)],
        [(DSTOPTS, _OPTIONS), (ROUTING, bytes([0, 0, 0, 0, 0, 0, 0, 0]))],
        [(FRAGMENT, _fragment(0, True))],
        [(FRAGMENT, _fragment(0, False))],
        [(FRAGMENT, _fragment(1, True))],
        [(FRAGMENT, _fragment(185, False))],
        [(FRAGMENT, _fragment(185, False)), (DSTOPTS, _OPTIONS)],
        [(AUTH, _AUTH)],
        [(HOPOPTS, _OPTIONS), (FRAGMENT, _fragment(2, True))],
        [(DSTOPTS, bytes([0, 200]) + bytes(6))],  # longer than the packet
        [(HOPOPTS, _OPTIONS), (DSTOPTS, _OPTIONS), (AUTH, _AUTH), (FRAGMENT, _fragment(0, True))],
    ]
    found = []
    for chain in chains:
        last, body = 6, b""
        numbers = [number for number, _ in chain]
        for (_, header), following in zip(chain, [*numbers[1:], 0], strict=False):
            last = 40 + len(body)
            body += bytes([following]) + header[1:]
        found.append((numbers[0] if numbers else 0, body, last))
    return found


def _fragment(offset: int, more: bool) -> bytes:
    return bytes([0, 0, *(offset << 3 | more).to_bytes(2, "big"), 0, 0, 0, 7])
