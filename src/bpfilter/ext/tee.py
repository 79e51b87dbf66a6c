"""`-j TEE`: send a copy of the packet to another host (libxt_TEE.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text, fail, host
from bpfilter.rules.address import format_host
from bpfilter.rules.model import Family, Rule, Target
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, target

_NAME_BYTES = 16  # IFNAMSIZ


@target("TEE")
@dataclass(frozen=True, slots=True)
class Tee(Target):
    gateway: bytes
    out_interface: str = ""

    OPTIONS = (
        Option("--gateway", "address", "where the copy goes next", required=True),
        Option("--oif", "name", "the interface it leaves by"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use, oif = given.all("--gateway")[0], given.get("--oif")
        gateway = host(use.value, use, context.family)
        if not any(gateway):
            fail("TEE: the gateway cannot be all zeros", use)
        return cls(gateway, cut_text(oif, "TEE", _NAME_BYTES) if oif else "")

    def format(self, family: Family) -> list[str]:
        words = ["--gateway", format_host(self.gateway)]
        return words + (["--oif", self.out_interface] if self.out_interface else [])

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        text = f"TEE gw:{names.host(self.gateway)}"
        return f"{text} oif={self.out_interface}" if self.out_interface else text
