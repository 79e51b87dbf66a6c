"""What a family consists of: boxes of packets, their save text, packets drawn from them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How many packets a family comes with; those of one round of a measurement.
TRACE = 65_536

#: A packet; addresses and ports in host order. `rule` is the rule it was drawn from (the
#: number of its `-A` line, from 0, or -1), which is not always the first that matches it.
PACKET = np.dtype(
    [
        ("saddr", "<u4"),
        ("daddr", "<u4"),
        ("sport", "<u2"),
        ("dport", "<u2"),
        ("proto", "u1"),
        ("rule", "<i4"),
    ]
)
Packets = NDArray[np.void]
Words = NDArray[np.uint32]

ICMP, TCP, UDP = 1, 6, 17
PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp", 47: "47", 50: "esp", 88: "88", 89: "89"}
HAVE_PORTS = (TCP, UDP)
ANY_PORT = (0, 65_535)
_DRAWS = 100


class Verdicts(StrEnum):
    """Which verdicts rules give.

    DROP is for measuring throughput: what happens to a packet behind the verdict then costs
    the same in every family at every size.
    """

    MIXED = "mixed"
    DROP = "drop"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Rules as iptables-save writes them, for IPv4, hook FORWARD, and packets for them.

    `packets`: TRACE of them, drawn evenly over the rules, in random order. `worst`: packets
    that match no rule but the last one of the longest way. `exact`: each packet matches the
    rule it was drawn from, and no other.
    """

    name: str
    rules: int
    text: str
    packets: Packets
    worst: Packets
    exact: bool = False


@dataclass(slots=True, eq=False)
class Boxes:
    """Rules of addresses, protocol and ports alone, a row each, in order.

    Prefixes as address and length; ports inclusive; protocol 0 is any.
    """

    source: Words
    source_length: NDArray[np.int64]
    target: Words
    target_length: NDArray[np.int64]
    proto: NDArray[np.uint8]
    sports: NDArray[np.uint16]
    dports: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.proto)

    def take(self, rows: NDArray[Any]) -> Boxes:
        """Give some of the rules, or all in another order."""
        return Boxes(*(getattr(self, name)[rows] for name in Boxes.__slots__))

    def matching(self, packet: np.void) -> NDArray[np.int64]:
        """Give the numbers of the rules that match a packet, ascending."""
        by_source = (packet["saddr"] & mask(self.source_length)) == self.source
        rows: NDArray[np.int64] = np.flatnonzero(by_source)
        rows = rows[(packet["daddr"] & mask(self.target_length[rows])) == self.target[rows]]
        rows = rows[(self.proto[rows] == 0) | (self.proto[rows] == packet["proto"])]
        for ports, port in ((self.sports, packet["sport"]), (self.dports, packet["dport"])):
            rows = rows[(ports[rows, 0] <= port) & (port <= ports[rows, 1])]
        return rows


def mask(lengths: NDArray[np.int64]) -> Words:
    """Give the masks of prefix lengths."""
    return (np.uint64(0xFFFF_FFFF) << (32 - lengths).astype(np.uint64)).astype(np.uint32)


def rows_evenly(rules: int, rng: np.random.Generator, count: int = TRACE) -> NDArray[np.int64]:
    """Name rules for `count` packets, each about as often as any other, in random order."""
    whole, rest = divmod(count, rules)
    every = np.tile(np.arange(rules), whole)
    return rng.permutation(np.concatenate([every, rng.permutation(rules)[:rest]]))


def packets_in(boxes: Boxes, rows: NDArray[np.int64], rng: np.random.Generator) -> Packets:
    """Draw a packet in the box of each of some rules; one of any protocol gets UDP."""
    count = len(rows)
    out = np.zeros(count, PACKET)
    drawn = boxes.take(rows)
    for name, prefix, length in (
        ("saddr", drawn.source, drawn.source_length),
        ("daddr", drawn.target, drawn.target_length),
    ):
        out[name] = _addresses_in(prefix, mask(length), rng)
    out["proto"] = np.where(drawn.proto == 0, UDP, drawn.proto)
    with_ports = np.isin(out["proto"], HAVE_PORTS)
    for name, ports in (("sport", drawn.sports), ("dport", drawn.dports)):
        low, high = ports[:, 0].astype(np.int64), ports[:, 1].astype(np.int64)
        out[name] = np.where(with_ports, rng.integers(low, high, endpoint=True), 0)
    out["rule"] = rows
    return out


