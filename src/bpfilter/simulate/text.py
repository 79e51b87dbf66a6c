"""Packets as people write them: one line of text to bytes.

    packet   = protocol ends [type] { word | option }
             | "hex" BYTES                                       from the IP header on
    ends     = ADDRESS:PORT ">" ADDRESS:PORT                     protocols with ports
             | ADDRESS ">" ADDRESS                               the others, later fragments
    protocol = tcp | udp | udplite | sctp | dccp | icmp | icmpv6 | esp | ah | proto NUMBER

What is not written has the usual value: SYN for tcp, echo-request for icmp, ttl 64. An
IPv6 address with a port stands in brackets. Each protocol's words and all options are in
the tables below.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NoReturn

from bpfilter.abi.packet import EXTHDR, IPPROTO, IPV4, IPV6
from bpfilter.dataclass import dataclass, field
from bpfilter.errors import RuleSyntaxError
from bpfilter.rules.model import Family
from bpfilter.rules.netdb import protocol_number, service_port
from bpfilter.simulate import headers
from bpfilter.simulate.headers import PORT_PROTOCOLS, TCP_FLAGS
from bpfilter.simulate.packet import ETHERNET_BYTES, Packet
from bpfilter.simulate.words import DCCP_TYPES, SCTP_CHUNKS, icmp_type
from bpfilter.source import Span

U16, U32 = 0xFFFF, 0xFFFF_FFFF
NAME = "packet"

PROTOCOLS = {
    **PORT_PROTOCOLS,
    "icmp": IPPROTO.ICMP,
    "icmpv6": IPPROTO.ICMPV6,
    "icmp6": IPPROTO.ICMPV6,
    "esp": IPPROTO.ESP,
    "ah": IPPROTO.AH,
}

HELP = """\
packets, for --packet (ports by number or name):
  tcp 192.0.2.7:40000 > 198.51.100.9:22 syn       flags: syn ack fin rst psh urg ece cwr, none
  udp 192.0.2.7:40000 > 198.51.100.9:domain len=512
  icmp 192.0.2.7 > 198.51.100.9 echo-request      type by name, 3 or 3/1 (type/code)
  tcp [2001:db8::1]:40000 > [2001:db8::2]:80 ack  brackets if a port follows
  icmpv6 2001:db8::1 > 2001:db8::2 packet-too-big
  sctp A:P > B:P init data                        chunks, as iptables names them
  dccp A:P > B:P request                          packet type, as iptables names it
  esp A > B spi=256    ah A > B spi=256    proto 47 A > B    proto gre A > B
  udp A > B frag=1480                             a later fragment: no ports in it
  hex 450000140000...                             any packet, from its IP header on
  options: ttl=N tos=N id=N len=BYTES (of the packet) frag=BYTES (+ after it: more follow)
           df mark=N mac=XX:XX:XX:XX:XX:XX (source) opt=KIND,... (tcp options)
"""


def parse_packet(text: str, family: Family | None = None) -> Packet:
    """Read a packet's text. Raises: RuleSyntaxError with the place of the fault."""
    return _Reader(text, family).packet()


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int


@dataclass(slots=True)
class _Draft:
    """What has been read so far."""

    protocol: int
    source: bytes = b""
    destination: bytes = b""
    ports: tuple[int, int] | None = None
    flags: int | None = None
    kind: tuple[int, int] | None = None
    chunks: list[int] = field(default_factory=list)
    options: dict[str, _Word] = field(default_factory=dict)
    dont_fragment: bool = False


