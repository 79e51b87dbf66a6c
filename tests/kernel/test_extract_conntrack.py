"""Connection tracking fields of forwarded packets: the kernel's conntrack match is the judge.

Rules of the mangle table set a bit of the packet mark for each state, status and
direction that the kernel finds; addresses, ports and timeouts are known beforehand.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bpfilter.compiler.extract import conntrack
from bpfilter.plan import fields
from bpfilter.rules.model import Family, Hook
from tests.harness.netns import Lab, Namespace
from tests.harness.recorder import Recorder
from tests.harness.wire import TCP, UDP, address

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

#: What the kernel is asked, with the bits of our own fields that say the same.
QUESTIONS = (
    ("--ctstate INVALID", fields.CT_STATE, 1 << 0),
    ("--ctstate ESTABLISHED", fields.CT_STATE, 1 << 1),
    ("--ctstate RELATED", fields.CT_STATE, 1 << 2),
    ("--ctstate NEW", fields.CT_STATE, 1 << 3),
    ("--ctstate SNAT", fields.CT_STATE, 1 << 6),
    ("--ctstate DNAT", fields.CT_STATE, 1 << 7),
    ("--ctstate UNTRACKED", fields.CT_STATE, 1 << 8),
    ("--ctstatus EXPECTED", fields.CT_STATUS, 1 << 0),
    ("--ctstatus SEEN_REPLY", fields.CT_STATUS, 1 << 1),
    ("--ctstatus ASSURED", fields.CT_STATUS, 1 << 2),
    ("--ctstatus CONFIRMED", fields.CT_STATUS, 1 << 3),
    ("--ctdir REPLY", fields.CT_REPLY, 1),
    ("--ctproto 6", fields.CT_PROTO, 0xFF),
    ("--ctproto 17", fields.CT_PROTO, 0xFF),
)
PROTOCOLS = {"--ctproto 6": TCP, "--ctproto 17": UDP}
HOSTS = {
    Family.IPV4: ("10.0.1.2", "10.0.2.2", "10.0.2.1"),
    Family.IPV6: ("2001:db8:1::2", "2001:db8:2::2", "2001:db8:2::1"),
}
CONNMARK = 0x12345678

# Runs in the server's namespace: echoes UDP and one TCP connection after the other.
SERVER = """
import socket, sys, threading
family = int(sys.argv[1])
def udp(port):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind(("", port)); ready.release()
    while True:
        data, peer = s.recvfrom(2048); s.sendto(data, peer)
def tcp(port):
    s = socket.create_server(("", port), family=family); ready.release()
    while True:
        c, _ = s.accept()
        while data := c.recv(2048): c.sendall(data)
        c.close()
ready = threading.Semaphore(0)
for kind, port in ((udp, 5000), (udp, 5001), (tcp, 6000)):
    threading.Thread(target=kind, args=(port,), daemon=True).start(); ready.acquire()
