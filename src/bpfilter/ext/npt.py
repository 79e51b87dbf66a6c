"""`-j SNPT` and `-j DNPT`: translate IPv6 prefixes without state (libip6t_[SD]NPT.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail, host_mask, prefix_mask
from bpfilter.rules.address import format_host, prefix_length
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import V6, Context, Given, Option, Use, target
from bpfilter.rules.values import need_chains, need_table

_MAX_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Prefix:
    """No bit of `network` is set behind `length`."""

    network: bytes
    length: int

    def __str__(self) -> str:
        return f"{format_host(self.network)}/{self.length}"


@dataclass(frozen=True, slots=True)
class Translation(Target):
    """What SNPT and DNPT share: `source` becomes `destination`."""

    source: Prefix
    destination: Prefix

    CHAINS: ClassVar[tuple[str, ...]]
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--src-pfx", "prefix/length", "the prefix to translate", required=True),
        Option("--dst-pfx", "prefix/length", "the prefix to translate it to", required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, cls.NAME, "mangle")
        need_chains(given, context, cls.NAME, *cls.CHAINS)
        source, destination = (given.all(option.name)[0] for option in cls.OPTIONS)
        return cls(_parse_prefix(source, cls.NAME), _parse_prefix(destination, cls.NAME))

    def chains(self) -> tuple[str, ...]:
        return self.CHAINS

    # `::/0` is left out, and then what is saved cannot be read again.
    def format(self, family: Family) -> list[str]:
        words = ["--src-pfx", str(self.source)] if self.source.length else []
        return words + (["--dst-pfx", str(self.destination)] if self.destination.length else [])

    def describe(self, family: Family) -> str:
        return f"{self.NAME} src-pfx {self.source} dst-pfx {self.destination}"


@target("SNPT", families=V6)
@dataclass(frozen=True, slots=True)
class Snpt(Translation):
    CHAINS = ("INPUT", "POSTROUTING")


@target("DNPT", families=V6)
@dataclass(frozen=True, slots=True)
class Dnpt(Translation):
    CHAINS = ("PREROUTING", "OUTPUT")


def _parse_prefix(use: Use, owner: str) -> Prefix:
    network, mask = host_mask(use, owner, Family.IPV6)
    length = prefix_length(mask)
    if length is None or length > _MAX_LENGTH:
        fail(f"{owner}: a prefix to translate has at most {_MAX_LENGTH} bits", use)
    kept = prefix_mask(length, Family.IPV6)
    if any(byte & ~mask_byte & 0xFF for byte, mask_byte in zip(network, kept, strict=True)):
        fail(f"{owner}: bits are set behind the prefix's {length}", use)
    return Prefix(network, length)
