"""Connection tracking, switched on in a network namespace while rules ask for it.

The kernel tracks connections in a namespace only while something there needs it; an
iptables rule with `-m conntrack` is such a thing, a BPF program is not. So a private
nf_tables table holds one rule that loads the connection's state, in a chain that no hook
and no rule leads to: nft_ct takes the reference (nf_ct_netns_get), and no packet ever
comes by.
"""

from __future__ import annotations

from bpfilter.errors import KernelError
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family

TABLE = "bpfilter-conntrack"
CHAIN = "unused"


def is_on(kernel: Kernel, family: Family) -> bool:
    """Say whether our rule is there; somebody may have flushed all of nf_tables."""
    return (int(family), TABLE) in kernel.nft_rule_tables()


def switch_on(family: Family) -> None:
    """Have connections of a family tracked in this namespace; fine if they are already.

    Raises: KernelError if the kernel has no nf_tables or refuses.
    """
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.nftables.expressions import genex
    from pyroute2.nftables.main import NFTables

    state = genex("ct", {"dreg": _NFT_REG_1, "key": _NFT_CT_STATE})
    nft = NFTables(nfgen_family=int(family))
    try:
        nft.table("add", name=TABLE)
        nft.chain("add", table=TABLE, name=CHAIN)
        nft.rule("add", table=TABLE, chain=CHAIN, expressions=[(state,)])
    except NetlinkError as error:
        raise KernelError(
            "switch connection tracking on (nf_tables)",
            error.code,
            "rules with -m conntrack or -m state need it",
        ) from error
    finally:
        nft.close()


def switch_off(family: Family) -> None:
    """Let go of connection tracking; whoever else needs it keeps it on."""
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.nftables.main import NFTables

    nft = NFTables(nfgen_family=int(family))
    try:
        nft.table("del", name=TABLE)
    except NetlinkError as error:
        if error.code != _ENOENT:
            raise KernelError("switch connection tracking off", error.code) from error
    finally:
        nft.close()


_ENOENT = 2
_NFT_REG_1 = 1  # include/uapi/linux/netfilter/nf_tables.h
_NFT_CT_STATE = 0