print("ready", flush=True); sys.stdin.read()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(params=tuple(Family), ids=("ipv4", "ipv6"))
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@contextlib.contextmanager
def server(where: Namespace, kind: int) -> Iterator[None]:
    with subprocess.Popen(
        ["nsenter", f"--net={where.path}", sys.executable, "-c", SERVER, str(int(kind))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.kill()


def rules(family: Family) -> str:
    lines = ["*mangle", "-A FORWARD -j MARK --set-mark 0"]
    for number, (question, _, _) in enumerate(QUESTIONS):
        lines.append(f"-A FORWARD -m conntrack {question} -j MARK --or-mark {1 << number:#x}")
    lines += [
        f"-A FORWARD -p udp --dport 5000 -j CONNMARK --set-mark {CONNMARK:#x}",
        "COMMIT",
        "*raw",
        "-A PREROUTING -p udp --dport 5001 -j CT --notrack",
        "-A PREROUTING -p udp --sport 5001 -j CT --notrack",
        "COMMIT",
        "*nat",
        "-A PREROUTING -p tcp --dport 7000 -j DNAT --to-destination :6000",
        "-A POSTROUTING -p tcp --dport 6000 -j MASQUERADE",
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def recorder(lab: Lab, family: Family) -> Iterator[Recorder]:
    command = "iptables" if family is Family.IPV4 else "ip6tables"
    lab.firewall.sysctl({"netfilter/nf_conntrack_tcp_loose": 0})
    lab.firewall.run(f"{command}-legacy-restore", stdin=rules(family))
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    asked = (*conntrack.FIELDS, fields.MARK)
    with (
        server(lab.server, kind),
        Recorder(lab.firewall, family, Hook.FORWARD, asked) as made,
    ):
        yield made


def opened(lab: Lab, family: Family, kind: int) -> socket.socket:
    with lab.client.entered():
        made = socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, kind)
    made.settimeout(2)
    return made


def agree(records: list[dict[str, int]], family: Family) -> None:
    for record in records:
        for number, (question, asked, bit) in enumerate(QUESTIONS):
            value = record[asked.name] & bit
            ours = value == PROTOCOLS[question] if question in PROTOCOLS else value != 0
            if asked is not fields.CT_STATE:
                ours = ours and record["ct_present"] == 1
            assert ours == bool(record["mark"] >> number & 1), (question, record)


def number(family: Family, text: str) -> int:
    # As a record has it: IPv4 addresses are the first of four words.
    return int.from_bytes(address(text).ljust(16, b"\0"), "big")


def test_udp(lab: Lab, family: Family, recorder: Recorder) -> None:
    client, far, _ = HOSTS[family]
    with opened(lab, family, socket.SOCK_DGRAM) as sender:
        sender.connect((far, 5000))
        port = sender.getsockname()[1]
        for _ in range(4):
            sender.send(b"hello")
            sender.recv(100)
    records = recorder.take()
    agree(records, family)
    assert [record["ct_state"] for record in records] == [8, 2, 2, 2, 2, 2, 2, 2]
    assert [record["ct_reply"] for record in records] == [0, 1] * 4
    for record in records:
        assert record["ct_present"] == 1
        assert record["ct_proto"] == UDP
        assert record["ct_mark"] == CONNMARK
        assert record["ct_origsrc"] == record["ct_repldst"] == number(family, client)
        assert record["ct_origdst"] == record["ct_replsrc"] == number(family, far)
        assert record["ct_origsrcport"] == record["ct_repldstport"] == port
        assert record["ct_origdstport"] == record["ct_replsrcport"] == 5000
    # The first packet's entry is not confirmed yet: its timeout is no point in time. After
    # that it is nf_conntrack_udp_timeout.
    assert all(29 <= record["ct_expire"] <= 30 for record in records[1:])


def test_expires_as_the_kernel_counts(lab: Lab, family: Family, recorder: Recorder) -> None:
    command = "iptables" if family is Family.IPV4 else "ip6tables"
    lab.firewall.run(f"{command}-legacy", "-t", "mangle", "-F")
    for bit in range(30):
        second = 1 << bit
        lab.firewall.run(
            *f"{command}-legacy -t mangle -A FORWARD -m conntrack --ctexpire {second}:".split(),
            *f"-j MARK --or-mark {1 << bit:#x}".split(),
        )
    far = HOSTS[family][1]
    with opened(lab, family, socket.SOCK_STREAM) as sender:
        sender.connect((far, 6000))
        sender.send(b"hello")
        sender.recv(100)
    with opened(lab, family, socket.SOCK_DGRAM) as sender:
        sender.connect((far, 5000))
        sender.send(b"hello")
        sender.recv(100)
    records = recorder.take()
    assert any(record["ct_expire"] > 1000 for record in records)
    for record in records:
        assert record["mark"] == sum(1 << b for b in range(30) if record["ct_expire"] >= 1 << b)


def test_tcp_and_translation(lab: Lab, family: Family, recorder: Recorder) -> None:
    _, far, third = HOSTS[family]
    with opened(lab, family, socket.SOCK_STREAM) as sender:
        sender.connect((far, 7000))
        sender.send(b"hello")
        sender.recv(100)
    records = recorder.take()
    agree(records, family)
    assert records[0]["ct_state"] & 0x80
    assert any(record["ct_state"] & 0x40 for record in records)
    assert any(record["ct_status"] & 4 for record in records)
    last = records[-1]
    assert (last["ct_origdstport"], last["ct_replsrcport"]) == (7000, 6000)
    assert last["ct_repldst"] == number(family, third)


def test_untracked_invalid_related(lab: Lab, family: Family, recorder: Recorder) -> None:
    far = HOSTS[family][1]
    with opened(lab, family, socket.SOCK_DGRAM) as sender:
        sender.connect((far, 5001))
        sender.send(b"hello")
        sender.recv(100)
    records = recorder.take()
    agree(records, family)
    assert [record["ct_state"] for record in records] == [1 << 8, 1 << 8]
    assert not any(record["ct_present"] for record in records)
    with opened(lab, family, socket.SOCK_DGRAM) as sender:
        sender.connect((far, 5999))
        sender.send(b"nobody there")
        with contextlib.suppress(ConnectionRefusedError):
            sender.recv(100)
    records = recorder.take()
    agree(records, family)
    assert [record["ct_state"] for record in records] == [8, 4]
    send_bare_ack(lab, family, far)
    records = recorder.take()
    agree(records, family)
    assert records[0]["ct_state"] == 1


def send_bare_ack(lab: Lab, family: Family, far: str) -> None:
    """Send an ACK of no connection; conntrack calls it invalid unless it is loose."""
    segment = (40000).to_bytes(2, "big") + (6000).to_bytes(2, "big") + bytes(8)
    segment += bytes((0x50, 0x10, 4, 0, 0, 0, 0, 0))
    with lab.client.entered():
        kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
        sender = socket.socket(kind, socket.SOCK_RAW, TCP)
    with sender:
        sender.sendto(segment, (far, 0))