def unicast(count: int, rng: np.random.Generator) -> Words:
    """Draw addresses that a router forwards: of 1.0.0.0 to 126.255.255.255."""
    return rng.integers(0x0100_0000, 0x7F00_0000, count, dtype=np.uint32)


def is_unicast(addresses: Words) -> NDArray[np.bool_]:
    return (addresses >= 0x0100_0000) & (addresses < 0x7F00_0000)


def _addresses_in(prefixes: Words, masks: Words, rng: np.random.Generator) -> Words:
    # Each prefix must hold unicast addresses; short ones hold others too.
    out = prefixes | (unicast(len(prefixes), rng) & ~masks)
    for _ in range(_DRAWS):
        bad = np.flatnonzero(~is_unicast(out))
        if not len(bad):
            return out
        out[bad] = prefixes[bad] | (unicast(len(bad), rng) & ~masks[bad])
    raise ValueError(f"hardly a unicast address in {dotted(prefixes[bad[:1]])[0]}")


def dotted(addresses: Words) -> list[str]:
    """Write addresses as text."""
    halves = _halves()
    high, low = (addresses >> 16).tolist(), (addresses & 0xFFFF).tolist()
    return [f"{halves[a]}.{halves[b]}" for a, b in zip(high, low, strict=True)]


@functools.cache
def _halves() -> list[str]:
    return [f"{high}.{low}" for high in range(256) for low in range(256)]


def saved(rules: Mapping[str, Sequence[str]]) -> str:
    """Give a filter table's save text from the rules of each chain, FORWARD and user chains."""
    user = sorted(chain for chain in rules if chain != "FORWARD")
    out = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    out += [f":{chain} - [0:0]" for chain in user]
    out += rules["FORWARD"]
    for chain in user:
        out += rules[chain]
    return "\n".join([*out, "COMMIT\n"])


def lines(boxes: Boxes, targets: Sequence[str], chain: str = "FORWARD") -> list[str]:
    """Write rules, each with its target, as iptables-save does."""
    sources = _prefixes("-s", boxes.source, boxes.source_length)
    others = _prefixes("-d", boxes.target, boxes.target_length)
    tests = _protocol_tests(boxes)
    head = f"-A {chain}"
    return [
        f"{head}{source}{other}{test} -j {target}"
        for source, other, test, target in zip(sources, others, tests, targets, strict=True)
    ]


def _prefixes(option: str, addresses: Words, lengths: NDArray[np.int64]) -> list[str]:
    return [
        f" {option} {address}/{length}" if length else ""
        for address, length in zip(dotted(addresses), lengths.tolist(), strict=True)
    ]


def _protocol_tests(boxes: Boxes) -> list[str]:
    # Few combinations are different; each is written once.
    rows = zip(boxes.proto.tolist(), _pairs(boxes.sports), _pairs(boxes.dports), strict=True)
    known: dict[tuple[int, int, int], str] = {}
    out = []
    for row in rows:
        text = known.get(row)
        if text is None:
            proto, *ports = row
            text = known[row] = _protocol_test(proto, *(divmod(pair, 1 << 16) for pair in ports))
        out.append(text)
    return out


def _protocol_test(proto: int, sports: tuple[int, int], dports: tuple[int, int]) -> str:
    if not proto:
        return ""
    name = PROTOCOLS[proto]
    ports = "".join(
        f" {option} {low}" if low == high else f" {option} {low}:{high}"
        for option, (low, high) in (("--sport", sports), ("--dport", dports))
        if (low, high) != ANY_PORT
    )
    return f" -p {name} -m {name}{ports}" if ports else f" -p {name}"


def _pairs(ports: NDArray[np.uint16]) -> list[int]:
    pairs: list[int] = (ports[:, 0].astype(np.int64) << 16 | ports[:, 1]).tolist()
    return pairs
