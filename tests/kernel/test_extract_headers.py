"""Extractors of transport and extension headers against the matches' own reading of packets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from bpfilter.plan import fields as f
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Family
from tests.harness import header_reference as reference
from tests.harness import wire
from tests.harness.extraction import Extraction
from tests.harness.header_reference import Fields, Transport
from tests.harness.packets import random_ipv4
from tests.harness.packets6 import chain, random_ipv6
from tests.harness.pools import weighted
from tests.harness.transport import V4_PROTOCOLS, V6_PROTOCOLS, transport

pytestmark = pytest.mark.kernel

PACKETS = 4000
V4, V6 = ("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")
LARGEST = 3000  # what a test run takes is a page less room for the kernel's own

HEADERS = (
    f.PORTS_GUARD,
    f.TCP_GUARD,
    f.UDP_GUARD,
    f.ICMP_GUARD,
    f.SCTP_GUARD,
    f.DCCP_GUARD,
    f.ESP_GUARD,
    f.SPORT,
    f.DPORT,
    f.TCP_FLAGS,
    f.ICMP_TYPE,
    f.ICMP_CODE,
    f.DCCP_TYPE,
    f.ESP_SPI,
    f.ECN_TCP,
    f.TCPOPT_GUARD,
    f.TCP_OPTIONS,
    f.DCCPOPT_GUARD,
    f.DCCP_OPTIONS,
    f.SCTPCHUNK_GUARD,
    f.SCTP_CHUNKS,
    f.SCTP_DATA_FLAGS,
    f.SCTP_ABORT_FLAGS,
    f.SCTP_SHUTDOWN_FLAGS,
)
#: Nothing but a header of their protocol may set bits of these.
BITMAPS = ("tcp_options", "dccp_options", "sctp_chunks", "sctp_data_flags", "sctp_abort_flags")
#: Guards that only a packet of these protocols may be dropped by.
OWN_GUARDS = {
    "tcp_guard": (wire.TCP,),
    "udp_guard": (wire.UDP, wire.UDPLITE),
    "icmp_guard": (wire.ICMP, wire.ICMPV6),
    "sctp_guard": (wire.SCTP,),
    "dccp_guard": (wire.DCCP,),
    "esp_guard": (wire.ESP,),
}
EXTENSIONS = (
    f.PROTO_GUARD,
    f.PROTO,
    f.AH_GUARD,
    f.AH_SPI,
    f.AH_LENGTH,
    f.AH_RESERVED,
    f.FRAG_GUARD,
    f.FRAG_ID,
    f.FRAG_RESERVED,
    f.FRAG_FIRST,
    f.FRAG_MORE,
    f.RT_GUARD,
    f.RT_TYPE,
    f.RT_SEGSLEFT,
    f.RT_LENGTH,
    f.RT_RESERVED,
    f.HBH_GUARD,
    f.HBH_LENGTH,
    f.DST_GUARD,
    f.DST_LENGTH,
    f.IPV6_HEADERS,
    f.IPV6_HEADERS_OK,
)
LISTS = (f.HBH_OPTS, f.DST_OPTS, f.RT_ADDRS)


@pytest.fixture(scope="module")
def ipv4() -> Iterator[Extraction]:
    with Extraction(Family.IPV4, (*HEADERS, f.AH_GUARD, f.AH_SPI)) as made:
        yield made


@pytest.fixture(scope="module")
def ipv6() -> Iterator[Extraction]:
    with Extraction(Family.IPV6, (*HEADERS, *EXTENSIONS)) as made:
        yield made


@pytest.fixture(scope="module")
def extensions() -> Iterator[Extraction]:
    with Extraction(Family.IPV6, (*EXTENSIONS, *LISTS)) as made:
        yield made


def transport_fields(packet: bytes, at: Transport) -> Fields:
    return {
        **reference.ecn_tcp(packet, at),
        **reference.transport_header(packet, at),
        **reference.tcp_options(packet, at),
        **reference.dccp_options(packet, at),
        **reference.sctp_chunks(packet, at),
    }


def expected(packet: bytes) -> Fields:
    if packet[0] >> 4 == 4:
        return transport_fields(packet, reference.transport4(packet))
    found = transport_fields(packet, reference.transport6(packet))
    return {**found, **reference.extension_headers(packet)}


def check(extraction: Extraction, packet: bytes) -> Fields:
    """Compare all fields that some match may ask; give those."""
    want = {name: value for name, value in expected(packet).items() if extraction.asks(name)}
    found = extraction.run(packet)
    assert found is not None, packet.hex()
    assert {name: found[name] for name in want} == want, packet.hex()
    unasked = [name for name in BITMAPS if extraction.asks(name) and name not in want]
    assert not any(found[name] for name in unasked), packet.hex()
    return want


def mangled(rng: random.Random, packet: bytes, first: int) -> bytes:
    """Cut a packet short, or change a byte behind its first header."""
    if rng.random() < 0.2:
        packet = packet[: rng.randrange(first, len(packet) + 1)]
    if rng.random() < 0.2 and len(packet) > first:
        at = rng.randrange(first, len(packet))
        packet = packet[:at] + rng.randbytes(1) + packet[at + 1 :]
    return packet[:LARGEST]


def random_v4(rng: random.Random) -> bytes:
    protocol = weighted(rng, V4_PROTOCOLS)
    packet = random_ipv4(rng, *V4, protocol, rng.randbytes(rng.choice((0, 4, 90))), 1)
    return mangled(rng, bytes([0x40 | packet[0] & 15]) + packet[1:], 20)


def random_v6(rng: random.Random) -> bytes:
    protocol = weighted(rng, V6_PROTOCOLS)
    packet = random_ipv6(rng, *V6, protocol, rng.randbytes(rng.choice((0, 4, 90))), 1)
    return mangled(rng, b"\x60" + packet[1:], 40)


def random_chain(rng: random.Random) -> bytes:
    """Draw extension headers alone, in any order, many of them twice."""
    kinds = (0, 0, 43, 44, 51, 60, 60, 59, 50)
    headers = [rng.choice(kinds) for _ in range(rng.randrange(8))]
    first, body = chain(rng, headers, rng.choice((6, 17, 58, 59, 50, 132)), rng.randbytes(24), 1)
    return mangled(rng, wire.ipv6(*V6, first, body), 40)


def check_random(extraction: Extraction, draw: Callable[[random.Random], bytes]) -> set[str]:
    """Check many packets; give the guards' answers that came up, `name=value`."""
    rng = random.Random(draw.__name__)
    answers: set[str] = set()
    for _ in range(PACKETS):
        found = check(extraction, draw(rng))
        answers.update(f"{name}={value}" for name, value in found.items() if "guard" in name)
    return answers


