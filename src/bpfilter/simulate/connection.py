"""The connection tracking entry of a packet, as `nf_ct_get` would find it."""

from __future__ import annotations

from bpfilter.abi.packet import ICMP, IPPROTO, IPV4, IPV6, PORTS
from bpfilter.asm.memory import Memory
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.extract.conntrack import IP_CT_IS_REPLY, IP_CT_UNTRACKED, ORIGINAL, REPLY
from bpfilter.dataclass import dataclass
from bpfilter.simulate.memory import Struct
from bpfilter.simulate.packet import Connection, State
from bpfilter.simulate.upper import upper_layer

#: Ticks since boot, as the helper jiffies64 gives them here; timeouts are relative to it.
JIFFIES = 1 << 32
HZ = 250

# enum ip_conntrack_info (include/uapi/linux/netfilter/nf_conntrack_common.h)
_INFO = {State.ESTABLISHED: 0, State.RELATED: 1, State.NEW: 2}

#: enum ip_conntrack_status, and its bits by the words of --ctstatus.
STATUS = {"expected": 1 << 0, "seen_reply": 1 << 1, "assured": 1 << 2, "confirmed": 1 << 3}
_STATUS_OF = {
    State.NEW: 0,
    State.RELATED: STATUS["expected"],
    State.ESTABLISHED: STATUS["seen_reply"] | STATUS["assured"] | STATUS["confirmed"],
}

_WITH_PORTS = (IPPROTO.TCP, IPPROTO.UDP, IPPROTO.UDPLITE, IPPROTO.SCTP, IPPROTO.DCCP)
#: What answers an echo, timestamp, information and address mask request, and the other way
#: round: invmap of nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c.
_ICMP_INVERSE = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
_ICMPV6_INVERSE = {128: 129, 129: 128, 139: 140, 140: 139}


@dataclass(frozen=True, slots=True)
class End:
    """Address and port of one end; the port of ICMP is its identifier, or type and code."""

    address: bytes
    port: bytes


@dataclass(frozen=True, slots=True)
class Tuple:
    """Between whom a packet goes, as struct nf_conntrack_tuple."""

    protocol: int
    source: End
    destination: End

    def inverted(self) -> Tuple:
        """Give the tuple of an answer (nf_ct_invert_tuple)."""
        inverse = {IPPROTO.ICMP: _ICMP_INVERSE, IPPROTO.ICMPV6: _ICMPV6_INVERSE}.get(self.protocol)
        if inverse is None:
            return Tuple(self.protocol, self.destination, self.source)
        kind, code = self.destination.port
        port = bytes([inverse.get(kind, kind), code])
        return Tuple(
            self.protocol,
            End(self.destination.address, self.source.port),
            End(self.source.address, port),
        )


def read_tuple(data: bytes) -> Tuple:
    """Read a packet's tuple; ports that are not there are zero."""
    upper = upper_layer(data)
    header = data[upper.offset :] if upper.first else b""
    source_port, destination_port = bytes(2), bytes(2)
    if upper.protocol in _WITH_PORTS and len(header) >= PORTS.BYTES:
        source_port, destination_port = header[0:2], header[2:4]
    elif upper.protocol in (IPPROTO.ICMP, IPPROTO.ICMPV6) and len(header) >= ICMP.BYTES:
        source_port, destination_port = header[4:6], header[0:2]
    ip, size = (IPV4, 4) if data[0] >> 4 == 4 else (IPV6, 16)
    return Tuple(
        upper.protocol,
        End(data[ip.SADDR : ip.SADDR + size], source_port),
        End(data[ip.DADDR : ip.DADDR + size], destination_port),
    )


class ConnectionEntry:
    """A `struct nf_conn`, rewritten for each packet."""

    def __init__(self, memory: Memory, types: KernelTypes) -> None:
        self._entry = Struct(memory, types, "nf_conn")

    def describe(self, data: bytes, connection: Connection) -> int:
        """Write the entry of a packet; gives what `skb->_nfct` holds.

        Its tuples are the packet's own addresses and ports: no address is translated.
        """
        if connection.state is State.INVALID:
            return 0
        if connection.state is State.UNTRACKED:
            return IP_CT_UNTRACKED
        entry = self._entry
        status = connection.status
        entry["status"] = _STATUS_OF[connection.state] if status is None else status
        entry["mark"] = connection.mark
        entry["timeout"] = JIFFIES + (connection.expires_s or 0) * HZ & 0xFFFF_FFFF
        own = read_tuple(data)
        original = own.inverted() if connection.reply else own
        self._write(ORIGINAL, original)
        self._write(REPLY, original.inverted())
        entry[f"tuplehash[{ORIGINAL}].tuple.dst.protonum"] = original.protocol
        info = _INFO[connection.state] + (IP_CT_IS_REPLY if connection.reply else 0)
        return entry.address | info

    def _write(self, direction: int, made: Tuple) -> None:
        for name, end in (("src", made.source), ("dst", made.destination)):
            path = f"tuplehash[{direction}].tuple.{name}"
            words = end.address.ljust(16, b"\0")
            for word in range(4):
                self._entry.put(f"{path}.u3.all[{word}]", words[4 * word : 4 * word + 4])
            self._entry.put(f"{path}.u.all", end.port)