class _Reader:
    def __init__(self, text: str, family: Family | None) -> None:
        self.text = text
        self.family = family
        self.words = [_Word(found[0], found.start()) for found in re.finditer(r"\S+", text)]
        self.next = 0

    def fail(self, message: str, word: _Word | None, hint: str = "") -> NoReturn:
        start = word.start if word else len(self.text)
        end = start + (len(word.text) if word else 1)
        raise RuleSyntaxError(message, Span(NAME, 1, start + 1, end + 1, self.text), hint)

    def take(self, wanted: str) -> _Word:
        if self.next == len(self.words):
            self.fail(f"{wanted} is missing", None)
        self.next += 1
        return self.words[self.next - 1]

    def packet(self) -> Packet:
        word = self.take("a protocol")
        if word.text == "hex":
            return self.raw()
        draft = _Draft(self.protocol(word))
        source, arrow, destination = (
            self.take("the source address"),
            self.take("'>'"),
            self.take("the destination address"),
        )
        if arrow.text != ">":
            self.fail("'>' expected between the addresses", arrow)
        for word in self.words[self.next :]:
            self.word(draft, word)
        self.ends(draft, source, destination)
        return _Builder(self, draft).packet()

    def raw(self) -> Packet:
        word = self.take("bytes in hexadecimal")
        digits = "".join(part.text for part in self.words[self.next - 1 :])
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            self.fail("not bytes in hexadecimal", word)
        packet = Packet(data)
        shortest = IPV4.BYTES if packet.family is Family.IPV4 else IPV6.BYTES
        if packet.family is None or len(data) < shortest:
            self.fail("these bytes begin with no IP header", word)
        self.check_family(packet.family, word)
        return packet

    def protocol(self, word: _Word) -> int:
        if word.text in PROTOCOLS:
            return PROTOCOLS[word.text]
        if word.text != "proto":
            hint = f"one of {', '.join(PROTOCOLS)}, proto NUMBER, hex BYTES"
            self.fail(f"no protocol '{word.text}' in packets", word, hint)
        name = self.take("a protocol number")
        if name.text.isdigit() and int(name.text) <= 255:
            return int(name.text)
        found = protocol_number(name.text)
        if found is None:
            self.fail(f"no protocol '{name.text}'", name, "a name, or a number up to 255")
        return found

    def check_family(self, found: Family, word: _Word) -> None:
        if self.family is None:
            self.family = found
        elif found is not self.family:
            wanted, other = ("IPv4", "-6") if self.family is Family.IPV4 else ("IPv6", "-4")
            self.fail(f"an {wanted} packet is needed here", word, f"or rules read with {other}")

    def ends(self, draft: _Draft, source: _Word, destination: _Word) -> None:
        frag = draft.options.get("frag")
        later = frag is not None and frag.text.rstrip("+") not in ("0", "")
        with_port = draft.protocol in PORT_PROTOCOLS.values() and not later
        ports = []
        for name, word in (("source", source), ("destination", destination)):
            address, port = self.end(word, draft.protocol, with_port)
            setattr(draft, name, address)
            ports.append(port)
        if with_port:
            draft.ports = ports[0], ports[1]

    def end(self, word: _Word, protocol: int, with_port: bool) -> tuple[bytes, int]:
        address, port = word.text, ""
        bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", address)
        if bracketed:
            address, port = bracketed[1], bracketed[2] or ""
        elif address.count(":") == 1:
            address, _, port = address.partition(":")
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            hint = "an IPv6 address and a port: [2001:db8::1]:80" if ":" in address else ""
            self.fail(f"'{address}' is no address", word, hint)
        self.check_family(Family.IPV4 if parsed.version == 4 else Family.IPV6, word)
        if not with_port:
            if port:
                self.fail("there are no ports in such a packet", word)
            return parsed.packed, 0
        return parsed.packed, self.port(word, port, protocol)

    def port(self, word: _Word, text: str, protocol: int) -> int:
        if not text:
            hint = "write ADDRESS:PORT" if self.family is Family.IPV4 else "write [ADDRESS]:PORT"
            self.fail("the port is missing", word, hint)
        if text.isdigit() and int(text) <= U16:
            return int(text)
        name = next(name for name, number in PORT_PROTOCOLS.items() if number == protocol)
        found = service_port(text, "udp" if name == "udplite" else name)
        if found is None:
            self.fail(f"no port '{text}'", word)
        return found

    def word(self, draft: _Draft, word: _Word) -> None:
        key, equals, _ = word.text.partition("=")
        if equals:
            if key not in _OPTIONS:
                self.fail(f"no option '{key}'", word, f"one of {', '.join(_OPTIONS)}")
            if key in draft.options:
                self.fail(f"'{key}' is given twice", word)
            start = word.start + len(key) + 1
            draft.options[key] = _Word(word.text[len(key) + 1 :], start)
        elif word.text == "df":
            draft.dont_fragment = True
        else:
            read, hint = _WORDS.get(draft.protocol, (_no_word, ""))
            if not read(draft, word.text):
                self.fail(f"'{word.text}' is no word for such a packet", word, hint)

    def number(self, draft: _Draft, key: str, top: int, default: int) -> int:
        word = draft.options.get(key)
        if word is None:
            return default
        try:
            value = int(word.text, 0)
        except ValueError:
            value = -1
        if not 0 <= value <= top:
            self.fail(f"{key} is a number from 0 to {top}", word)
        return value


