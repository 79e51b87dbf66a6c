"""Address classes of `addrtype` for IPv6: the kernel's own match is the judge."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bpfilter.plan import fields
from bpfilter.rules.model import Family, Hook
from tests.harness.netns import CLIENT, Lab
from tests.harness.recorder import Recorder
from tests.harness.wire import ETH_P_IPV6, NONE, address, ethernet
from tests.unit.ext.support import Outcome, decide

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

TYPES = ("UNICAST", "MULTICAST", "UNSPEC", "UNICAST,MULTICAST", "UNICAST,UNSPEC")
RULES = tuple(
    f"-m addrtype {sign}--{end}-type {types}"
    for end in ("src", "dst")
    for types in TYPES
    for sign in ("", "! ")
)
# What ip6_rcv_core() lets through: no multicast source, no ::1, no IPv4-mapped source.
SOURCES = ("::", "::2", "2001:db8:1::2", "fe80::2", "fc00::1", "fec0::1", "4000::", "e000::")
DESTINATIONS = (*SOURCES, "::ffff:10.0.0.1", "::1:ffff:10.0.0.1", "ff02::1", "ff0e::5", "fe00::")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(wires=True) as made:
        yield made


def test_classes(lab: Lab) -> None:
    lines = ["*mangle", "-A PREROUTING -j MARK --set-mark 0"]
    for number, rule in enumerate(RULES):
        lines.append(f"-A PREROUTING {rule} -j MARK --or-mark {1 << number:#x}")
    lab.firewall.run("ip6tables-legacy-restore", stdin="\n".join([*lines, "COMMIT"]) + "\n")
    with lab.client.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    asked = (fields.SADDR, fields.DADDR, fields.MARK)
    with sender, Recorder(lab.firewall, Family.IPV6, Hook.PREROUTING, asked) as recorder:
        sender.bind(("eth0", 0))
        for source in SOURCES:
            for destination in DESTINATIONS:
                header = bytes((0x60, 0, 0, 0, 0, 0, NONE, 64))
                body = header + address(source) + address(destination)
                sender.send(ethernet(CLIENT.mac, CLIENT.peer_mac, ETH_P_IPV6, body))
        records = recorder.take()
    assert len(records) == len(SOURCES) * len(DESTINATIONS)
    for record in records:
        values = {name: words(record[name]) for name in ("saddr", "daddr")}
        for number, rule in enumerate(RULES):
            ours = decide(rule, values, Family.IPV6) is Outcome.MATCH
            assert ours == bool(record["mark"] >> number & 1), (rule, values)


def words(value: int) -> list[int]:
    return [value >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0)]
