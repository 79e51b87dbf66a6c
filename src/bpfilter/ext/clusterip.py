"""`-j CLUSTERIP`: share an address with other hosts (libipt_CLUSTERIP.c).

The kernel lost it in v6.3, commit 9db5d918e2c0 "netfilter: ip_tables: remove clusterip
target"; iptables still ships it.
"""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import V4, Context, Given, Option, target
from bpfilter.rules.values import format_mac, mac_address, number

_MAX_NODES = 16  # CLUSTERIP_MAX_NODES
_MODES = ("sourceip", "sourceip-sourceport", "sourceip-sourceport-destport")
_NEEDED = ("--new", "--hashmode", "--clustermac", "--total-nodes", "--local-node")


@target("CLUSTERIP", families=V4)
@dataclass(frozen=True, slots=True)
class Clusterip(Target):
    """Without `mode` the rule joins a cluster that another one made."""

    mode: str = ""
    mac: bytes = bytes(6)
    total: int = 0
    local: int = 0
    seed: int = 0

    OPTIONS = (
        Option("--new", "", "make the cluster; its first rule has this", values=0),
        Option("--hashmode", "mode", "what is hashed: sourceip[-sourceport[-destport]]"),
        Option("--clustermac", "mac", "the multicast MAC address of the cluster"),
        Option("--total-nodes", "num", "how many nodes there are"),
        Option("--local-node", "num", "the number of this node"),
        Option("--hash-init", "num", "seed of the hash"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            return cls()
        if any(name not in given for name in _NEEDED):
            fail("CLUSTERIP target: Invalid parameter combination", given, ", ".join(_NEEDED))
        mode, mac, total, local = (given.all(name)[0] for name in _NEEDED[1:])
        if mode.value not in _MODES:
            fail(f'Unknown hashmode "{mode.value}"', mode, f"one of {', '.join(_MODES)}")
        address = mac_address(mac)
        if not address[0] & 0x01:
            fail("MAC has to be a multicast ethernet address", mac)
        seed = given.get("--hash-init")
        return cls(
            mode.value,
            address,
            number(total, "CLUSTERIP", 0, _MAX_NODES),
            number(local, "CLUSTERIP", 0, _MAX_NODES),
            number(seed, "CLUSTERIP") if seed else 0,
        )

    def format(self, family: Family) -> list[str]:
        if not self.mode:
            return []
        words = ["--new", "--hashmode", self.mode, "--clustermac", format_mac(self.mac).upper()]
        words += ["--total-nodes", str(self.total), "--local-node", str(self.local)]
        return [*words, "--hash-init", str(self.seed)]

    def describe(self, family: Family) -> str:
        if not self.mode:
            return "CLUSTERIP"
        text = f"CLUSTERIP hashmode={self.mode} clustermac={format_mac(self.mac).upper()}"
        text += f" total_nodes={self.total} local_node={self.local}"
        return f"{text} hash_init={self.seed}"
