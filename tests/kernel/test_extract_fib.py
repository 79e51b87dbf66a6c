"""Address types from the IPv4 routing tables: the kernel's addrtype match is the judge.

Random tables in a namespace of its own, random packets into PREROUTING; rules of the
mangle table set a bit of the packet mark for each type that the kernel finds.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
import time
from collections.abc import Iterator

import pytest

from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Family, Hook
from tests.harness.netns import Namespace
from tests.harness.recorder import Recorder
from tests.harness.wire import ETH_P_IP, UDP, checksum, ethernet

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

# RTN_* 0-5; inet_addr_type() gives no other, however the routes may be.
TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST")
DEAD_ENDS = ("blackhole", "unreachable", "prohibit", "throw")
PORTS = ("eth0", "eth1", "eth2", "eth3")
OUR_MAC = "02:00:00:00:00:{:02x}"
WIRE_MAC = "02:00:00:00:01:{:02x}"
SEEDS = range(8)
PACKETS = 4000

FORWARDING = {
    "ipv4/ip_forward": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/icmp_ratelimit": 0,
}


class Router:
    """A namespace with four ports, whose other ends lie in another one."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self.inside = stack.enter_context(Namespace("fib"))
            self.wire = stack.enter_context(Namespace("fibwire"))
            self.inside.sysctl(FORWARDING)
            for number, name in enumerate(PORTS):
                self.inside.ip(
                    f"link add {name} address {OUR_MAC.format(number)} type veth peer "
                    f"name {name} address {WIRE_MAC.format(number)} netns {self.wire.name}",
                    f"link set {name} up",
                )
                self.wire.ip(f"link set {name} up")
            self.inside.ip("link set lo up")
            self._stack = stack.pop_all()

    def try_ip(self, lines: list[str]) -> None:
        """Run `ip` commands; those the kernel refuses are no matter."""
        with contextlib.suppress(Exception):
            self.inside.run("ip", "-force", "-batch", "-", stdin="\n".join(lines) + "\n")

    def mark(self, limits: tuple[str, str], chain: str) -> None:
        """Have the kernel mark packets: six bits for each end of each of two limits."""
        lines = ["*mangle", f":{chain} ACCEPT", f"-A {chain} -j MARK --set-mark 0"]
        bit = 1
        for limit in limits:
            for end in ("src", "dst"):
                for name in TYPES:
                    lines.append(
                        f"-A {chain} -m addrtype --{end}-type {name} {limit} "
                        f"-j MARK --or-mark {bit:#x}"
                    )
                    bit <<= 1
        self.inside.run("iptables-legacy-restore", stdin="\n".join([*lines, "COMMIT"]) + "\n")

    def send(self, frames: list[bytes], port: str = "eth0") -> None:
        with self.wire.entered():
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sender:
            sender.bind((port, 0))
            for frame in frames:
                sender.send(frame)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def router() -> Iterator[Router]:
    made = Router()
    yield made
    made.close()


def prefix(rng: random.Random, lengths: tuple[int, ...]) -> str:
    """Draw a prefix: most of them crowd in a few networks, so that they nest and meet."""
    length = rng.choice(lengths)
    base = rng.choice((0x0A000000, 0x0A010000, 0xC0A80000, 0xC6120000, rng.getrandbits(32)))
    value = base | rng.getrandbits(rng.choice((4, 8, 16, 20)))
    if not 1 <= value >> 24 <= 223 or value >> 24 == 127:
        value = 0x0A000000 | value & 0xFFFFFF
    return str(ipaddress.ip_network((value >> (32 - length) << (32 - length), length)))


LENGTHS = (0, 1, 4, 8, 12, 16, 20, 23, 24, 24, 25, 27, 28, 29, 30, 31, 32, 32, 32)


def random_tables(rng: random.Random) -> list[str]:
    lines: list[str] = []
    for port in PORTS:
        for _ in range(rng.randrange(1, 6)):
            address = prefix(rng, (32,)).split("/")[0]
            lines.append(
                f"address add {address}/{rng.choice((8, 16, 24, 30, 32))} broadcast + dev {port}"
            )
    for number in range(1, 9):
        via = "blackhole" if number == 1 else f"dev {rng.choice(PORTS)}"
        lines.append(f"nexthop add id {number} {via}")
    for number in range(20, 24):
        members = "/".join(map(str, rng.sample(range(2, 9), rng.randrange(1, 4))))
        lines.append(f"nexthop add id {number} group {members}")
    lines.append("nexthop add id 24 group 1")
    return [*lines, *(random_route(rng) for _ in range(rng.randrange(10, 200)))]


