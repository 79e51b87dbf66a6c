"""`-m recent`: addresses seen lately, in a list under /proc/net/xt_recent (libxt_recent.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text, fail, host
from bpfilter.rules.address import format_host
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted, number, only_one

_NAME_BYTES = 200  # XT_RECENT_NAME_LEN
_MAX_HITS = 65535

# What to do, with the word of the listing.
_ACTIONS = {"--set": "SET", "--rcheck": "CHECK", "--update": "UPDATE", "--remove": "REMOVE"}
_HELP = {
    "--set": "put the address on the list",
    "--rcheck": "the address is on the list",
    "--update": "the same, and it was seen now",
    "--remove": "the same, and it is taken off",
}
_CHECKS = ("--seconds", "--reap", "--hitcount", "--rttl")
_SIDES = ("--rsource", "--rdest")


@match("recent")
@dataclass(frozen=True, slots=True)
class Recent(UnenforcedMatch):
    """`action` is one of --set, --rcheck, --update, --remove."""

    action: str
    mask: bytes
    inverted: bool = False
    seconds: int = 0
    reap: bool = False
    hits: int = 0
    ttl: bool = False
    name: str = "DEFAULT"
    destination: bool = False

    OPTIONS = (
        *(Option(name, "", text, values=0, invertible=True) for name, text in _HELP.items()),
        Option("--seconds", "n", "seen in so many seconds"),
        Option("--reap", "", "forget addresses older than --seconds", values=0),
        Option("--hitcount", "n", "seen so many times"),
        Option("--rttl", "", "seen with the same TTL", values=0),
        Option("--name", "name", "the list; DEFAULT without"),
        Option("--rsource", "", "look at the source; the default", values=0),
        Option("--rdest", "", "look at the destination", values=0),
        Option("--mask", "mask", "bits of the address that count"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "recent", *_ACTIONS)
        action = next((given.get(name) for name in _ACTIONS if name in given), None)
        if action is None:
            fail(f"recent: you must specify one of {', '.join(_ACTIONS)}", given)
        seconds, hits = given.get("--seconds"), given.get("--hitcount")
        if "--reap" in given and seconds is None:
            fail("recent: --reap also requires --seconds", given)
        if action.option.name in ("--set", "--remove"):
            for use in given.uses:
                if use.option.name in _CHECKS:
                    fail(f"recent: {use.option.name} means nothing to {action.option.name}", use)
        sides = [use.option.name for use in given.uses if use.option.name in _SIDES]
        name, mask = given.get("--name"), given.get("--mask")
        return cls(
            action.option.name,
            host(mask.value, mask, context.family)
            if mask
            else b"\xff" * context.family.address_bytes,
            action.inverted,
            number(seconds, "recent", 1) if seconds else 0,
            "--reap" in given,
            number(hits, "recent", 0, _MAX_HITS) if hits else 0,
            "--rttl" in given,
            cut_text(name, "recent", _NAME_BYTES) if name else "DEFAULT",
            sides[-1:] == ["--rdest"],
        )

    def format(self, family: Family) -> list[str]:
        words = inverted([self.action], self.inverted)
        if self.seconds:
            words += ["--seconds", str(self.seconds)]
        if self.reap:
            words.append("--reap")
        if self.hits:
            words += ["--hitcount", str(self.hits)]
        if self.ttl:
            words.append("--rttl")
        words += ["--name", self.name, "--mask", format_host(self.mask)]
        return [*words, "--rdest" if self.destination else "--rsource"]

    def describe(self, family: Family) -> str:
        words = inverted(["recent:", _ACTIONS[self.action]], self.inverted)
        if self.seconds:
            words.append(f"seconds: {self.seconds}")
        if self.reap:
            words.append("reap")
        if self.hits:
            words.append(f"hit_count: {self.hits}")
        if self.ttl:
            words.append("TTL-Match")
        side = "dest" if self.destination else "source"
        words.append(f"name: {self.name} side: {side} mask: {format_host(self.mask)}")
        return " ".join(words)
