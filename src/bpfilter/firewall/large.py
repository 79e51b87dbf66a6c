"""Large rulesets: read into columns, compiled from these, and kept as the lines they came in."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np

from bpfilter.compiler.bulk import compile_bulk
from bpfilter.compiler.target import Target
from bpfilter.dataclass import replace
from bpfilter.errors import BuildError
from bpfilter.firewall import counters, traits
from bpfilter.firewall.change import starts_plainly
from bpfilter.firewall.lines import TABLE, Lines, encode, head, without_counters
from bpfilter.firewall.policies import Policies, declare
from bpfilter.firewall.prepare import Prepared, Readable, policies_of
from bpfilter.rules.bulk import BulkTable, Slot, read_bulk
from bpfilter.rules.model import Family
from bpfilter.source import Span

_U64 = (1 << 64) - 1
#: The columns of a slot, and at which of its words (traits.py) each begins.
_COLUMNS: dict[Slot, tuple[tuple[str, int], ...]] = {
    Slot.SOURCE: (("source", 0), ("source_mask", 4)),
    Slot.DESTINATION: (("destination", 0), ("destination_mask", 4)),
    Slot.SPORTS: (("sports", 0),),
    Slot.DPORTS: (("dports", 0),),
}

#: So many rules in chains too short to be searched are better off as straight-line code.
FEW = 500


class LargeRules:
    """A table in columns; `otherwise` reads it rule by rule, for what columns cannot do.

    `canonical` is its text known to be as iptables-save writes it.
    """

    def __init__(
        self, bulk: BulkTable, otherwise: Callable[[], Readable], canonical: bool = False
    ) -> None:
        self.bulk = bulk
        self.canonical = canonical
        self.undeclared = bulk.undeclared
        self.otherwise = otherwise

    def compile(self, policies: Policies, target: Target) -> Prepared:
        """Raises: as `compile_table`."""
        bulk = replace(self.bulk, chains=declare(self.bulk.chains, policies))
        try:
            compiled = compile_bulk(bulk, target)
        except BuildError:  # chains nested too deep for it, or more than an index can name
            return self.otherwise().compile(policies, target)
        if not compiled.indexes and len(bulk) <= FEW:
            return self.otherwise().compile(policies, target)
        return Prepared(
            compiled,
            Lines.of(head(bulk.chains), _body(bulk)),
            _order(bulk),
            _written(bulk),
            policies_of(bulk.chains),
            len(bulk),
            _traits(bulk),
            self.canonical,
            compiled.layout if _is_plain(bulk) else b"",
        )


def read_large(
    text: bytes | str,
    name: str,
    family: Family,
    otherwise: Callable[[], Readable],
    canonical: bool = False,
) -> LargeRules | None:
    """Read a text into columns; None if it is better read rule by rule, or has faults."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    tables = read_bulk(text, name, family) or {}
    if [name for name, table in tables.items() if len(table)] != [TABLE]:
        return None
    return LargeRules(tables[TABLE], otherwise, canonical)


# Whether all lines start with `-A CHAIN`: other lines of a shape that has the chain in a slot do.
def _is_plain(bulk: BulkTable) -> bool:
    return all(
        Slot.CHAIN in shape.slots or _starts_plainly(shape.rule.span, shape.chain)
        for shape in bulk.shapes
    )


def _starts_plainly(span: Span | None, chain: str) -> bool:
    return span is not None and starts_plainly(without_counters(encode(span.text)), chain)


def _body(bulk: BulkTable) -> bytes:
    data, ends = bulk.text.data, bulk.text.ends
    numbers = np.sort(bulk.line)
    starts, stops = ends[numbers - 2] + 1, ends[numbers - 1] + 1
    if int(numbers[-1] - numbers[0]) + 1 == len(numbers):
        body = data[int(starts[0]) : int(stops[-1])]
    else:
        places = zip(starts.tolist(), stops.tolist(), strict=True)
        body = b"".join([data[start:stop] for start, stop in places])
    return without_counters(body) if body.startswith(b"[") or b"\n[" in body else body


def _order(bulk: BulkTable) -> array[int] | None:
    rows = np.argsort(bulk.line, kind="stable")
    if np.array_equal(rows, np.arange(len(rows))):
        return None
    return array("I", (rows + counters.FIRST_RULE).astype(np.uint32).tobytes())


# As traits.trait gives them, line by line.
def _traits(bulk: BulkTable) -> array[int]:
    shapes = [traits.kind(shape.rule) for shape in bulk.shapes]
    for slot in _COLUMNS:
        for number, shape in enumerate(bulk.shapes):
            if slot not in shape.slots:
                shapes[number] += traits.part(shape.rule, slot)
    total = np.array([number & _U64 for number in shapes], np.uint64)[bulk.shape]
    names = np.array([traits.number(name) for name in [*bulk.names, ""]], np.uint64)
    names[-1] = 0  # of those without a jump
    for slot, column in ((Slot.CHAIN, bulk.chain), (Slot.TARGET, bulk.jump)):
        total += names[column] * np.uint64(traits.MULTIPLIERS[slot][0])
    for slot, columns in _COLUMNS.items():
        for name, first in columns:
            words = getattr(bulk, name)
            for word in range(words.shape[1]):
                multiplier = np.uint64(traits.MULTIPLIERS[slot][first + word])
                total += words[:, word].astype(np.uint64) * multiplier
    order = np.argsort(bulk.line, kind="stable")
    return array("Q", total[order].tobytes())


def _written(bulk: BulkTable) -> bytes:
    policies = [chain.counters for chain in bulk.chains if chain.policy is not None]
    return counters.of_policies(policies) + bulk.counters.tobytes()
