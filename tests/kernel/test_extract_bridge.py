"""Bridge ports of bridged packets: the kernel's physdev match is the judge."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from bpfilter.plan import fields
from bpfilter.rules.model import Family, Hook
from tests.harness.netns import Namespace
from tests.harness.recorder import Recorder

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

PORTS = ("port0", "a-port-of-15-ch")
ASKED = (
    fields.PHYS_BRIDGED,
    fields.PHYS_IN_SET,
    fields.PHYS_OUT_SET,
    fields.PHYS_IN,
    fields.PHYS_OUT,
    fields.MARK,
)
#: Options of the kernel's match for a chain, and what our fields say of the same.
QUESTIONS: dict[str, Callable[[dict[str, int]], bool]] = {
    "--physdev-is-in": lambda r: r["phys_in_set"] == 1,
    "--physdev-is-out": lambda r: r["phys_out_set"] == 1,
    "--physdev-is-bridged": lambda r: r["phys_bridged"] == r["phys_out_set"] == 1,
    f"--physdev-in {PORTS[0]} --physdev-is-in": lambda r: name(r["phys_in"]) == PORTS[0],
    f"--physdev-in {PORTS[1]} --physdev-is-in": lambda r: name(r["phys_in"]) == PORTS[1],
    f"--physdev-is-bridged --physdev-out {PORTS[0]}": lambda r: name(r["phys_out"]) == PORTS[0],
    f"--physdev-is-bridged --physdev-out {PORTS[1]}": lambda r: name(r["phys_out"]) == PORTS[1],
}
HOSTS = {
    Family.IPV4: ("10.5.0.1", "10.5.0.2", "10.5.0.9"),
    Family.IPV6: ("2001:db8:5::1", "2001:db8:5::2", "2001:db8:5::9"),
}
#: Devices made first, so that ports have indexes beyond one round of the kernel's hash.
SPACING = 256


def name(value: int) -> str:
    return value.to_bytes(16, "big").rstrip(b"\0").decode()


class Bridge:
    """A namespace with a bridge of two ports, and a host at the other end of each."""

    def __init__(self) -> None:
        self.bridge = Namespace("br")
        self.hosts = (Namespace("brh0"), Namespace("brh1"))
        self.bridge.sysctl(
            {
                "bridge/bridge-nf-call-iptables": 1,
                "bridge/bridge-nf-call-ip6tables": 1,
                "ipv6/conf/default/accept_dad": 0,
            }
        )
        self.bridge.ip(
            "link add br0 type bridge",
            "link set br0 up",
            f"address add {HOSTS[Family.IPV4][2]}/24 dev br0",
            f"address add {HOSTS[Family.IPV6][2]}/64 dev br0 nodad",
        )
        for number, (port, host) in enumerate(zip(PORTS, self.hosts, strict=True)):
            # The second port's index collides with the first one's in the kernel's hash.
            host.sysctl({"ipv6/conf/default/accept_dad": 0})
            self.bridge.ip(
                f"link add {port} index {100 + SPACING * number} type veth "
                f"peer name eth0 netns {host.name}",
                f"link set {port} master br0 up",
            )
            host.ip(
                "link set eth0 up",
                f"address add {HOSTS[Family.IPV4][number]}/24 dev eth0",
                f"address add {HOSTS[Family.IPV6][number]}/64 dev eth0 nodad",
            )

    def close(self) -> None:
        for namespace in (self.bridge, *self.hosts):
            namespace.close()


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    made = Bridge()
    yield made
    made.close()


@pytest.fixture(params=tuple(Family), ids=("ipv4", "ipv6"))
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


def judge(bridge: Bridge, family: Family, chain: str) -> None:
    lines = ["*mangle", f"-A {chain} -j MARK --set-mark 0"]
    for number, question in enumerate(QUESTIONS):
        lines.append(f"-A {chain} -m physdev {question} -j MARK --or-mark {1 << number:#x}")
    command = "iptables" if family is Family.IPV4 else "ip6tables"
    bridge.bridge.run(f"{command}-legacy-restore", stdin="\n".join([*lines, "COMMIT"]) + "\n")


def exchange(bridge: Bridge, family: Family, host: int, to: str) -> None:
    """Send a datagram with a route to its destination that is known; ARP or ND come first."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with bridge.hosts[host].entered():
        sender = socket.socket(kind, socket.SOCK_DGRAM)
    with sender:
        sender.settimeout(2)
        sender.connect((to, 9))
        sender.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)


def agree(records: list[dict[str, int]]) -> None:
    assert records
    for record in records:
        for number, (question, ours) in enumerate(QUESTIONS.items()):
            assert ours(record) == bool(record["mark"] >> number & 1), (question, record)


def test_forwarded_by_the_bridge(bridge: Bridge, family: Family) -> None:
    judge(bridge, family, "FORWARD")
    with Recorder(bridge.bridge, family, Hook.FORWARD, ASKED) as recorder:
        exchange(bridge, family, 0, HOSTS[family][1])
        records = recorder.take()
    agree(records)
    ways = {(name(record["phys_in"]), name(record["phys_out"])) for record in records}
    assert ways == {PORTS, PORTS[::-1]}


def test_to_the_bridge_itself(bridge: Bridge, family: Family) -> None:
    judge(bridge, family, "INPUT")
    with Recorder(bridge.bridge, family, Hook.INPUT, ASKED) as recorder:
        for host in (0, 1):
            exchange(bridge, family, host, HOSTS[family][2])
        records = recorder.take()
    agree(records)
    assert {name(record["phys_in"]) for record in records} >= set(PORTS)
    assert not any(record["phys_out_set"] for record in records)


def test_not_bridged(bridge: Bridge, family: Family) -> None:
    bridge.bridge.ip("link set lo up")
    with Recorder(bridge.bridge, family, Hook.INPUT, ASKED) as recorder:
        kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
        with bridge.bridge.entered():
            sender = socket.socket(kind, socket.SOCK_DGRAM)
        with sender:
            sender.sendto(b"x", (HOSTS[family][2], 9))
        records = recorder.take()
    assert records
    assert not any(record["phys_bridged"] or record["phys_in"] for record in records)
