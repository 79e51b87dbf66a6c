"""What is true of all lines of a frame: found out by putting probes where its holes are.

If a frame with probes reads as the rule of its first line does, but for the probes, which
are in the right places, then any line of it reads so, with its own values. What is made of
that rule, with the probes taken out again, is a template for what is made of them all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from bpfilter.dataclass import dataclass
from bpfilter.errors import SourceError
from bpfilter.rules import frames
from bpfilter.rules.address import parse_addresses
from bpfilter.rules.frames import HOLE, SLOTS, Frames
from bpfilter.rules.listing import Columns
from bpfilter.rules.model import Address, Family, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Word
from bpfilter.rules.shapes import value_of, with_values

#: Reads a line: its chain, and the rule. Raises: SourceError.
Reader = Callable[[str], tuple[str, Rule]]

_PROBES: dict[str, tuple[str, tuple[int, int] | str]] = {
    frames.SPORT: ("40001", (40001, 40001)),
    frames.DPORT: ("40003", (40003, 40003)),
    frames.SPORTS: ("40001:40002", (40001, 40002)),
    frames.DPORTS: ("40003:40004", (40003, 40004)),
    frames.COMMENT: ('"a probe"', "a probe"),
}
_ADDRESSES = {
    Family.IPV4: {frames.SOURCE: "198.51.100.7/32", frames.DESTINATION: "203.0.113.9/32"},
    Family.IPV6: {frames.SOURCE: "2001:db8::7/128", frames.DESTINATION: "2001:db8::9/128"},
}
# Ports from here on are none: they stand for holes.
_NO_PORT = 1 << 16


@dataclass(slots=True, eq=False)
class Frame:
    """A frame, with its first line, which is one of `chain`.

    `rule` is its rule with probes; None if that does not stand for all lines, or was not
    looked at. `template` makes what is asked for, by str.format with a line's chain and then
    its values in the order of `holes`.
    """

    text: str
    chain: str
    line: str
    several: bool = False
    holes: str = ""
    rule: Rule | None = None
    template: str = ""


def probe(frame: Frame, family: Family, targets: Collection[str], read: Reader) -> Rule | None:
    """Give the rule of a frame with probes in its holes, None if it does not stand for all."""
    slots = [SLOTS[hole] for hole in frame.holes]
    if len(set(slots)) < len(slots):
        return None
    probes = {hole: _probe(hole, frame, family, targets) for hole in frame.holes}
    rest = HOLE.sub(lambda found: probes[found[0]][0], frame.text)
    try:
        _, rule = read(with_chain(rest, frame.chain))
    except SourceError:
        return None
    _, first = read(frame.line)
    values = {slot: value_of(first, slot) for slot in slots}
    found = {hole: value_of(rule, SLOTS[hole]) for hole in frame.holes}
    if None in values.values() or any(found[hole] != probes[hole][1] for hole in found):
        return None
    again = with_values(rule, values)
    return rule if (again, again.any_protocol) == (first, first.any_protocol) else None


def with_chain(text: str, chain: str) -> str:
    """Give the line of a chain that was cut into `text` (or what stands for it)."""
    return f"-A {chain}{text[3:]}"


def line_template(frame: Frame, line: str, family: Family, targets: Collection[str]) -> str:
    """Give the template of written lines, given that of the rule with probes; none if a probe
    is in no place where values are cut out."""
    (text,) = Frames([line], family, targets).texts
    if sorted(HOLE.findall(text)) != sorted(frame.holes):
        return ""
    return as_template(text, frame.holes)


def as_template(text: str, holes: str) -> str:
    """Give the template which makes the lines of a frame of it."""
    return with_chain(_filled_in(text, holes), "{0}")


def row_template(frame: Frame, rule: Rule, columns: Columns) -> str:
    """Give the template of a listing's rows, but for the columns that count."""
    marks = {SLOTS[hole]: mark for hole in frame.holes if (mark := _mark(hole)) is not None}
    marked = with_values(rule, marks)
    front = columns.front(marked)
    for hole in (frames.JUMP, frames.GOTO):
        front = front.replace(f"{hole:<9s}", hole)
    text = _filled_in(front, frame.holes, {frames.JUMP: "<9s", frames.GOTO: "<9s"})
    for hole, address in (
        (frames.SOURCE, rule.source),
        (frames.DESTINATION, rule.destination),
    ):
        text += _cell(hole, address, frame.holes, columns)
    return text + _filled_in(columns.description(marked), frame.holes)


class HoleNames(Names):
    """Numbers as they are, but for ports that stand for holes."""

    def ports(self, low: int, high: int, protocol: str) -> str:
        return chr(low - _NO_PORT) if low >= _NO_PORT else super().ports(low, high, protocol)


def _probe(
    hole: str, frame: Frame, family: Family, targets: Collection[str]
) -> tuple[str, object]:
    if hole in (frames.JUMP, frames.GOTO):
        name = next((name for name in targets if name != frame.chain), frame.chain)
        return name, name
    if hole in _ADDRESSES[family]:
        text = _ADDRESSES[family][hole]
        (address,) = parse_addresses(Word(text), family)
        return text, (address.value, address.mask)
    return _PROBES[hole]


# A value that shows where it is listed; addresses are put in their columns.
def _mark(hole: str) -> Any:
    if hole in (frames.SOURCE, frames.DESTINATION):
        return None
    if hole in (frames.COMMENT, frames.JUMP, frames.GOTO):
        return hole
    low = _NO_PORT + ord(hole)
    return low, low + (hole in (frames.SPORTS, frames.DPORTS))


def _cell(hole: str, address: Address | None, holes: str, columns: Columns) -> str:
    if address is None or hole not in holes:
        return _filled_in(columns.address(address), "")
    sign = "!" if address.inverted else " "
    return f"{sign}{_filled_in(hole, holes, {hole: '<19s'})} "


# Puts fields of str.format for holes.
def _filled_in(text: str, holes: str, forms: dict[str, str] | None = None) -> str:
    text = text.replace("{", "{{").replace("}", "}}")
    for index, hole in enumerate(holes, 1):
        form = (forms or {}).get(hole, "")
        text = text.replace(hole, f"{{{index}:{form}}}" if form else f"{{{index}}}")
    return text
