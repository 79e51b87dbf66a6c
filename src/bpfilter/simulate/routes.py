"""The local routing table of IPv4, for `addrtype`: a trie as net/ipv4/fib_trie.c keeps it.

The table is what fib_add_ifaddr() (net/ipv4/fib_frontend.c) makes of a machine's
addresses: each address is local, and the last of its network is broadcast; 127.0.0.0/8
is loopback's. The trie here has nodes with two children only, where the kernel's are
inflated for speed; look-ups find the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from bpfilter.asm.memory import Memory
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.extract.fib import RTN_BROADCAST
from bpfilter.compiler.extract.trie import KEYLENGTH, RT_TABLE_LOCAL
from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleSyntaxError
from bpfilter.simulate.memory import Struct
from bpfilter.source import Span

RTN_LOCAL = 2  # include/uapi/linux/rtnetlink.h
HASH_BYTES = 256 * 8  # FIB_TABLE_HASHSZ heads of lists

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this machine, the length of its network's prefix, and its device."""

    address: int
    length: int = 32
    device: str | None = None

    @property
    def broadcast(self) -> int | None:
        """The last address of the network, if it has any to spare."""
        return self.address | (1 << 32 - self.length) - 1 if self.length < 31 else None


def parse_local(text: str) -> LocalAddress:
    """Read `ADDRESS[/LENGTH][%DEVICE]`. Raises: RuleSyntaxError."""
    place, _, device = text.partition("%")
    try:
        interface = ipaddress.IPv4Interface(place)
    except ValueError as error:
        span = Span("--local", 1, 1, len(text) + 1, text)
        raise RuleSyntaxError("not an IPv4 ADDRESS[/LENGTH][%DEVICE]", span) from error
    return LocalAddress(int(interface.ip), interface.network.prefixlen, device or None)


@dataclass(frozen=True, slots=True)
class Route:
    """A prefix of the local table; `slen` is how many bits it leaves open, as fa_slen."""

    key: int
    slen: int
    kind: int
    device: str | None


def local_routes(addresses: Sequence[LocalAddress]) -> list[Route]:
    """Give the local table of a machine with these addresses, one route for each prefix."""
    routes: dict[tuple[int, int], Route] = {}
    wanted = [Route(0x7F00_0000, 24, RTN_LOCAL, LOOPBACK)]
    for one in (LocalAddress(0x7F00_0001, 8, LOOPBACK), *addresses):
        wanted.append(Route(one.address, 0, RTN_LOCAL, one.device))
        if one.broadcast is not None:
            wanted.append(Route(one.broadcast, 0, RTN_BROADCAST, one.device))
    for route in wanted:  # of two routes with one prefix, the first is found
        routes.setdefault((route.key, route.slen), route)
    return list(routes.values())


def write_local_table(
    memory: Memory,
    types: KernelTypes,
    net: Struct,
    addresses: Sequence[LocalAddress],
    devices: Mapping[str, int],
) -> None:
    """Make the table, and have a `struct net` lead to it."""
    heads = memory.add("fib_table_hash", HASH_BYTES, writable=False)
    net["ipv4.fib_table_hash"] = heads.base
    table = Struct(memory, types, "fib_table")
    table["tb_id"] = RT_TABLE_LOCAL
    slot = RT_TABLE_LOCAL * 8
    heads.data[slot : slot + 8] = table.address.to_bytes(8, "little")
    root = Struct(memory, types, "tnode", extra=8)
    table["tb_data"] = root.at("kv")
    _set_vector(root, 0, KEYLENGTH, 0, KEYLENGTH)
    writer = _Trie(memory, types, devices)
    by_key: dict[int, list[Route]] = {}
    for route in sorted(local_routes(addresses), key=lambda route: (route.key, route.slen)):
        by_key.setdefault(route.key, []).append(route)
    top, _ = writer.node(sorted(by_key), by_key, root.at("kv"))
    _set_child(root, 0, top)


class _Trie:
    def __init__(self, memory: Memory, types: KernelTypes, devices: Mapping[str, int]) -> None:
        self.memory = memory
        self.types = types
        self.devices = devices

    def node(
        self, keys: list[int], routes: Mapping[int, list[Route]], parent: int
    ) -> tuple[int, int]:
        """Make the subtree of sorted keys; gives its address and its longest suffix."""
        if len(keys) == 1:
            return self.leaf(routes[keys[0]], parent)
        position = (keys[0] ^ keys[-1]).bit_length() - 1
        node = Struct(self.memory, self.types, "tnode", extra=16)
        node["parent"] = parent
        here = node.at("kv")
        longest = position
        for index, half in enumerate(_split(keys, position)):
            child, slen = self.node(half, routes, here)
            _set_child(node, index, child)
            longest = max(longest, slen)
        _set_vector(node, keys[0] >> position + 1 << position + 1, position, 1, longest)
        return here, longest

    def leaf(self, routes: list[Route], parent: int) -> tuple[int, int]:
        node = Struct(self.memory, self.types, "tnode", extra=8)
        node["parent"] = parent
        _set_vector(node, routes[0].key, 0, 0, routes[-1].slen)
        following = 0
        for route in reversed(routes):
            following = self.alias(route, following)
        _set_child(node, 0, following)
        return node.at("kv"), routes[-1].slen

    def alias(self, route: Route, following: int) -> int:
        # struct fib_alias begins with its place in the leaf's list.
        info = Struct(self.memory, self.types, "fib_info", self.types.size("fib_nh"))
        info["fib_nhs"] = 1
        hop = info.types.offset("fib_info", "fib_nh").offset
        at = hop + self.types.offset("fib_nh", "nh_common.nhc_dev").offset
        device = 0 if route.device is None else self.devices[route.device]
        info.data[at : at + 8] = device.to_bytes(8, "little")
        alias = Struct(self.memory, self.types, "fib_alias")
        alias.data[0:8] = following.to_bytes(8, "little")
        alias["fa_info"] = info.address
        alias["fa_slen"] = route.slen
        alias["fa_type"] = route.kind
        return alias.address


def _split(keys: list[int], position: int) -> tuple[list[int], list[int]]:
    ones = [key for key in keys if key >> position & 1]
    return [key for key in keys if not key >> position & 1], ones


def _set_vector(node: Struct, key: int, pos: int, bits: int, slen: int) -> None:
    vector = node.types.offset("tnode", "kv").offset
    for path, value in (("key", key), ("pos", pos), ("bits", bits), ("slen", slen)):
        member = node.types.offset("key_vector", path)
        start = vector + member.offset
        node.data[start : start + member.size] = value.to_bytes(member.size, "little")


def _set_child(node: Struct, index: int, address: int) -> None:
    # The children of a node, and the list of a leaf, begin at one place.
    start = node.types.offset("tnode", "kv").offset
    start += node.types.offset("key_vector", "tnode").offset + 8 * index
    node.data[start : start + 8] = address.to_bytes(8, "little")
