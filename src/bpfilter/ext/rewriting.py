"""Targets that write one header field: DSCP, TOS, TTL, HL, ECN.

(libxt_DSCP.c, libxt_TOS.c, libipt_TTL.c, libip6t_HL.c, libipt_ECN.c)
"""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail, keyword
from bpfilter.ext.tos import service_name
from bpfilter.rules.model import Family, Rule, Target
from bpfilter.rules.names import Names
from bpfilter.rules.registry import V4, V6, Context, Given, Option, Use, target
from bpfilter.rules.values import (
    U8,
    need_protocol,
    need_table,
    number,
    only_one,
    scan_number,
    to_number,
)

_CLASSES = {f"cs{index}": index << 3 for index in range(8)} | {"be": 0, "ef": 0x2E}
_CLASSES |= {f"af{high}{low}": high << 3 | low << 1 for high in range(1, 5) for low in range(1, 4)}

# Names of a type of service (RFC 1349), which stand for six bits.
_SERVICES = {
    "minimize-delay": 0x10,
    "maximize-throughput": 0x08,
    "maximize-reliability": 0x04,
    "minimize-cost": 0x02,
    "normal-service": 0x00,
}
_SERVICE_MASK = 0x3F
_TOS_OPTIONS = {
    "--set-tos": ("value[/mask]", "set the field, or its bits in mask"),
    "--and-tos": ("bits", "keep only these bits"),
    "--or-tos": ("bits", "set these bits"),
    "--xor-tos": ("bits", "flip these bits"),
}
_HOP_ACTIONS = {"set": "set it to this", "dec": "take this from it", "inc": "add this to it"}
_TCP = 6


@target("DSCP")
@dataclass(frozen=True, slots=True)
class Dscp(Target):
    value: int

    OPTIONS = (
        Option("--set-dscp", "value", "the code point, 0 to 63"),
        Option("--set-dscp-class", "name", "the code point of BE, EF, CSx or AFxy"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "DSCP", "mangle")
        only_one(given, "DSCP", "--set-dscp", "--set-dscp-class")
        if not given.uses:
            fail("DSCP: parameter --set-dscp is required", given)
        use = given.uses[0]
        if use.option.name == "--set-dscp":
            return cls(number(use, "DSCP", 0, 0x3F))
        return cls(keyword(use, "DSCP", _CLASSES))

    def format(self, family: Family) -> list[str]:
        return ["--set-dscp", f"0x{self.value:02x}"]

    def describe(self, family: Family) -> str:
        return f"DSCP set 0x{self.value:02x}"


@target("TOS")
@dataclass(frozen=True, slots=True)
class Tos(Target):
    """The field becomes `(field & ~mask) ^ value`."""

    value: int
    mask: int

    OPTIONS = tuple(Option(name, *text) for name, text in _TOS_OPTIONS.items())

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "TOS", "mangle")
        only_one(given, "TOS", *_TOS_OPTIONS)
        if not given.uses:
            fail("TOS: an action is required", given)
        use = given.uses[0]
        if use.option.name == "--set-tos":
            return cls(*_parse_tos(use))
        value = number(use, "TOS", 0, U8)
        if use.option.name == "--and-tos":
            return cls(0, value ^ U8)
        return cls(value, value if use.option.name == "--or-tos" else 0)

    def format(self, family: Family) -> list[str]:
        return ["--set-tos", f"0x{self.value:02x}/0x{self.mask:02x}"]

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        if not names.numeric:
            name = service_name(self.value, self.mask)
            if name is not None:
                return f" TOS set{name}"
            if self.value == 0:
                return f"TOS and 0x{self.mask ^ U8:02x}"
            if self.mask in (self.value, 0):
                return f"TOS {'or' if self.mask else 'xor'} 0x{self.value:02x}"
        return f"TOS set 0x{self.value:02x}/0x{self.mask:02x}"


