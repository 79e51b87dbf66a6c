"""`-j CT` and `-j NOTRACK`: how connection tracking is to treat the packet (libxt_CT.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text, fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import U16, need_table, to_number

_HELPER_BYTES = 16  # struct xt_ct_target_info_v1
_TIMEOUT_BYTES = 32
# In the order iptables-save prints them.
_EVENTS = (
    "new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo",
    "secmark",
)  # fmt: skip
_EXPECT_EVENTS = ("new",)
_ZONES = {
    "--zone-orig": "the zone of one direction: that of the packet",
    "--zone-reply": "the zone of one direction: that of answers",
    "--zone": "the zone, or the mark of the packet for one",
}


@target("CT")
@dataclass(frozen=True, slots=True)
class Ct(Target):
    """`zone` is a number or "mark"; `zone_option` the one of --zone, --zone-orig, --zone-reply."""

    notrack: bool = False
    helper: str = ""
    timeout: str = ""
    events: frozenset[str] = frozenset()
    expect_events: frozenset[str] = frozenset()
    zone: int | str = 0
    zone_option: str = "--zone"

    OPTIONS = (
        Option("--notrack", "", "do not track the packet", values=0),
        Option("--helper", "name", "a helper for the new connection"),
        Option("--timeout", "name", "a timeout policy for the new connection"),
        Option("--ctevents", "event[,event]", "report only these events"),
        Option("--expevents", "event[,event]", "report only these events of expectations"),
        *(Option(name, "id|mark", text) for name, text in _ZONES.items()),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "CT", "raw")
        helper, timeout = given.get("--helper"), given.get("--timeout")
        events, expect_events = given.get("--ctevents"), given.get("--expevents")
        tracked = "--notrack" not in given
        if helper and tracked and (context.protocol is None or context.protocol.inverted):
            fail("CT: --helper needs -p with one protocol", helper)
        zones = [use for use in given.uses if use.option.name in _ZONES]
        return cls(
            "--notrack" in given,
            cut_text(helper, "CT", _HELPER_BYTES) if helper else "",
            cut_text(timeout, "CT", _TIMEOUT_BYTES) if timeout else "",
            _parse_events(events, _EVENTS) if events else frozenset(),
            _parse_events(expect_events, _EXPECT_EVENTS) if expect_events else frozenset(),
            _parse_zone(zones),
            _zone_option({use.option.name for use in zones}),
        )

    def format(self, family: Family) -> list[str]:
        words = ["--notrack"] if self.notrack else []
        if self.helper:
            words += ["--helper", self.helper]
        if self.timeout:
            words += ["--timeout", self.timeout]
        if self.events:
            words += ["--ctevents", ",".join(name for name in _EVENTS if name in self.events)]
        if self.expect_events:
            words += ["--expevents", ",".join(_EXPECT_EVENTS)]
        return words + ([self.zone_option, str(self.zone)] if self.zone else [])

    def describe(self, family: Family) -> str:
        return " ".join(["CT", *(word.removeprefix("--") for word in self.format(family))])


@target("NOTRACK")
@dataclass(frozen=True, slots=True)
class Notrack(Target):
    OPTIONS: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "NOTRACK", "raw")
        return cls()

    def format(self, family: Family) -> list[str]:
        return []

    def describe(self, family: Family) -> str:
        return "NOTRACK"


def _parse_events(use: Use, names: tuple[str, ...]) -> frozenset[str]:
    events = use.value.split(",")
    for event in events:
        if event not in names:
            fail(f'CT: unknown event type "{event}"', use, f"some of {', '.join(names)}")
    return frozenset(events)


# One direction if only that was named.
def _zone_option(names: set[str]) -> str:
    directions = names - {"--zone"}
    return directions.pop() if len(directions) == 1 else "--zone"


# The last number counts, unless one of them is the packet's mark.
def _parse_zone(zones: list[Use]) -> int | str:
    zone: int | str = 0
    for use in zones:
        number = to_number(use.value, 0, U16)
        if number is None and use.value.lower() != "mark":
            fail(f"CT: cannot parse {use.value} as a zone ID", use)
        zone = "mark" if number is None or zone == "mark" else number
    return zone