def _tcp_word(draft: _Draft, word: str) -> bool:
    if word == "none":
        draft.flags = draft.flags or 0
        return True
    if word in TCP_FLAGS:
        draft.flags = (draft.flags or 0) | 1 << TCP_FLAGS.index(word)
        return True
    return False


def _icmp_word(draft: _Draft, word: str) -> bool:
    found = icmp_type(word, draft.protocol == IPPROTO.ICMPV6)
    if found is None or draft.kind is not None:
        return False
    draft.kind = found
    return True


def _dccp_word(draft: _Draft, word: str) -> bool:
    if word.upper() not in DCCP_TYPES or draft.kind is not None:
        return False
    draft.kind = DCCP_TYPES.index(word.upper()), 0
    return True


def _sctp_word(draft: _Draft, word: str) -> bool:
    if word.upper() not in SCTP_CHUNKS:
        return False
    draft.chunks.append(SCTP_CHUNKS[word.upper()])
    return True


def _no_word(_draft: _Draft, _word: str) -> bool:
    return False


#: How the words of a protocol are read, and a hint of what they are.
_WORDS: dict[int, tuple[Callable[[_Draft, str], bool], str]] = {
    IPPROTO.TCP: (_tcp_word, f"flags: {' '.join(TCP_FLAGS)} none"),
    IPPROTO.ICMP: (_icmp_word, "one type by name, as TYPE or TYPE/CODE"),
    IPPROTO.ICMPV6: (_icmp_word, "one type by name, as TYPE or TYPE/CODE"),
    IPPROTO.DCCP: (_dccp_word, f"one of {' '.join(DCCP_TYPES).lower()}"),
    IPPROTO.SCTP: (_sctp_word, "chunks by name, such as init or data"),
}
_OPTIONS = ("ttl", "tos", "id", "len", "frag", "mark", "mac", "spi", "opt")


