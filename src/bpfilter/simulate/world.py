"""What a program finds around it: the packet, its devices, its connection, its socket.

All of it is structs in the interpreter's memory, laid out by the types the program was
compiled for. A world is changed from packet to packet; programs only read it.
"""

from __future__ import annotations

import struct

from bpfilter.abi.packet import IPV4, IPV6
from bpfilter.asm.memory import Memory
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.emit import CTX_SKB, CTX_STATE
from bpfilter.errors import RuleError
from bpfilter.rules.model import Family, Hook
from bpfilter.simulate.connection import ConnectionEntry
from bpfilter.simulate.memory import Struct
from bpfilter.simulate.packet import Connection, Owner, Packet, PacketType, Surroundings
from bpfilter.simulate.routes import LocalAddress, write_local_table

ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h
ARPHRD_LOOPBACK = 772
MAC_HEADER_UNSET = 0xFFFF  # skb_mac_header_was_set
TCP_ESTABLISHED = 1  # include/net/tcp_states.h
LOOPBACK = "lo"
IFNAMSIZ = 16

#: enum of pkt_type (include/uapi/linux/if_packet.h).
PKT_TYPES = {PacketType.UNICAST: 0, PacketType.BROADCAST: 1, PacketType.MULTICAST: 2}

#: Room for the Ethernet header between `head` and `data` of a packet.
HEADROOM = 32


class World:
    """Give it a packet with `enter`, and `context` to a program.

    `linear` is how many bytes of each packet lie in one piece (skb_headlen), None for all.
    Clear `tracks` if no program asks for connections, to save the time.
    """

    def __init__(self, memory: Memory, types: KernelTypes, linear: int | None = None) -> None:
        self.memory = memory
        self.types = types
        self._linear = linear
        memory.add("null pointer", 0, base=0, faultless=True, writable=False)
        self._buffer = memory.add("packet", HEADROOM, writable=False)
        self.data_address = self._buffer.base + HEADROOM
        self.net = Struct(memory, types, "net")
        self.skb = Struct(memory, types, "sk_buff")
        self.skb["head"] = self._buffer.base
        self.skb["data"] = self.data_address
        self.skb["network_header"] = HEADROOM
        self.state = Struct(memory, types, "nf_hook_state")
        self.state["net"] = self.net.address
        self.connection = ConnectionEntry(memory, types)
        self.tracks = True
        self._devices: dict[str, int] = {}
        self._sockets: dict[Owner, int] = {}
        context = memory.add("context", 16, writable=False)
        context.data[CTX_STATE : CTX_STATE + 8] = self.state.address.to_bytes(8, "little")
        context.data[CTX_SKB : CTX_SKB + 8] = self.skb.address.to_bytes(8, "little")
        self.context = context.base
        self.length = self.captured = self.linear = 0

    def set_local(self, addresses: tuple[LocalAddress, ...]) -> None:
        """Make the local routing table of a machine with these addresses, and loopback's."""
        devices = {one.device: self.device(one.device) for one in addresses if one.device}
        devices[LOOPBACK] = self.device(LOOPBACK)
        write_local_table(self.memory, self.types, self.net, addresses, devices)

    def enter(self, packet: Packet, hook: Hook, around: Surroundings) -> None:
        """Have the next program run meet this packet."""
        self._lay_down(packet)
        skb, state = self.skb, self.state
        skb["mark"] = (around.mark or 0) if packet.mark is None else packet.mark
        skb["pkt_type"] = PKT_TYPES[packet.kind or _guess_kind(packet, hook, around)]
        incoming, outgoing = self.device(around.in_interface), self.device(around.out_interface)
        state["in"] = incoming if hook in (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD) else 0
        state["out"] = outgoing if hook in (Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING) else 0
        skb["dev"] = incoming if hook is not Hook.OUTPUT else 0
        skb["sk"] = self._socket(around.owner)
        if self.tracks:
            known = around.connection or Connection()
            skb["_nfct"] = self.connection.describe(packet.data, known)

    def packet_bytes(self, offset: int, nbytes: int) -> bytes:
        start = HEADROOM + offset
        return bytes(self._buffer.data[start : start + nbytes])

    def device(self, name: str | None) -> int:
        """Give the address of a device, made when it is first named; 0 for no name."""
        if not name:
            return 0
        if name not in self._devices:
            raw = name.encode("utf-8", "surrogateescape")
            if len(raw) >= IFNAMSIZ:
                raise RuleError(f"interface name '{name}' is longer than {IFNAMSIZ - 1} bytes")
            device = self._struct("net_device")
            device.put("name", raw.ljust(IFNAMSIZ, b"\0"))
            device["ifindex"] = 1 if name == LOOPBACK else len(self._devices) + 2
            device["type"] = ARPHRD_LOOPBACK if name == LOOPBACK else ARPHRD_ETHER
            device["nd_net.net"] = self.net.address
            self._devices[name] = device.address
        return self._devices[name]

    def _lay_down(self, packet: Packet) -> None:
        self.captured = len(packet.data)
        self.length = packet.length or self.captured
        self.linear = self.captured if self._linear is None else min(self._linear, self.captured)
        self._buffer.data[:] = packet.link.rjust(HEADROOM, b"\0") + packet.data
        self.skb["len"] = self.length
        self.skb["data_len"] = self.length - self.linear
        self.skb["mac_header"] = HEADROOM - len(packet.link) if packet.link else MAC_HEADER_UNSET

    def _socket(self, owner: Owner | None) -> int:
        if owner is None:
            return 0
        if owner not in self._sockets:
            cred, file = self._struct("cred"), self._struct("file")
            socket, sock = self._struct("socket"), self._struct("sock")
            cred["fsuid.val"] = owner.uid
            cred["fsgid.val"] = owner.gid
            cred["group_info"] = self._groups(owner.groups or ())
            file["f_cred"] = cred.address
            socket["file"] = file.address
            sock["sk_socket"] = socket.address
            sock["__sk_common.skc_net.net"] = self.net.address
            sock["__sk_common.skc_state"] = TCP_ESTABLISHED
            self._sockets[owner] = sock.address
        return self._sockets[owner]

    def _groups(self, groups: tuple[int, ...]) -> int:
        info = Struct(self.memory, self.types, "group_info", 4 * len(groups))
        info["ngroups"] = len(groups)
        start = self.types.offset("group_info", "gid").offset
        info.data[start : start + 4 * len(groups)] = struct.pack(
            f"<{len(groups)}I", *sorted(groups)
        )
        return info.address

    def _struct(self, name: str) -> Struct:
        return Struct(self.memory, self.types, name)


def _guess_kind(packet: Packet, hook: Hook, around: Surroundings) -> PacketType:
    # What the link layer makes of the destination address; packets sent here are unicast.
    if hook is Hook.OUTPUT or around.in_interface in (None, LOOPBACK):
        return PacketType.UNICAST
    if packet.family is Family.IPV4:
        destination = packet.data[IPV4.DADDR : IPV4.DADDR + 4]
        if destination == b"\xff\xff\xff\xff":
            return PacketType.BROADCAST
        return PacketType.MULTICAST if destination[:1] >= b"\xe0" else PacketType.UNICAST
    multicast = packet.data[IPV6.DADDR : IPV6.DADDR + 1] == b"\xff"
    return PacketType.MULTICAST if multicast else PacketType.UNICAST
