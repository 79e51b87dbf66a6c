"""The owner of locally made packets: the kernel's owner match is the judge."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bpfilter.plan import fields
from bpfilter.rules.model import Family, Hook
from tests.harness.engines import BpfEngine, LegacyEngine
from tests.harness.netns import Lab
from tests.harness.recorder import Recorder

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

UID, GID = 12345, 54321
QUESTIONS = ("--socket-exists", f"--uid-owner {UID}", f"--gid-owner {GID}", "! --uid-owner 0")
ASKED = (
    fields.OWNER_SOCKET,
    fields.OWNER_FILE,
    fields.OWNER_UID,
    fields.OWNER_GID,
    fields.MARK,
)
LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
NAMED = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

# Run with other ids: UDP, a TCP connection to itself, an echo of the kernel's own.
SENDER = """
import encodings.idna, os, socket, sys  # before root is given up: it may own the interpreter
family, host, uid, gid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.setgroups(eval(sys.argv[5])); os.setgid(gid); os.setuid(uid)
s = socket.socket(family, socket.SOCK_DGRAM); s.sendto(b"x", (host, 9))
listener = socket.create_server((host, 0), family=family)
client = socket.create_connection(listener.getsockname()[:2]); peer, _ = listener.accept()
client.sendall(b"hello"); peer.recv(10)
client.close(); peer.close(); listener.close()
try: socket.create_connection((host, 1))
except ConnectionRefusedError: pass
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(params=tuple(Family), ids=("ipv4", "ipv6"))
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture
def recorder(lab: Lab, family: Family) -> Iterator[Recorder]:
    lines = ["*mangle", "-A OUTPUT -j MARK --set-mark 0"]
    for number, question in enumerate(QUESTIONS):
        lines.append(f"-A OUTPUT -m owner {question} -j MARK --or-mark {1 << number:#x}")
    command = "iptables" if family is Family.IPV4 else "ip6tables"
    lab.firewall.run(f"{command}-legacy-restore", stdin="\n".join([*lines, "COMMIT"]) + "\n")
    with Recorder(lab.firewall, family, Hook.OUTPUT, ASKED) as made:
        yield made


def send(lab: Lab, family: Family, uid: int, gid: int, groups: str = "[]") -> None:
    words = (int(NAMED[family]), LOOPBACK[family], uid, gid, groups)
    subprocess.run(
        ["nsenter", f"--net={lab.firewall.path}", sys.executable, "-c", SENDER, *map(str, words)],
        check=True,
    )


def agree(records: list[dict[str, int]]) -> None:
    for record in records:
        has_file = record["owner_file"] == 1
        ours = (
            record["owner_socket"] == 1,
            has_file and record["owner_uid"] == UID,
            has_file and record["owner_gid"] == GID,
            # `! --uid-owner` holds without a socket, and without a file
            not has_file or record["owner_uid"] != 0,
        )
        assert ours == tuple(bool(record["mark"] >> bit & 1) for bit in range(4)), record


def test_owner(lab: Lab, family: Family, recorder: Recorder) -> None:
    send(lab, family, UID, GID)
    records = recorder.take()
    agree(records)
    owned = [record for record in records if record["owner_file"]]
    # UDP datagram, SYN, SYN-ACK (a request socket: its listener's owner), ACK, data, …
    assert len(owned) >= 5
    assert {(one["owner_uid"], one["owner_gid"]) for one in owned} == {(UID, GID)}
    # resets and ICMP errors are made by the kernel's own sockets, which have no file
    assert any(record["owner_socket"] and not record["owner_file"] for record in records)


def test_root_and_strange_ids(lab: Lab, family: Family, recorder: Recorder) -> None:
    send(lab, family, 0, 0)
    records = recorder.take()
    agree(records)
    assert {record["owner_uid"] for record in records} == {0}
    send(lab, family, 0xFFFFFFFE, 0x80000000)
    records = recorder.take()
    agree(records)
    assert (0xFFFFFFFE, 0x80000000) in {(one["owner_uid"], one["owner_gid"]) for one in records}


def test_supplementary_groups(family: Family) -> None:
    """Lists of every size a process can have, asked by iptables and by us of the same packets."""
    asked = [0, 1, 2, 5, 9, 10, 11, 65535, 131068, 131070, 131071, 2**32 - 3, 2**32 - 2]
    asked_ranges = [f"{low}-{high}" for low in asked for high in asked if low <= high]
    rules = [
        f"-A OUTPUT -m owner {invert}--gid-owner {ids} --suppl-groups"
        for ids in asked_ranges
        for invert in ("", "! ")
    ]
    text = "\n".join(["*filter", *rules, "COMMIT", ""])
    engines, version = (LegacyEngine(), BpfEngine()), 4 if family is Family.IPV4 else 6
    with Lab() as lab:
        for engine in engines:
            engine.apply(lab.firewall, version, text)
        for groups in ("[]", "[5]", "[10, 1]", "[4294967293]", "range(0, 131072, 2)"):
            send(lab, family, UID, 9 if groups == "[5]" else GID, groups)
            for _ in range(20):  # the last packets of a connection take their time
                iptables, ours = (engine.counts(lab.firewall, version) for engine in engines)
                if ours == iptables:
                    break
                time.sleep(0.1)
            assert ours == iptables, groups
        engines[1].clear(lab.firewall)
    never = {rule for rule, hits in zip(rules, ours.rules["OUTPUT"], strict=True) if not hits[0]}
    nobodys = (11, 65535, 131071, 2**32 - 2)
    assert never == {f"-A OUTPUT -m owner --gid-owner {i}-{i} --suppl-groups" for i in nobodys}


def test_socket_of_another_namespace(lab: Lab, family: Family, recorder: Recorder) -> None:
    """A packet that came in through a veth has been orphaned: no socket, forwarded or not."""
    with lab.client.entered():
        sender = socket.socket(NAMED[family], socket.SOCK_DGRAM)
    with sender, Recorder(lab.firewall, family, Hook.INPUT, ASKED) as arriving:
        there = "10.0.1.1" if family is Family.IPV4 else "2001:db8:1::1"
        sender.sendto(b"x", (there, 9))
        records = arriving.take()
    assert [record["owner_socket"] for record in records] == [0]
    assert os.getuid() == 0
