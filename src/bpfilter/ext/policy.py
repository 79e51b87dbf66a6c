"""`-m policy`: the IPsec policy a packet came in or will go out by (libxt_policy.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass, replace
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail, host_mask
from bpfilter.rules import netdb
from bpfilter.rules.address import format_listed
from bpfilter.rules.model import Family, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, need_chains, number, to_number

_MAX_ELEMENTS = 4  # XT_POLICY_MAX_ELEM
_PROTOCOLS = (50, 51, 108)  # esp, ah, ipcomp
_MODES = ("transport", "tunnel")
# What an element may hold, in the order it is printed.
_PARTS = {
    "reqid": ("number", "its request"),
    "spi": ("number", "its security parameter index"),
    "proto": ("esp|ah|ipcomp", "its protocol"),
    "mode": ("transport|tunnel", "its mode"),
    "tunnel-dst": ("address[/mask]", "its far end"),
    "tunnel-src": ("address[/mask]", "its near end"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One property of an element: a number, a mode, or an address with its mask."""

    value: int | str | tuple[bytes, bytes]
    inverted: bool = False


Element = tuple[tuple[str, Part], ...]  # in the order of _PARTS


@match("policy")
@dataclass(frozen=True, slots=True)
class Policy(UnenforcedMatch):
    incoming: bool
    ipsec: bool = True
    strict: bool = False
    elements: tuple[Element, ...] = ()

    OPTIONS = (
        Option("--dir", "in|out", "the policy for unpacking, or for packing"),
        Option("--pol", "none|ipsec", "is there a policy of IPsec"),
        Option("--strict", "", "the elements are all that there is", values=0),
        *(
            Option(f"--{part}", *text, invertible=True, repeatable=True)
            for part, text in _PARTS.items()
        ),
        Option("--next", "", "another element begins", values=0, repeatable=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        direction, policy = given.get("--dir"), given.get("--pol")
        if direction is None:
            fail("policy: neither --dir in nor --dir out specified", given)
        incoming = _one_of(direction, "in", "out") == "in"
        made = cls(
            incoming,
            policy is None or _one_of(policy, "none", "ipsec") == "ipsec",
            "--strict" in given,
        )
        need_chains(given, context, f"policy --dir {direction.value}", *made.chains())
        elements = _parse_elements(given, context.family)
        if not made.ipsec:
            if made.strict or len(elements) > 1:
                fail("policy: policy none but --strict or a policy given", given)
            return made
        if "--next" in given and not made.strict:
            fail("policy: --next also requires --strict", given)
        for element in elements:
            _check_element(element, made.strict, given)
        return replace(made, elements=elements)

    def chains(self) -> tuple[str, ...]:
        sides = ("PREROUTING", "INPUT") if self.incoming else ("OUTPUT", "POSTROUTING")
        return "FORWARD", *sides

    def format(self, family: Family) -> list[str]:
        words = self._flags("--")
        for index, element in enumerate(self.elements):
            words += (["--next"] if index else []) + _show(element, "--", numeric=False)
        return words

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        words = ["policy match", *self._flags("")]
        for index, element in enumerate(self.elements):
            words += [f"[{index}]"] if len(self.elements) > 1 else []
            words += _show(element, "", numeric=names.numeric)
        return " ".join(words)

    def _flags(self, dash: str) -> list[str]:
        words = [f"{dash}dir", "in" if self.incoming else "out"]
        words += [f"{dash}pol", "ipsec" if self.ipsec else "none"]
        return [*words, f"{dash}strict"] if self.strict else words


def _one_of(use: Use, *names: str) -> str:
    if use.value not in names:
        fail(f'policy: invalid {use.option.name} "{use.value}"', use, " or ".join(names))
    return use.value


def _parse_elements(given: Given, family: Family) -> tuple[Element, ...]:
    elements: list[dict[str, Part]] = [{}]
    for use in given.uses:
        part = use.option.name[2:]
        if part == "next":
            elements.append({})
            if len(elements) > _MAX_ELEMENTS:
                fail("policy: maximum policy depth reached", use)
        elif part in _PARTS:
            if part in elements[-1]:
                fail(f"policy: double --{part} option", use)
            elements[-1][part] = Part(_parse_part(use, part, family), use.inverted)
    return tuple(
        tuple((part, element[part]) for part in _PARTS if part in element) for element in elements
    )


def _parse_part(use: Use, part: str, family: Family) -> int | str | tuple[bytes, bytes]:
    if part == "mode":
        return _one_of(use, *_MODES)
    if part in ("reqid", "spi"):
        return number(use, "policy")
    if part != "proto":
        return host_mask(use, "policy", family)
    protocol = to_number(use.value, 0, 255)
    if protocol is None:
        protocol = netdb.protocol_number(use.value)
    if protocol not in _PROTOCOLS:
        fail("policy: protocol must be ah/esp/ipcomp", use)
    return protocol


def _check_element(element: Element, strict: bool, given: Given) -> None:
    parts = dict(element)
    if strict and not parts:
        fail("policy: with --strict, every element needs a property", given)
    mode = parts.get("mode", Part("transport"))
    has_tunnel = "tunnel-src" in parts or "tunnel-dst" in parts
    if has_tunnel and (mode.value == "transport") != mode.inverted:
        fail("policy: --tunnel-src/--tunnel-dst is only valid in tunnel mode", given)


def _show(element: Element, dash: str, numeric: bool) -> list[str]:
    words: list[str] = []
    for name, part in element:
        text = str(part.value)
        if isinstance(part.value, tuple):
            text = format_listed(*part.value)
        elif name == "spi":
            text = f"0x{part.value:x}"
        elif name == "proto" and not numeric and isinstance(part.value, int):
            text = netdb.protocol_name(part.value) or text
        words += inverted([f"{dash}{name}", text], part.inverted)
    return words
