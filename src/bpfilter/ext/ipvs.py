"""`-m ipvs`: the virtual service a connection belongs to (libxt_ipvs.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail, host_mask
from bpfilter.ext.ranges import any_port
from bpfilter.rules import netdb
from bpfilter.rules.address import format_listed
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, to_number

_CHOICES = {"--vdir": ("ORIGINAL", "REPLY"), "--vmethod": ("GATE", "IPIP", "MASQ")}


@match("ipvs")
@dataclass(frozen=True, slots=True)
class Ipvs(UnenforcedMatch):
    """`tests` has (option, value as it is saved, inverted), in the order iptables saves them.

    With none, the packet is, or with `outside` is not, of a connection of IPVS.
    """

    tests: tuple[tuple[str, str, bool], ...] = ()
    outside: bool = False

    OPTIONS = (
        Option("--ipvs", "", "the packet is of a connection of IPVS", values=0, invertible=True),
        Option("--vproto", "protocol", "the service's protocol", invertible=True),
        Option("--vaddr", "address[/mask]", "the service's address", invertible=True),
        Option("--vport", "port", "the service's port", invertible=True),
        Option("--vdir", "ORIGINAL|REPLY", "the direction of the packet"),
        Option("--vmethod", "GATE|IPIP|MASQ", "how it is forwarded", invertible=True),
        Option("--vportctl", "port", "the port of the controlling connection", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            fail("IPVS: At least one option is required", given)
        tests = []
        for option in cls.OPTIONS[1:]:
            use = given.get(option.name)
            if use is not None:
                tests.append((option.name, _value(use, context.family), use.inverted))
        plain = given.get("--ipvs")
        outside = plain is not None and plain.inverted
        if outside and tests:
            fail("! --ipvs cannot be together with other options", given)
        return cls(tuple(tests), outside)

    def format(self, family: Family) -> list[str]:
        return self._words("--")

    def describe(self, family: Family) -> str:
        return " ".join(self._words(""))

    def _words(self, dash: str) -> list[str]:
        if not self.tests:
            return inverted([f"{dash}ipvs"], self.outside)
        words = []
        for option, value, is_inverted in self.tests:
            words += inverted([option.replace("--", dash), value], is_inverted)
        return words


def _value(use: Use, family: Family) -> str:
    name = use.option.name
    if name in _CHOICES:
        value = use.value.upper()
        if value not in _CHOICES[name]:
            fail(f'ipvs: Bad value for "{name}" option: "{use.value}"', use)
        return value
    if name == "--vaddr":
        return format_listed(*host_mask(use, "ipvs", family))
    if name == "--vproto":
        number = to_number(use.value, 0, 255)
        number = netdb.protocol_number(use.value.lower()) if number is None else number
        if number is None:
            fail(f'unknown protocol "{use.value}" specified', use)
        return str(number)
    return str(any_port(use.value, use.words[0]))
