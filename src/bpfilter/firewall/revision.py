"""A change of the table in force, command by command: -A, -D, -N and so on of iptables.

    rules in force → LinesDraft: lines by chain → commands → Revision → edit.py or apply.py

Each line knows which line in force it was, so that a rule keeps its counter wherever it
goes, and one that is put in begins anew though an equal one went.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.firewall.differences import Hunk
from bpfilter.firewall.lines import OPENING, TABLE, Lines, encode
from bpfilter.rules.edit import ChainDraft, ChainsDraft
from bpfilter.rules.model import TABLES, Counters, Family, Rule
from bpfilter.rules.options import RuleFormatter

#: The origin of a line that was not in force.
NEW = -1
#: Of a policy that goes on counting: no other Counters is this one.
_KEPT = Counters()


class Line(str):
    """A rule as it is kept; `counters` are those a new one begins with."""

    __slots__ = ("counters", "origin")

    origin: int
    counters: tuple[int, int]


def line(text: str, origin: int, counters: tuple[int, int] = (0, 0)) -> Line:
    """Make a line."""
    made = Line(text)
    made.origin = origin
    made.counters = counters
    return made


@dataclass(frozen=True, slots=True)
class Revision:
    """A table as it is to be: `lines` are in the order of iptables-save, and spelt so.

    `origin` says of each which line in force it was, or NEW; `begins` what new ones begin
    with, if not with zero. `policies` are the base chains, by their place in the table, whose
    counters are set.
    """

    lines: Lines
    origin: array[int]
    begins: dict[int, tuple[int, int]]
    policies: dict[int, tuple[int, int]]

    def hunks(self, old: list[bytes], most: int) -> list[Hunk] | None:
        """Give what differs from the lines in force; None if more than `most` lines do, or if
        lines that stay come in another order."""
        new = self.lines.rules()
        found: list[Hunk] = []
        hunk: Hunk | None = None
        at = offset = 0
        for number, origin in enumerate(self.origin):
            text = new[number]
            if NEW < origin < at:
                return None
            upto = at if origin == NEW else origin
            stays = origin != NEW and old[origin] == text
            if hunk is None and (upto > at or not stays):
                hunk = Hunk(at, [], number, [], offset)
                found.append(hunk)
            if hunk is not None:
                hunk.gone.extend(old[at : upto + (origin != NEW and not stays)])
                if stays:
                    hunk = None
                else:
                    hunk.come.append(text)
            at = upto + (origin != NEW)
            offset += len(text) + 1
        if at < len(old):
            if hunk is None:
                hunk = Hunk(at, [], len(new), [], offset)
                found.append(hunk)
            hunk.gone.extend(old[at:])
        differ = sum(len(each.gone) + len(each.come) for each in found)
        return found if differ <= most else None

    def text(self) -> bytes:
        """Give the table with the counters that new lines and set policies begin with."""
        if not self.begins and not self.policies:
            return self.lines.text
        declared = self.lines.head.split(b"\n")
        for at, counts in self.policies.items():
            declared[1 + at] = declared[1 + at].replace(b"[0:0]", b"[%d:%d]" % counts)
        body = self.lines.rules()
        for number, counts in self.begins.items():
            body[number] = b"[%d:%d] %b" % (*counts, body[number])
        return Lines.of(b"\n".join(declared), b"".join([each + b"\n" for each in body])).text


class LinesDraft(ChainsDraft[Line]):
    """The filter table in force, and changes of it; equal lines are equal rules."""

    def __init__(self, family: Family) -> None:
        super().__init__(TABLE, family)
        self._formatter = RuleFormatter(family, exact=True)
        for chain in self.chains.values():
            chain.counters = _KEPT
            chain.declared = True

    @classmethod
    def of(
        cls,
        family: Family,
        policies: dict[str, str],
        chains: Iterable[str],
        lines: Iterable[tuple[str, int]],
    ) -> Self:
        """Take the rules in force: policies, names of all chains, lines with their numbers."""
        draft = cls(family)
        for name in chains:
            if name in policies:
                draft.chains[name].policy = policies[name]
            else:
                draft.chains[name] = ChainDraft(name)
        rules_of = {name: chain.rules for name, chain in draft.chains.items()}
        for text, origin in lines:
            rules_of[text.split(" ", 2)[1]].append(line(text, origin))
        return draft

    def flush(self) -> None:
        """Begin with empty base chains, as iptables-restore does; policies stay."""
        for name in list(self.chains):
            if self.chains[name].policy is None:
                del self.chains[name]
            else:
                self.chains[name].rules.clear()

    def revision(self) -> Revision:
        """Give the table that came of it."""
        names = [*TABLES[TABLE], *self.own_chains()]
        chains = [self.chains[name] for name in names]
        lines = [rule for chain in chains for rule in chain.rules]
        head = [f":{chain.name} {chain.policy or '-'} [0:0]\n" for chain in chains]
        body = "".join([f"{rule}\n" for rule in lines])
        return Revision(
            Lines.of(OPENING + encode("".join(head)), encode(body)),
            array("i", [rule.origin for rule in lines]),
            {at: rule.counters for at, rule in enumerate(lines) if rule.counters != (0, 0)},
            {
                at: (chain.counters.packets, chain.counters.bytes)
                for at, chain in enumerate(chains)
                if chain.policy is not None and chain.counters is not _KEPT
            },
        )

    def _kept(self, rule: Rule, chain: str) -> Line:
        counts = rule.counters.packets, rule.counters.bytes
        text = self._formatter.line(rule, chain)
        if "\n" in text:  # of a comment, which iptables-restore would not read either
            raise RuleError("a rule with a line end in it could not be saved", rule.span)
        return line(text, NEW, counts)

    # A jump is the end of its line; no other option ends with a chain's name.
    def _jump(self, kept: Line) -> str | None:
        words = kept.rsplit(" ", 2)
        return words[2] if len(words) == 3 and words[1] in ("-j", "-g") else None

    def _renamed(self, kept: Line, old: str, new: str) -> Line:
        text = str(kept)
        if text == f"-A {old}" or text.startswith(f"-A {old} "):
            text = f"-A {new}{text[len(old) + 3 :]}"
        if self._jump(kept) == old:
            text = text[: -len(old)] + new
        return kept if text == kept else line(text, kept.origin, kept.counters)

    def _zeroed(self, kept: Line) -> Line:
        return line(kept, NEW)
