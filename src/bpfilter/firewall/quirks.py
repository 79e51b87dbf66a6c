"""Find out how this kernel's x_tables behaves where kernels of today differ, by trying it.

Needs a network namespace of our own, an nf_tables rule and a packet for each, which takes
longer than applying a ruleset; so what was found is kept until the next boot.
"""

from __future__ import annotations

import errno
from pathlib import Path

from bpfilter.compiler.target import Quirks
from bpfilter.dataclass import asdict
from bpfilter.firewall import kept
from bpfilter.kernel import host
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family

# An IPv6 packet over loopback: a destination options header (60) of 8 bytes that says it is
# 24 bytes long and that UDP (17) follows, with nothing behind it.
_LOOPBACK = bytes(15) + b"\1"
PAST_THE_END = (
    bytes((0x60, 0, 0, 0, 0, 8, 60, 64)) + 2 * _LOOPBACK + bytes((17, 2, 1, 4)) + bytes(4)
)

_NFT_META_L4PROTO = 16  # include/uapi/linux/netfilter/nf_tables.h
_NFT_REG_1 = 1
_NFT_CMP_EQ = 0
_NF_DROP = 0
_NF_ACCEPT = 1


def quirks(kernel: Kernel, directory: Path) -> Quirks:
    """Give this kernel's quirks; `directory` is where findings are kept.

    What cannot be tried (no nf_tables) is taken to be as in the newest kernels, which drop more.
    """
    path = directory / f"quirks-{host.boot_id()}.json"
    match kept.read(path):
        case {"exthdr_bounded": bool(bounded)}:
            return Quirks(bounded)
    found = Quirks(exthdr_bounded=_exthdr_bounded(kernel))
    kept.write(kernel, path, asdict(found))
    return found


def _exthdr_bounded(kernel: Kernel) -> bool:
    # `meta l4proto` asks ipv6_find_hdr(); sending fails with EPERM if it finds UDP and drops.
    import socket

    from pyroute2.netlink.exceptions import NetlinkError

    with kernel.in_scratch_netns():
        try:
            _drop_udp_sent()
        except NetlinkError:
            return True
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
            try:
                sender.sendto(PAST_THE_END, ("::1", 0))
            except OSError as error:
                return error.errno != errno.EPERM
    return True


def _drop_udp_sent() -> None:
    from pyroute2 import IPRoute
    from pyroute2.nftables.expressions import genex, verdict
    from pyroute2.nftables.main import NFTables

    with IPRoute() as route:
        route.link("set", index=1, state="up")
    nft = NFTables(nfgen_family=int(Family.IPV6))
    try:
        nft.table("add", name="probe")
        nft.chain("add", table="probe", name="out", hook="output", priority=0, policy=_NF_ACCEPT)
        udp = {"attrs": [("NFTA_DATA_VALUE", bytes((17,)))]}
        expressions = (
            genex("meta", {"dreg": _NFT_REG_1, "key": _NFT_META_L4PROTO}),
            genex("cmp", {"sreg": _NFT_REG_1, "op": _NFT_CMP_EQ, "data": udp}),
        )
        nft.rule("add", table="probe", chain="out", expressions=[expressions, verdict(_NF_DROP)])
    finally:
        nft.close()
