"""`-m cluster`: is this node of several the one to answer for the connection (libxt_cluster.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted, number, only_one

_MAX_NODES = 32  # XT_CLUSTER_NODES_MAX
_NODE, _MASK = "--cluster-local-node", "--cluster-local-nodemask"


@match("cluster")
@dataclass(frozen=True, slots=True)
class Cluster(UnenforcedMatch):
    """Bit N - 1 of `mask` is node N."""

    total: int
    mask: int
    seed: int
    inverted: bool = False

    TRACKS = True
    OPTIONS = (
        Option("--cluster-total-nodes", "num", "how many nodes there are", required=True),
        Option(_NODE, "num", "the number of this node, from 1", invertible=True),
        Option(_MASK, "num", "the nodes this one stands for, a bit each", invertible=True),
        Option("--cluster-hash-seed", "num", "seed of the hash, the same on all", required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "cluster", _NODE, _MASK)
        use = given.get(_NODE) or given.get(_MASK)
        if use is None:
            fail(f"cluster: {_NODE} or {_MASK} is missing", given)
        total = number(given.all("--cluster-total-nodes")[0], "cluster", 1, _MAX_NODES)
        seed = number(given.all("--cluster-hash-seed")[0], "cluster")
        mask = number(use, "cluster", 1, _MAX_NODES)
        if use.option.name == _NODE:
            mask = 1 << (mask - 1)
        if mask >= 1 << total:
            fail(f"cluster: {use.option.name} is too big for {total} nodes", use)
        return cls(total, mask, seed, use.inverted)

    def format(self, family: Family) -> list[str]:
        words = inverted([_MASK, f"0x{self.mask:08x}"], self.inverted)
        words += ["--cluster-total-nodes", str(self.total)]
        return [*words, "--cluster-hash-seed", f"0x{self.seed:08x}"]

    def describe(self, family: Family) -> str:
        sign = "!" if self.inverted else ""
        text = f"cluster {sign}node_mask=0x{self.mask:08x} total_nodes={self.total}"
        return f"{text} hash_seed=0x{self.seed:08x}"