def all_answers(*names: str, values: tuple[int, ...] = (0, 1, 2)) -> set[str]:
    return {f"{name}_guard={value}" for name in names for value in values}


TRANSPORT_ANSWERS = all_answers("ports", "tcp", "udp", "icmp", "sctp", "dccp", "esp")
SEARCH_ANSWERS = all_answers("tcpopt", "dccpopt", "sctpchunk", values=(0, 2))


def test_random_ipv4(ipv4: Extraction) -> None:
    assert check_random(ipv4, random_v4) == (
        TRANSPORT_ANSWERS | SEARCH_ANSWERS | all_answers("ah")
    )


def test_random_ipv6(ipv6: Extraction) -> None:
    answers = TRANSPORT_ANSWERS | SEARCH_ANSWERS
    assert answers <= check_random(ipv6, random_v6)


def test_random_extension_headers(extensions: Extraction) -> None:
    answers = all_answers("ah", "frag", "rt", "hbh", "dst") | {"proto_guard=0", "proto_guard=2"}
    assert answers <= check_random(extensions, random_chain)


def check_foreign_guards(extraction: Extraction, packet: bytes, protocol: int) -> bool:
    """Have no guard of another protocol say "drop"; tell if the packet's own one does."""
    found = extraction.run(packet)
    assert found is not None, packet.hex()
    dropping = {name for name in OWN_GUARDS if found.get(name) == 2}
    assert dropping <= {n for n in OWN_GUARDS if protocol in OWN_GUARDS[n]}, packet.hex()
    return bool(dropping)


@pytest.mark.parametrize("protocol", sorted({99, *(number for _, number in V4_PROTOCOLS)}))
def test_a_fragment_at_offset_1_is_dropped_for_tcp_alone(ipv4: Extraction, protocol: int) -> None:
    packet = wire.ipv4(*V4, protocol, bytes(40), offset=1)
    assert check_foreign_guards(ipv4, packet, protocol) is (protocol == wire.TCP)
    found = ipv4.run(packet)
    assert found is not None
    assert found["tcp_guard"] == (2 if protocol == wire.TCP else 1)