class _Builder:
    """A draft as bytes."""

    def __init__(self, reader: _Reader, draft: _Draft) -> None:
        self.reader = reader
        self.draft = draft

    def packet(self) -> Packet:
        reader, draft = self.reader, self.draft
        if "spi" in draft.options and draft.protocol not in (IPPROTO.ESP, IPPROTO.AH):
            reader.fail("only esp and ah have an spi", draft.options["spi"])
        if "opt" in draft.options and draft.protocol != IPPROTO.TCP:
            reader.fail("only tcp has such options", draft.options["opt"])
        if draft.dont_fragment and reader.family is Family.IPV6:
            reader.fail("only IPv4 has df", None)
        mark = reader.number(draft, "mark", U32, -1)
        return Packet(
            self.network(), link=self.link(), mark=None if "mark" not in draft.options else mark
        )

    def network(self) -> bytes:
        reader, draft = self.reader, self.draft
        offset, more = self.fragment()
        fragmented = "frag" in draft.options
        ident = reader.number(draft, "id", U16 if reader.family is Family.IPV4 else U32, 0)
        ttl = reader.number(draft, "ttl", 255, 64)
        tos = reader.number(draft, "tos", 255, 0)
        size = IPV4.BYTES if reader.family is Family.IPV4 else IPV6.BYTES
        if fragmented and reader.family is Family.IPV6:
            size += 8
        body = self.body(size, offset, more)
        if reader.family is Family.IPV4:
            return headers.ipv4(
                draft.source,
                draft.destination,
                draft.protocol,
                body,
                ttl=ttl,
                tos=tos,
                ident=ident,
                dont_fragment=draft.dont_fragment,
                offset=offset,
                more=more,
            )
        following = draft.protocol
        if fragmented:
            body = headers.fragment(following, offset, more, ident) + body
            following = EXTHDR.FRAGMENT
        return headers.ipv6(draft.source, draft.destination, following, body, ttl=ttl, tos=tos)

    def fragment(self) -> tuple[int, bool]:
        word = self.draft.options.get("frag")
        if word is None:
            return 0, False
        text = word.text.removesuffix("+")
        if not text.isdigit() or int(text) % 8 or int(text) > 0xFFF8:
            self.reader.fail("frag is a multiple of 8 up to 65528, and + if more follow", word)
        return int(text), word.text.endswith("+")

    def body(self, before: int, offset: int, more: bool) -> bytes:
        # What follows the IP header, padded with zeros to the length asked for.
        header = b"" if offset else self.header(0)
        shortest = max(len(header), 8 if offset else 0)
        room = self.reader.number(self.draft, "len", U16, before + shortest) - before
        if room < len(header):
            word = self.draft.options["len"]
            self.reader.fail(f"the headers alone are {before + len(header)} bytes", word)
        if more:
            room += -room % 8
        if self.draft.protocol in (IPPROTO.UDP, IPPROTO.UDPLITE) and not offset:
            header = self.header(room - len(header))
        return header.ljust(room, b"\0")

    def header(self, payload_bytes: int) -> bytes:
        draft, protocol = self.draft, self.draft.protocol
        if draft.ports is not None:
            return self.with_ports(*draft.ports, payload_bytes)
        if protocol in (IPPROTO.ICMP, IPPROTO.ICMPV6):
            request = (8, 0) if protocol == IPPROTO.ICMP else (128, 0)
            return headers.icmp(*(draft.kind or request))
        if protocol == IPPROTO.ESP:
            return headers.esp(self.reader.number(draft, "spi", U32, 1))
        if protocol == IPPROTO.AH:
            return headers.ah(self.reader.number(draft, "spi", U32, 1))
        return b""

    def with_ports(self, sport: int, dport: int, payload_bytes: int) -> bytes:
        draft = self.draft
        if draft.protocol == IPPROTO.TCP:
            syn = 1 << TCP_FLAGS.index("syn")
            flags = syn if draft.flags is None else draft.flags
            return headers.tcp(sport, dport, flags, self.tcp_options())
        if draft.protocol == IPPROTO.SCTP:
            return headers.sctp(sport, dport, tuple(draft.chunks) or (SCTP_CHUNKS["INIT"],))
        if draft.protocol == IPPROTO.DCCP:
            return headers.dccp(sport, dport, draft.kind[0] if draft.kind else 0)
        return headers.udp(sport, dport, payload_bytes)

    def tcp_options(self) -> tuple[int, ...]:
        word = self.draft.options.get("opt")
        if word is None:
            return ()
        kinds = word.text.split(",")
        if not all(kind.isdigit() and int(kind) <= 255 for kind in kinds) or len(kinds) > 20:
            self.reader.fail("opt is up to 20 numbers from 0 to 255, commas between", word)
        return tuple(int(kind) for kind in kinds)

    def link(self) -> bytes:
        word = self.draft.options.get("mac")
        if word is None:
            return b""
        if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", word.text):
            self.reader.fail("not a MAC address", word, "02:00:00:00:00:01")
        kind = b"\x08\x00" if self.reader.family is Family.IPV4 else b"\x86\xdd"
        made = bytes(6) + bytes.fromhex(word.text.replace(":", "")) + kind
        assert len(made) == ETHERNET_BYTES
        return made
