"""The kernel is the judge of predicates on IPv6 extension headers and on owners.

Each trial is one rule in OUTPUT, and packets with the fields they have, written down by
hand: where a guard stands, and what is counted, must come out as in the kernel.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Iterator, Sequence

import pytest

from tests.e2e.test_ext_semantics_packet import Judge, Sent, agree, ipv6
from tests.harness.netns import Namespace
from tests.unit.ext.placed import Place
from tests.unit.ext.support import V6, Outcome, Values

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
    pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="needs iptables-legacy"),
]

HOP, UDP, ROUTE, FRAGMENT, ESP, AH, NONE, DST = 0, 17, 43, 44, 50, 51, 59, 60


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Namespace("semantics-meta") as namespace:
        namespace.ip("link set lo up")
        made = Judge(namespace)
        try:
            yield made
        finally:
            made.close()


def options(following: int, size: int = 8) -> bytes:
    """Hop-by-hop or destination options: padding alone."""
    return struct.pack("!BBBB", following, size // 8 - 1, 1, size - 4) + bytes(size - 4)


def routing(following: int, kind: int, left: int, size: int = 24, reserved: int = 0) -> bytes:
    head = struct.pack("!BBBBI", following, size // 8 - 1, kind, left, reserved)
    return head + bytes(size - 8)


def fragment(
    following: int, offset: int = 0, more: int = 0, number: int = 7, spare: int = 0
) -> bytes:
    return struct.pack(
        "!BBHI", following, spare >> 2, offset << 3 | (spare & 3) << 1 | more, number
    )


udp = struct.pack("!HHHH", 9, 53, 8, 0)

FIRST: Values = {"frag_id": 7, "frag_first": 1, "frag_more": 1}
LATER: Values = {"frag_id": 8}
SPARE: Values = {"frag_id": 7, "frag_first": 1, "frag_reserved": 1}
FRAGMENTS = [
    Sent(ipv6(FRAGMENT, fragment(UDP, more=1) + udp), FIRST),
    Sent(ipv6(FRAGMENT, fragment(UDP, offset=3, number=8) + udp), LATER),
    Sent(ipv6(FRAGMENT, fragment(UDP, spare=1) + udp), SPARE),
    Sent(ipv6(FRAGMENT, fragment(UDP, spare=4) + udp), SPARE),
    Sent(ipv6(HOP, options(FRAGMENT) + fragment(UDP, more=1) + udp), FIRST),
    Sent(ipv6(UDP, udp), {"frag_guard": 1}),
    Sent(ipv6(FRAGMENT, fragment(UDP)[:7]), {"frag_guard": 2}),
    Sent(ipv6(HOP, options(FRAGMENT)), {"frag_guard": 2}),
    Sent(ipv6(NONE, b""), {"frag_guard": 1}),
]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--fragid 7",
        "! --fragid 7",
        "--fragid 8:9",
        "! --fragid 0:4294967295",
        "--fragres",
        "--fragfirst",
        "--fragmore",
        "--fraglast",
        "--fraglen 1",
        "! --fragid 8 --fragfirst --fragmore --fragres",
    ],
)
def test_frag(judge: Judge, words: str) -> None:
    agree(judge, V6, f"-m frag {words}", FRAGMENTS)


def routed(kind: int, left: int, size: int = 24, reserved: int = 0) -> Values:
    values = {"rt_type": kind, "rt_segsleft": left, "rt_length": size}
    return {**values, "rt_reserved": int(reserved != 0)}


ROUTINGS = [
    Sent(ipv6(ROUTE, routing(UDP, 0, 1) + udp), routed(0, 1)),
    Sent(ipv6(ROUTE, routing(UDP, 0, 0, reserved=1 << 31) + udp), routed(0, 0, reserved=1)),
    Sent(ipv6(ROUTE, routing(UDP, 2, 255, size=8) + udp), routed(2, 255, size=8)),
    Sent(ipv6(DST, options(ROUTE) + routing(UDP, 4, 3, size=40) + udp), routed(4, 3, size=40)),
    Sent(ipv6(UDP, udp), {"rt_guard": 1}),
    Sent(ipv6(ROUTE, routing(UDP, 0, 1)[:3]), {"rt_guard": 2}),
    Sent(ipv6(ROUTE, routing(UDP, 0, 1)[:23]), {"rt_guard": 2}),
]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--rt-type 0",
        "! --rt-type 0",
        "--rt-type 258",
        "! --rt-type 258",
        "--rt-segsleft 1:3",
        "! --rt-segsleft 1:3",
        "--rt-segsleft 255:300",
        "! --rt-segsleft 0:4294967295",
        "--rt-len 24",
        "! --rt-len 24",
        "--rt-type 0 --rt-0-res",
        "--rt-type 2 ! --rt-segsleft 1 ! --rt-len 24",
    ],
)
def test_rt(judge: Judge, words: str) -> None:
    agree(judge, V6, f"-m rt {words}", ROUTINGS)


@pytest.mark.parametrize("words", ["", "--N-len 8", "! --N-len 8", "--N-len 16", "--N-len 65544"])
@pytest.mark.parametrize(("name", "number"), [("hbh", HOP), ("dst", DST)])
def test_options_headers(judge: Judge, name: str, number: int, words: str) -> None:
    other = DST if number == HOP else ROUTE
    sent = [
        Sent(ipv6(number, options(UDP) + udp), {f"{name}_length": 8}),
        Sent(ipv6(number, options(other, 16) + options(UDP) + udp), {f"{name}_length": 16}),
        Sent(ipv6(UDP, udp), {f"{name}_guard": 1}),
        Sent(ipv6(number, options(UDP)[:1]), {f"{name}_guard": 2}),
        Sent(ipv6(number, options(UDP, 16)[:15]), {f"{name}_guard": 2}),
    ]
    agree(judge, V6, f"-m {name} {words.replace('N', name)}", sent)


def listed(following: int, content: bytes) -> bytes:
    """An options header of these options, which fill it to the end."""
    assert (len(content) + 2) % 8 == 0
    return struct.pack("!BB", following, len(content) // 8) + content


def option_words(*pairs: int) -> list[int]:
    words = [pairs[at] << 16 | (*pairs, 0)[at + 1] for at in range(0, len(pairs), 2)]
    return [len(pairs), *words, *[0] * (8 - len(words))]


OPTIONS = [
    (b"\5\2\0\0\1\0", option_words(0x502, 0x100)),
    (b"\5\2\0\0\0\0", option_words(0x502, 0, 0)),
    (b"\5\2\0\0\0\1", option_words(0x502, 0)),  # the last has no room for its length
    (b"\5\2\0\0\1\1", option_words(0x502, 0x101)),  # the last reaches beyond the header
    (b"\5\3\0\0\0\1", option_words(0x503)),
    (b"\5\xff\0\0\0\0", option_words(0x5FF)),
    (b"\0\5\2\0\0\0", option_words(0, 0x502, 0)),
    (b"\5\2" * 3, option_words(0x502, 0x502)),
    (b"\0" * 14, option_words(*[0] * 14)),
    (b"\0" * 22, option_words(*[0] * 16)),
    (bytes(range(1, 16)) + bytes(7), option_words(0x102, 0x506, 0xD0E)),
]


@pytest.mark.parametrize(
    "asked",
    [
        "5",
        "5:2",
        "5:3,0",
        "5:2,0",
        "5:2,1",
        "5:2,1:0",
        "5:2,1:1",
        "5:2,1:1,0",
        "5:255",
        "5:2,0,0",
        "5:2,0,1",
        "0,5",
        "0,5:2,0",
        "5,5",
        "5,5,5",
        "1,5,13:14",
        "1,5,13:14,0",
        ",".join("0" * 14),
        ",".join("0" * 15),
        ",".join("0" * 16),
    ],
)
@pytest.mark.parametrize(("name", "number"), [("hbh", HOP), ("dst", DST)])
def test_listed_options(judge: Judge, name: str, number: int, asked: str) -> None:
    sent = []
    for content, words in OPTIONS:
        values: Values = {f"{name}_opts": words, f"{name}_length": len(content) + 2}
        packets = [ipv6(number, listed(NONE, content) + behind) for behind in (b"", bytes(40))]
        sent += [Sent(packet, values) for packet in packets]
    sent.append(Sent(ipv6(UDP, udp), {f"{name}_guard": 1}))
    sent.append(Sent(ipv6(number, listed(NONE, bytes(14))[:15]), {f"{name}_guard": 2}))
    for length in ("", f"--{name}-len 8", f"! --{name}-len 8"):
        agree(judge, V6, f"-m {name} {length} --{name}-opts {asked}", sent)


def address(number: int) -> bytes:
    return struct.pack("!QQ", 0x2001_0DB8 << 32, number)


def hops(following: int, *numbers: int, extra: int = 0) -> bytes:
    content = b"".join(map(address, numbers)) + bytes(extra)
    return struct.pack("!BBBBI", following, len(content) // 8, 0, 0, 0) + content


def hop_words(*numbers: int, extra: int = 0) -> Values:
    words = [word for number in numbers for word in (0x2001_0DB8, 0, 0, number)]
    return {"rt_length": 8 + 16 * len(numbers) + extra, "rt_addrs": (words + [0] * 64)[:64]}


@pytest.mark.parametrize("asked", [(1,), (2,), (1, 2), (2, 1), (1, 1), range(1, 16), range(1, 17)])
def test_rt_addresses(judge: Judge, asked: Sequence[int]) -> None:
    drawn = [
        (),
        (1,),
        (2,),
        (1, 2),
        (2, 1),
        (1, 2, 3),
        (1, 1),
        *map(range, (1, 1, 1), (16, 17, 18)),
    ]
    sent = [
        Sent(ipv6(ROUTE, hops(NONE, *numbers, extra=extra)), hop_words(*numbers, extra=extra))
        for numbers in drawn
        for extra in (0, 8)
    ]
    sent.append(Sent(ipv6(UDP, udp), {"rt_guard": 1}))
    sent.append(Sent(ipv6(ROUTE, hops(NONE, 1)[:23]), {"rt_guard": 2}))
    words = ",".join(f"2001:db8::{number:x}" for number in asked)
    agree(judge, V6, f"-m rt --rt-type 0 --rt-0-addrs {words}", sent)
    agree(judge, V6, f"-m rt --rt-type 0 --rt-0-res ! --rt-len 24 --rt-0-addrs {words}", sent)


def headers(found: int) -> Values:
    return {"ipv6_headers": found, "ipv6_headers_ok": 1}


authentication = struct.pack("!BBHIII", UDP, 4, 0, 1, 1, 0) + bytes(8)
HEADERS = [
    Sent(ipv6(UDP, udp), headers(0x01)),
    Sent(ipv6(HOP, options(UDP) + udp), headers(0x81)),
    Sent(ipv6(HOP, options(DST) + options(UDP) + udp), headers(0xC1)),
    Sent(ipv6(ROUTE, routing(NONE, 0, 0)), headers(0x22)),
    Sent(ipv6(DST, options(ESP) + bytes(8)), headers(0x44)),
    Sent(ipv6(AH, authentication + udp), headers(0x09)),
    Sent(ipv6(FRAGMENT, fragment(UDP, offset=9) + udp), headers(0x11)),
    # The walk ends behind the packet: what comes next is not asked for.
    Sent(ipv6(HOP, options(DST, 64)[:8]), headers(0x81)),
    # Nothing is left for the next header.
    Sent(ipv6(HOP, options(DST)), {}),
    Sent(ipv6(ESP, b"x"), {}),
    Sent(ipv6(NONE, b""), headers(0x02)),
]


@pytest.mark.parametrize("soft", ["", " --soft"])
@pytest.mark.parametrize(
    "words",
    [
        "--header prot",
        "! --header prot",
        "--header hop,prot",
        "! --header hop,prot",
        "--header hop,dst,prot",
        "! --header dst,esp",
        "--header route,none",
        "--header auth,prot",
        "--header frag",
        "--header none",
    ],
)
def test_ipv6header(judge: Judge, words: str, soft: str) -> None:
    agree(judge, V6, f"-m ipv6header {words}{soft}", HEADERS)


# User, group, supplementary groups.
SENDERS = ((0, 0, ()), (5, 0, ()), (5, 6, (7, 3)), (9, 6, (0, 8)))


# A socket belongs to whom it was made by: the file keeps the user and group of that moment.
def send_as(namespace: Namespace, uid: int, gid: int, groups: Sequence[int]) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with namespace.entered():
                os.setgroups(groups)
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"x", ("127.0.0.1", 9))
                os._exit(0)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "words",
    [
        "--uid-owner 5",
        "! --uid-owner 5",
        "--uid-owner 0-5 --gid-owner 6",
        "--uid-owner 0-5 ! --gid-owner 6",
        "! --uid-owner 5 ! --gid-owner 0",
        "--socket-exists",
        "! --socket-exists",
        "--socket-exists ! --gid-owner 6",
        "! --socket-exists ! --uid-owner 0",
        "--gid-owner 0 --suppl-groups",
        "! --gid-owner 0 --suppl-groups",
        "--gid-owner 7-9 --suppl-groups",
        "--uid-owner 5 --gid-owner 3 --suppl-groups",
        "! --uid-owner 5 ! --gid-owner 4-9 --suppl-groups",
    ],
)
def test_owner(judge: Judge, words: str) -> None:
    output = Place("filter", "OUTPUT")
    expected = 0
    rules = ("*filter", ":INPUT DROP", f"-A OUTPUT -m owner {words}", "COMMIT\n")
    judge.namespace.run("iptables-legacy-restore", stdin="\n".join(rules))
    for uid, gid, groups in SENDERS:
        values: Values = {
            "owner_socket": 1,
            "owner_file": 1,
            "owner_uid": uid,
            "owner_gid": gid,
            "owner_groups": groups,
        }
        send_as(judge.namespace, uid, gid, groups)
        expected += output.decide(f"-m owner {words}", values) is Outcome.MATCH
    line = judge.namespace.run("iptables-legacy", "-nvxL", "OUTPUT").splitlines()[2]
    assert int(line.split()[0]) == expected
