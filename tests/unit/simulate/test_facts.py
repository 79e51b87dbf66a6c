"""What a verdict stands on is said: no assumption is silent, and none is made without need."""

from __future__ import annotations

import pytest

from bpfilter.rules.model import Hook
from bpfilter.simulate.packet import Connection, Owner, Packet, PacketType, State, Surroundings
from bpfilter.simulate.text import parse_packet
from tests.unit.simulate.support import V6, simulator

PACKET = parse_packet("tcp 192.0.2.7:40000 > 198.51.100.9:22 syn")
NOTHING = Surroundings()


def assumed(rule: str, packet: Packet = PACKET, around: Surroundings = NOTHING) -> str:
    hook = Hook[rule.split()[1]]
    family = V6 if "eui64" in rule else None
    sim = simulator(rule, family=family) if family else simulator(rule)
    return ", ".join(sim.asked_at(hook).assumed(packet, around))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("-A INPUT -p tcp -m tcp --dport 22", ""),
        ("-A INPUT -m state --state NEW", "state new"),
        ("-A INPUT -m conntrack --ctorigsrc 192.0.2.7", "state new"),
        ("-A INPUT -m connmark --mark 1", "state new"),
        (
            "-A INPUT -m conntrack --ctstatus NONE",
            "state new, connection status as usual for its state",
        ),
        ("-A INPUT -m conntrack --ctexpire 0:9", "state new, connection expires at once"),
        ("-A INPUT -m mark --mark 1", "mark 0"),
        ("-A OUTPUT -m owner --uid-owner 0", "sent by no socket"),
        ("-A INPUT -m cpu --cpu 0", "CPU 0"),
        ("-A INPUT -m physdev --physdev-is-in", "not bridged"),
        (
            "-A INPUT -m pkttype --pkt-type unicast",
            "packet type as its destination address has it",
        ),
        ("-A INPUT -m mac --mac-source 02:00:00:00:00:01", "no Ethernet header"),
        ("-A INPUT -m eui64", "no Ethernet header"),
        # Only what the rules of this hook ask counts.
        ("-A INPUT -j ACCEPT", ""),
    ],
)
def test_what_was_not_told_is_said(rule: str, said: str) -> None:
    assert assumed(rule) == said


def test_groups_that_were_not_told() -> None:
    rule = "-A OUTPUT -m owner --gid-owner 5 --suppl-groups"
    assert assumed(rule, around=Surroundings(owner=Owner(0, 0))) == "no supplementary groups"
    assert assumed(rule, around=Surroundings(owner=Owner(0, 0, ()))) == ""


@pytest.mark.parametrize(
    ("rule", "packet", "around"),
    [
        ("-A INPUT -m state --state NEW", PACKET, Surroundings(connection=Connection())),
        (
            "-A INPUT -m conntrack --ctstatus NONE --ctexpire 5",
            PACKET,
            Surroundings(connection=Connection(status=0, expires_s=5)),
        ),
        (
            "-A INPUT -m conntrack --ctstatus NONE",
            PACKET,
            Surroundings(connection=Connection(State.INVALID)),
        ),
        ("-A INPUT -m mark --mark 1", PACKET, Surroundings(mark=0)),
        ("-A INPUT -m mark --mark 1", Packet(PACKET.data, mark=1), NOTHING),
        ("-A OUTPUT -m owner --uid-owner 0", PACKET, Surroundings(owner=Owner(0, 0))),
        ("-A INPUT -m cpu --cpu 0", PACKET, Surroundings(cpu=0)),
        (
            "-A INPUT -m pkttype --pkt-type unicast",
            Packet(PACKET.data, kind=PacketType.UNICAST),
            NOTHING,
        ),
        (
            "-A INPUT -m mac --mac-source 02:00:00:00:00:01",
            Packet(PACKET.data, link=bytes(14)),
            NOTHING,
        ),
    ],
)
def test_what_was_told_is_not_assumed(rule: str, packet: Packet, around: Surroundings) -> None:
    assert assumed(rule, packet, around) == ""


def test_fragments_are_an_assumption_where_connections_are_tracked() -> None:
    later = parse_packet("udp 192.0.2.7 > 198.51.100.9 frag=8")
    said = assumed("-A INPUT -m state --state NEW", later)
    assert said == "state new, not put together, as connection tracking does before"
    assert assumed("-A INPUT -f", later) == ""
