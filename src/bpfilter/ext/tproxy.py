"""`-j TPROXY`: hand the packet to a local socket without changing it (libxt_TPROXY.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import host
from bpfilter.ext.ranges import any_port
from bpfilter.rules.address import format_host
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import mark_mask, need_chains, need_protocol, need_table

_TCP, _UDP = 6, 17
_CHAINS = ("PREROUTING",)


@target("TPROXY")
@dataclass(frozen=True, slots=True)
class Tproxy(Target):
    """An address of zeros is that of the interface."""

    port: int
    address: bytes
    mark: int = 0
    mask: int = 0

    OPTIONS = (
        Option("--on-port", "port", "the port of the proxy", required=True),
        Option("--on-ip", "address", "the address of the proxy"),
        Option("--tproxy-mark", "value[/mask]", "the mark the packet gets"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "TPROXY", "mangle")
        need_chains(given, context, "TPROXY", *_CHAINS)
        need_protocol(given, context, "TPROXY", _TCP, _UDP)
        on_port, on_ip, mark = (given.get(option.name) for option in cls.OPTIONS)
        assert on_port is not None
        return cls(
            any_port(on_port.value, on_port.words[0]),
            host(on_ip.value, on_ip, context.family)
            if on_ip
            else bytes(context.family.address_bytes),
            *(mark_mask(mark, "TPROXY") if mark else (0, 0)),
        )

    def chains(self) -> tuple[str, ...]:
        return _CHAINS

    def format(self, family: Family) -> list[str]:
        words = ["--on-port", str(self.port), "--on-ip", format_host(self.address)]
        return [*words, "--tproxy-mark", f"0x{self.mark:x}/0x{self.mask:x}"]

    def describe(self, family: Family) -> str:
        where = f"{format_host(self.address)}:{self.port}"
        return f"TPROXY redirect {where} mark 0x{self.mark:x}/0x{self.mask:x}"