def test_only_the_guard_of_its_own_protocol_drops_a_packet(
    ipv4: Extraction, ipv6: Extraction
) -> None:
    rng = random.Random(2)
    dropped = 0
    for _ in range(PACKETS):
        packet = random_v4(rng)
        dropped += check_foreign_guards(ipv4, packet, packet[9])
        packet = random_v6(rng)
        found = ipv6.run(packet)
        assert found is not None
        dropped += check_foreign_guards(ipv6, packet, found["proto"])
    assert dropped > PACKETS // 20


@pytest.mark.parametrize("protocol", [wire.TCP, wire.DCCP, wire.SCTP])
def test_every_cut(ipv4: Extraction, ipv6: Extraction, protocol: int) -> None:
    rng = random.Random(protocol)
    for _ in range(20):
        body = transport(rng, protocol, b"")
        for size in range(len(body) + 1):
            check(ipv4, wire.ipv4(*V4, protocol, body[:size]))
            check(ipv6, wire.ipv6(*V6, protocol, body[:size]))


@pytest.mark.parametrize("kind", [0, 43, 44, 51, 60])
def test_every_cut_of_an_extension_header(extensions: Extraction, kind: int) -> None:
    rng = random.Random(kind)
    for _ in range(40):
        first, body = chain(rng, [rng.choice((60, 44, 51)), kind], wire.TCP, b"", 1)
        for size in range(min(len(body), 80) + 1):
            check(extensions, wire.ipv6(*V6, first, body[:size]))


@pytest.mark.parametrize(("name", "kind"), [("hbh", wire.HOPOPTS), ("dst", wire.DSTOPTS)])
def test_options_up_to_the_end_of_their_header(
    extensions: Extraction, name: str, kind: int
) -> None:
    """Random bytes for options: few that are too long, many that end where the header does."""
    rng = random.Random(kind)
    counts: set[int] = set()
    for _ in range(PACKETS):
        units = rng.choice((0, 0, 1, 3))
        content = bytes(rng.choice((0, 0, 0, 0, 1, 2, 5, 9)) for _ in range(6 + 8 * units))
        header = wire.options_header(wire.NONE, content)
        found = check(extensions, wire.ipv6(*V6, kind, header + bytes(rng.randrange(20))))
        counts.add(found[f"{name}_opts"] >> 256)
    assert counts == set(range(1, 17))


@pytest.mark.parametrize("wanted", [1, 2, 3, 8])
def test_only_the_options_asked_for_are_counted(wanted: int) -> None:
    header = wire.options_header(wire.DSTOPTS, b"\x09\0" * 40)
    second = wire.options_header(wire.NONE, b"\x07\1\0\0\0\0")
    asked = (f.HBH_GUARD, f.HBH_OPTS, f.DST_GUARD, f.DST_OPTS)
    words = {"hbh_opts": set(range(1 + wanted)), "dst_opts": {0, 1}}
    with Extraction(Family.IPV6, asked, words=words) as extraction:
        found = extraction.run(wire.ipv6(*V6, wire.HOPOPTS, header + second))
    assert found is not None
    options = b"\x09\0" * 2 * wanted
    assert found["hbh_opts"] >> 256 == 2 * wanted
    assert found["hbh_opts"] & (1 << 256) - 1 == int.from_bytes(options.ljust(32, b"\0"), "big")
    assert (found["dst_opts"] >> 256, found["dst_opts"] >> 224 & 0xFFFF_FFFF) == (2, 0x0701_0000)


def test_addresses_of_a_routing_header(extensions: Extraction) -> None:
    """Sixteen are kept, and half a one behind them is none."""
    for size in (4, 12, 20, 28, 36, 260, 268, 276, 500):
        body = bytes(4) + bytes(range(1, 256)) * 2
        header = wire.routing_header(wire.NONE, 0, 0, body[:size])
        for more in (0, 7, 15, 40):
            check(extensions, wire.ipv6(*V6, wire.ROUTING, header + b"\xff" * more))


def tcp_with(options: bytes, words: int | None = None) -> bytes:
    return wire.ipv4(*V4, wire.TCP, wire.tcp(1, 2, 0x02, options=options, words=words))


def test_tcp_options(ipv4: Extraction) -> None:
    found = check(ipv4, tcp_with(b"\2\4\5\xb4\1\3\3\7\4\2\0\0"))
    assert found["tcp_options"] == reference.kinds({0, 1, 2, 3, 4})