@dataclass(frozen=True, slots=True)
class HopCount(Target):
    """`action` is set, dec or inc."""

    action: str
    value: int

    OPTIONS: ClassVar[tuple[Option, ...]]

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, cls.NAME, "mangle")
        only_one(given, cls.NAME, *(option.name for option in cls.OPTIONS))
        if not given.uses:
            fail(f"{cls.NAME}: you must specify an action", given)
        use = given.uses[0]
        action = use.option.name[-3:]
        return cls(action, number(use, cls.NAME, 0 if action == "set" else 1, U8))

    def format(self, family: Family) -> list[str]:
        return [f"--{self.NAME.lower()}-{self.action}", str(self.value)]

    def describe(self, family: Family) -> str:
        verb = {"set": "set to", "dec": "decrement by", "inc": "increment by"}[self.action]
        return f"{self.NAME} {verb} {self.value}"


@target("TTL", families=V4)
@dataclass(frozen=True, slots=True)
class Ttl(HopCount):
    OPTIONS = tuple(Option(f"--ttl-{name}", "n", text) for name, text in _HOP_ACTIONS.items())


@target("HL", families=V6)
@dataclass(frozen=True, slots=True)
class Hl(HopCount):
    OPTIONS = tuple(Option(f"--hl-{name}", "n", text) for name, text in _HOP_ACTIONS.items())


@target("ECN", families=V4)
@dataclass(frozen=True, slots=True)
class Ecn(Target):
    """Bits to write: ECE and CWR of the TCP header, ECT of the IP header; None leaves them."""

    ece: int | None = None
    cwr: int | None = None
    ect: int | None = None

    OPTIONS = (
        Option("--ecn-tcp-remove", "", "clear the ECN bits of the TCP header", values=0),
        Option("--ecn-tcp-cwr", "bit", "set the CWR bit to 0 or 1"),
        Option("--ecn-tcp-ece", "bit", "set the ECE bit to 0 or 1"),
        Option("--ecn-ip-ect", "bits", "set the ECT bits of the IP header, 0 to 3"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "ECN", "mangle")
        only_one(given, "ECN", "--ecn-tcp-remove", "--ecn-tcp-cwr")
        only_one(given, "ECN", "--ecn-tcp-remove", "--ecn-tcp-ece")
        if not given.uses:
            fail("ECN target: An operation is required", given)
        cwr, ece, ect = (given.get(option.name) for option in cls.OPTIONS[1:])
        tcp = 0 if "--ecn-tcp-remove" in given else None
        made = cls(
            number(ece, "ECN", 0, 1) if ece else tcp,
            number(cwr, "ECN", 0, 1) if cwr else tcp,
            number(ect, "ECN", 0, 3) if ect else None,
        )
        if made.ece is not None or made.cwr is not None:
            need_protocol(given, context, "ECN", _TCP)
        return made

    def format(self, family: Family) -> list[str]:
        if self == Ecn(0, 0):
            return ["--ecn-tcp-remove"]
        words = ["--ecn-tcp-ece", str(self.ece)] if self.ece is not None else []
        words += ["--ecn-tcp-cwr", str(self.cwr)] if self.cwr is not None else []
        return words + (["--ecn-ip-ect", str(self.ect)] if self.ect is not None else [])

    def describe(self, family: Family) -> str:
        if self == Ecn(0, 0):
            return "ECN TCP remove"
        text = f" ECE={self.ece}" if self.ece is not None else ""
        text += f" CWR={self.cwr}" if self.cwr is not None else ""
        return "ECN" + text + (f" ECT codepoint={self.ect}" if self.ect is not None else "")


def _parse_tos(use: Use) -> tuple[int, int]:
    if scan_number(use.value) is None:
        return keyword(use, "TOS", _SERVICES), _SERVICE_MASK
    value_text, slash, mask_text = use.value.partition("/")
    value, mask = to_number(value_text, 0, U8), to_number(mask_text, 0, U8) if slash else U8
    if value is None or mask is None:
        fail(f'TOS: illegal value "{use.value}"', use)
    return value, mask
