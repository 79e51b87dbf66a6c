"""Rules and packets written by hand, for what random ones never meet; iptables is the judge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import pytest

from tests.harness import wire
from tests.harness.duel import Case, Duel
from tests.harness.engines import BpfEngine, LegacyEngine
from tests.harness.netns import CLIENT
from tests.harness.packets import Packet, Via

pytestmark = pytest.mark.e2e

POLICIES = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
HOST, FAR = "10.0.1.2", "10.0.2.2"


@pytest.fixture(scope="module")
def duel() -> Iterator[Duel]:
    with contextlib.closing(Duel(LegacyEngine(), BpfEngine())) as made:
        yield made


def case(rules: Iterable[str], packets: Iterable[Packet], version: int = 4) -> Case:
    """Make a case; chains that rules are added to are declared."""
    rules = list(rules)
    chains = dict.fromkeys(rule.split()[1] for rule in rules)
    own = [f":{name} - [0:0]\n" for name in chains if f":{name} " not in POLICIES]
    text = "".join(["*filter\n", POLICIES, *own, *(f"{rule}\n" for rule in rules), "COMMIT\n"])
    return Case(version, text, "*mangle\nCOMMIT\n", tuple(packets))


def from_client(packet: bytes, version: int = 4) -> Packet:
    kind = wire.ETH_P_IP if version == 4 else wire.ETH_P_IPV6
    return Packet(Via.CLIENT, wire.ethernet(CLIENT.mac, CLIENT.peer_mac, kind, packet))


def datagram(size: int = 20) -> Packet:
    body = wire.with_checksum(
        wire.UDP, wire.address(HOST), wire.address(FAR), wire.udp(1000, 2000, bytes(size))
    )
    return from_client(wire.ipv4(HOST, FAR, wire.UDP, body, ident=7))


def fragments() -> list[Packet]:
    body = wire.udp(1000, 2000, bytes(56))
    body = wire.with_checksum(wire.UDP, wire.address(HOST), wire.address(FAR), body)
    return [
        from_client(wire.ipv4(HOST, FAR, wire.UDP, body[:32], ident=9, flags=1)),
        from_client(wire.ipv4(HOST, FAR, wire.UDP, body[32:], ident=9, offset=4)),
    ]


def ladder(depth: int) -> list[str]:
    """Give chains c0, c1, … that each jump to the next, and count on the way back."""
    down = [f"-A c{n} -j c{n + 1}" for n in range(depth)]
    return ["-A FORWARD -j c0", *down, *(f"-A c{n}" for n in range(depth, -1, -1)), "-A FORWARD"]


UNREACHABLE_CIRCLE = ["-A x -j y", "-A y -j x", "-A y -j c5"]


@pytest.mark.parametrize("depth", [3, 24, 130])
def test_a_circle_no_hook_leads_to(duel: Duel, depth: int) -> None:
    assert duel.run(case([*UNREACHABLE_CIRCLE, *ladder(max(depth, 5))], [datagram()])) == []


@pytest.mark.parametrize("depth", [3, 24, 130])
def test_a_circle_behind_an_unconditional_return(duel: Duel, depth: int) -> None:
    last = [f"-A c{depth} -j RETURN", f"-A c{depth} -j c0"]
    rules = [*ladder(depth)[:-1], *last, "-A FORWARD"]
    assert duel.run(case(rules, [datagram()])) == []


@pytest.mark.parametrize("depth", [3, 24])
def test_a_goto_along_the_ladder(duel: Duel, depth: int) -> None:
    # Each step is a goto, or a jump, by a bit of the packet; only some of the rules behind
    # the jumps are met on the way back.
    rules = ["-A FORWARD -g c0", "-A FORWARD"]
    for n in range(depth):
        rules.append(f"-A c{n} -p udp -m length --length {n % 7 + 40}:60 -g c{n + 1}")
        rules.append(f"-A c{n} -j c{n + 1}")
        rules.append(f"-A c{n}")
    rules.append(f"-A c{depth} -m length --length 45:60 -j RETURN")
    assert duel.run(case(rules, [datagram(size) for size in range(10, 22)])) == []


@pytest.mark.parametrize(
    "rule",
    [
        "-A unused -m conntrack --ctstate NEW",
        "-A unused -m state --state NEW",
        "-A FORWARD -m connmark --mark 0x1/0x0",
        "-A unused -m connmark --mark 1",
    ],
)
def test_connections_are_tracked_wherever_the_rule_is(duel: Duel, rule: str) -> None:
    """Tracking puts fragments together before the filter sees them."""
    assert duel.run(case([rule, "-A FORWARD -f", "-A FORWARD"], fragments())) == []


@pytest.mark.parametrize("protocol", ["all", "0", "hopopt", "udp"])
def test_any_protocol_of_ipv6_is_looked_for(duel: Duel, protocol: str) -> None:
    """`-p all` follows the headers too, and drops a packet where they cannot be followed."""
    cut_off = wire.ipv6("2001:db8:1::2", "2001:db8:2::2", wire.DSTOPTS, bytes([wire.UDP]))
    rules = ["-A FORWARD", f"-A FORWARD -p {protocol}", "-A FORWARD"]
    assert duel.run(case(rules, [from_client(cut_off, 6)], version=6)) == []