def test_tcp_option_lengths_that_lie(ipv4: Extraction) -> None:
    # 0 counts as 1, so the length byte is the next kind; too large ends the search.
    zero, large = check(ipv4, tcp_with(b"\5\0\7\2")), check(ipv4, tcp_with(b"\5\xff\7\2"))
    assert zero["tcp_options"] == reference.kinds({5, 0, 7})
    assert large["tcp_options"] == reference.kinds({5})


@pytest.mark.parametrize(("words", "guard"), [(0, 2), (4, 2), (5, 0), (6, 0), (7, 2)])
def test_tcp_data_offset(ipv4: Extraction, words: int, guard: int) -> None:
    assert check(ipv4, tcp_with(b"\2\2\2\2", words))["tcpopt_guard"] == guard


@pytest.mark.parametrize("kind", range(16))
@pytest.mark.parametrize("extended", [0, 1])
def test_dccp_header_length(ipv4: Extraction, kind: int, extended: int) -> None:
    for words in range(3, 12):
        body = wire.dccp(1, 2, kind, words, b"\x25\2" * 12, extended)
        check(ipv4, wire.ipv4(*V4, wire.DCCP, body))


def test_sctp_chunks_before_a_bad_one(ipv4: Extraction) -> None:
    chunks = wire.chunk(0, 3, b"data!") + wire.chunk(6, 1, b"") + wire.chunk(14, 0, b"", 0)
    found = check(ipv4, wire.ipv4(*V4, wire.SCTP, wire.sctp(1, 2, 3, chunks)))
    assert found["sctpchunk_guard"] == 2
    assert found["sctp_chunks"] == reference.kinds({0, 6})
    assert (found["sctp_data_flags"], found["sctp_abort_flags"]) == (1 << 3, 1 << 1)


def test_fragments_are_read_for_ecn(ipv4: Extraction, ipv6: Extraction) -> None:
    # xt_ecn takes a later fragment's content for a header; in IPv6 it reads the IPv6 header.
    content = bytes(13) + b"\xc0" + bytes(10)
    later = check(ipv4, wire.ipv4(*V4, wire.TCP, content, offset=5))
    assert (later["ecn_tcp"], later["tcp_flags"]) == (1, 0xC0)
    body = wire.fragment_header(wire.TCP, 5, False, 1) + content
    later = check(ipv6, wire.ipv6("2001:db8:40::1", V6[1], wire.FRAGMENT, body))
    assert (later["ecn_tcp"], later["tcp_flags"]) == (1, 0x40)


def test_only_the_first_header_of_a_kind_counts(ipv6: Extraction) -> None:
    second = wire.options_header(wire.NONE, b"\1\6" + bytes(6))
    first = wire.options_header(wire.DSTOPTS, b"", 0)
    found = check(ipv6, wire.ipv6(*V6, wire.DSTOPTS, first.ljust(8, b"\0") + second))
    assert (found["dst_guard"], found["dst_length"]) == (0, 8)


def test_a_search_that_fails_spares_what_was_found(ipv6: Extraction) -> None:
    body = wire.options_header(wire.ROUTING, b"\1\4\0\0\0\0") + b"\x3b\x09\x00\x00"
    found = check(ipv6, wire.ipv6(*V6, wire.HOPOPTS, body))
    guards = {name: found[name] for name in ("hbh_guard", "rt_guard", "ah_guard", "proto_guard")}
    assert guards == {"hbh_guard": 0, "rt_guard": 2, "ah_guard": 2, "proto_guard": 2}


@pytest.mark.parametrize("word", range(8))
def test_a_bitmap_of_few_words(word: int) -> None:
    """Words nobody asks for leave those beside them alone."""
    kind = word * 32 + 9
    for wanted in ({word}, {word, 7}, {0, word}):
        with Extraction(Family.IPV4, [f.TCP_OPTIONS, f.SPORT], words={"tcp_options": wanted}) as e:
            found = e.run(tcp_with(bytes([kind, 2, 254, 2])))
        assert found is not None
        seen = {kind} | ({254} if 7 in wanted else set())
        assert found["tcp_options"] == reference.kinds(seen)


@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6])
def test_program_sizes(family: Family) -> None:
    """All of these fields together stay far below what the verifier takes."""
    fields: tuple[Field, ...] = (*HEADERS, f.AH_GUARD, f.AH_SPI)
    if family is Family.IPV6:
        fields = (*HEADERS, *EXTENSIONS, *LISTS[:2])
    with Extraction(family, fields) as extraction:
        assert extraction.program.info().verified_insns < 20_000
