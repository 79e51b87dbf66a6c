"""`-j HMARK`: a mark from a hash of addresses and ports (libxt_HMARK.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail, prefix
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import U16, U32, number

_PREFIXES = ("src-prefix", "dst-prefix")
# Which has how many bits, in the order iptables prints them: 16, 32.
_VALUES = {
    "sport-mask": U16,
    "dport-mask": U16,
    "spi-mask": U32,
    "sport": U16,
    "dport": U16,
    "spi": U32,
    "proto-mask": U16,
}
_DIGITS = {"proto-mask": 2, "spi-mask": 8, "spi": 8}
# What a word of --hmark-tuple stands for, all ones; one cut short means the first it fits.
_TUPLE = {
    "ct": "ct",
    "src": "src-prefix",
    "dst": "dst-prefix",
    "sport": "sport-mask",
    "dport": "dport-mask",
    "proto": "proto-mask",
    "spi": "spi-mask",
}


@target("HMARK")
@dataclass(frozen=True, slots=True)
class Hmark(Target):
    """The mark becomes `hash % modulus + offset`; `parts` are the masks and values of the hash."""

    parts: tuple[tuple[str, int], ...]
    seed: int
    modulus: int
    offset: int | None = None
    of_connection: bool = False

    OPTIONS = (
        Option("--hmark-tuple", "list", "what is hashed: src, dst, sport, dport, spi, proto, ct"),
        Option("--hmark-mod", "value", "the mark is the hash modulo this", required=True),
        Option("--hmark-offset", "value", "added to it"),
        Option("--hmark-rnd", "value", "seed of the hash"),
        Option("--hmark-src-prefix", "length", "hash only so many bits of the source"),
        Option("--hmark-dst-prefix", "length", "hash only so many bits of the destination"),
        Option("--hmark-sport-mask", "value", "mask of the source port"),
        Option("--hmark-dport-mask", "value", "mask of the destination port"),
        Option("--hmark-spi-mask", "value", "mask of the SPI of ESP or AH"),
        Option("--hmark-sport", "value", "bits set in the source port"),
        Option("--hmark-dport", "value", "bits set in the destination port"),
        Option("--hmark-spi", "value", "bits set in the SPI of ESP or AH"),
        Option("--hmark-proto-mask", "value", "mask of the protocol"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        seed, offset = given.get("--hmark-rnd"), given.get("--hmark-offset")
        if seed is None:
            fail("--hmark-rnd is mandatory", given)
        parts: dict[str, int] = {}
        for use in given.uses:
            name = use.option.name.removeprefix("--hmark-")
            if name == "tuple":
                parts |= _parse_tuple(use, context.family)
                continue
            if name in parts:
                fail(f'HMARK: option "{use.option.name}" can only be used once.', use)
            if name in _PREFIXES:
                parts[name] = prefix(use.value, use, "HMARK", context.family)
            elif name in _VALUES:
                parts[name] = number(use, "HMARK", 0, _VALUES[name])
        _check(parts, given)
        return cls(
            tuple((name, parts[name]) for name in (*_PREFIXES, *_VALUES) if name in parts),
            number(seed, "HMARK"),
            number(given.all("--hmark-mod")[0], "HMARK", 1),
            number(offset, "HMARK") if offset else None,
            "ct" in parts,
        )

    def format(self, family: Family) -> list[str]:
        words = []
        for name, value in self.parts:
            text = str(value) if name in _PREFIXES else f"0x{value:0{_DIGITS.get(name, 4)}x}"
            words += [f"--hmark-{name}", text]
        words += ["--hmark-rnd", f"0x{self.seed:08x}", "--hmark-mod", str(self.modulus)]
        words += ["--hmark-offset", str(self.offset)] if self.offset is not None else []
        return words + (["--hmark-tuple", "ct"] if self.of_connection else [])

    # Every part has a blank behind it.
    def describe(self, family: Family) -> str:
        text = f"HMARK mod {self.modulus} "
        text += f"+ 0x{self.offset:x} " if self.offset is not None else ""
        text += "ct, " if self.of_connection else ""
        for name, value in self.parts:
            shown = _prefix(value) if name in _PREFIXES else f"0x{value:x}"
            text += f"{name} {shown} "
        return f"{text}rnd 0x{self.seed:x} "


# A whole IPv6 address is not shown.
def _prefix(length: int) -> str:
    return "" if length == 128 else str(length)


def _parse_tuple(use: Use, family: Family) -> dict[str, int]:
    ones = dict.fromkeys(_PREFIXES, family.address_bytes * 8) | _VALUES
    found: dict[str, int] = {}
    for word in use.value.split(","):
        name = next((name for name in _TUPLE if name.startswith(word.lower())), None)
        if not word or name is None:
            fail(f'Bad type "{word}"', use, f"some of {', '.join(_TUPLE)}")
        found[_TUPLE[name]] = ones.get(_TUPLE[name], 1)
    return found


def _check(parts: dict[str, int], given: Given) -> None:
    if "spi-mask" in parts and ("sport-mask" in parts or "dport-mask" in parts):
        fail("you cannot use --hmark-spi-mask and --hmark-?port-mask, at the same time", given)
    if "spi" in parts and ("sport" in parts or "dport" in parts):
        fail("HMARK: --hmark-spi and --hmark-?port share their bits", given)
    if not parts:
        fail("you have to specify --hmark-tuple at least", given)