def random_route(rng: random.Random) -> str:
    to = prefix(rng, LENGTHS)
    table = rng.choice(("", "", "table local", "table local", "table 77"))
    extra = rng.choice(("", "", "", f"metric {rng.randrange(5)}", "tos 0x10"))
    kind = rng.choice(
        ("unicast", "local", "broadcast", "anycast", "multicast", "nexthop", "multipath") * 2
        + DEAD_ENDS
    )
    port = rng.choice((*PORTS, "lo"))
    if kind in DEAD_ENDS:
        return f"route append {kind} {to} {table} {extra}"
    if kind == "nexthop":
        kind = rng.choice(("unicast", "local", "broadcast", "broadcast", "anycast"))
        number = rng.choice((1, 24, 24, 24, *range(1, 9), *range(20, 25)))
        return f"route append {kind} {to} nhid {number} {table} {extra}"
    if kind == "multipath":
        hops = " ".join(f"nexthop dev {rng.choice(PORTS)}" for _ in range(rng.randrange(1, 4)))
        return f"route append {to} {table} {extra} {hops}"
    return f"route append {kind} {to} dev {port} {table} {extra}"


def addresses(rng: random.Random, lines: list[str]) -> list[int]:
    """Give addresses at and around the ends of every prefix, and a few special ones."""
    found = [0, 1, 0x00FFFFFF, 0x01000000, 0x7F000001, 0xE0000001, 0xEFFFFFFF, 0xF0000001]
    found += [0xFFFFFFFF, 0xFFFFFFFE, 0xDFFFFFFF]
    for line in lines:
        for word in line.split():
            with contextlib.suppress(ValueError):
                network = ipaddress.ip_network(word, strict=False)
                if "/" in word and network.version == 4:
                    first, last = int(network[0]), int(network[-1])
                    found += [first, last, rng.randint(first, last), max(first - 1, 0)]
                    found += [
                        min(last + 1, 0xFFFFFFFF),
                        int(ipaddress.ip_address(word.split("/")[0])),
                    ]
    return found


def frame(source: int, destination: int, port: int = 0) -> bytes:
    header = bytes((0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0))
    header += source.to_bytes(4, "big") + destination.to_bytes(4, "big")
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    body = header + bytes((0, 1, 0, 9, 0, 8, 0, 0))
    return ethernet(OUR_MAC.format(port), WIRE_MAC.format(port), ETH_P_IP, body)


def judge(
    router: Router,
    recorder: Recorder,
    asked: tuple[Field, ...],
    pool: list[int],
    rng: random.Random,
) -> int:
    """Send packets between addresses of the pool; give how many came to the hook.

    A route may go between the kernel's answer and ours: what differs is asked again, once
    the kernel's own reaction to changed links (up to a second late) is over.
    """
    router.send([frame(rng.choice(pool), rng.choice(pool)) for _ in range(PACKETS // 4)])
    records = recorder.take()
    again = differing(records, asked)
    if again:
        time.sleep(1.5)
        router.send([frame(*ends(record)) for record in again])
        assert not differing(recorder.take(), asked)
    return len(records)


def ends(record: dict[str, int]) -> tuple[int, int]:
    return record["saddr"] >> 96, record["daddr"] >> 96


def differing(records: list[dict[str, int]], asked: tuple[Field, ...]) -> list[dict[str, int]]:
    return [
        record
        for record in records
        if [record[one.name] for one in asked]
        != [record["mark"] >> shift & 0x3F for shift in (0, 6, 12, 18)]
    ]


def change_links(router: Router, rng: random.Random) -> None:
    """Take carriers away, ports down, or split the local table from the main one."""
    if rng.random() < 0.5:
        router.wire.ip(f"link set {rng.choice(PORTS[1:])} down")
    if rng.random() < 0.3:
        router.inside.ip(f"link set {rng.choice(PORTS[1:])} down")
    for where in ("all", *PORTS):
        if rng.random() < 0.2:
            router.inside.sysctl({f"ipv4/conf/{where}/ignore_routes_with_linkdown": 1})
    if rng.random() < 0.4:
        router.inside.ip("rule add from 10.0.0.0/8 table 77")


@pytest.mark.parametrize("seed", SEEDS)
def test_prerouting(router: Router, seed: int) -> None:
    rng = random.Random(seed)
    lines = random_tables(rng)
    router.try_ip(lines)
    router.mark(("", "--limit-iface-in"), "PREROUTING")
    asked = (fields.SRC_TYPE, fields.DST_TYPE, fields.SRC_TYPE_IN, fields.DST_TYPE_IN)
    pool = addresses(rng, lines)
    total = 0
    with Recorder(
        router.inside,
        Family.IPV4,
        Hook.PREROUTING,
        (*asked, fields.MARK, fields.SADDR, fields.DADDR),
    ) as recorder:
        for _ in range(4):
            total += judge(router, recorder, asked, pool, rng)
            change_links(router, rng)
    assert total >= PACKETS


@pytest.mark.parametrize("seed", SEEDS)
def test_forward(router: Router, seed: int) -> None:
    rng = random.Random(seed)
    lines = random_tables(rng)
    router.try_ip([*lines, "route append default dev eth1"])
    router.mark(("--limit-iface-in", "--limit-iface-out"), "FORWARD")
    asked = (fields.SRC_TYPE_IN, fields.DST_TYPE_IN, fields.SRC_TYPE_OUT, fields.DST_TYPE_OUT)
    pool = addresses(rng, lines)
    with Recorder(
        router.inside, Family.IPV4, Hook.FORWARD, (*asked, fields.MARK, fields.SADDR, fields.DADDR)
    ) as recorder:
        assert judge(router, recorder, asked, pool, rng)
