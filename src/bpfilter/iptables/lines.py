"""The lines of a table, taken one by one on top of what is in force: `--noflush`, `-v`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfilter.errors import RuleError, SourceError
from bpfilter.firewall.revision import LinesDraft
from bpfilter.iptables.names import look_up
from bpfilter.rules.draft import Command
from bpfilter.rules.model import Counters
from bpfilter.rules.saved import ChainLine, SavedLines
from bpfilter.rules.telling import tell_command
from bpfilter.source import Span

if TYPE_CHECKING:
    from bpfilter.iptables.restore import How, Section


def take_lines(
    draft: LinesDraft, section: Section, how: How, program: str, tell: Callable[[str], object]
) -> None:
    """Do what a section's lines say; `tell` is told of each, if that is asked for.

    Raises: SourceError with the line's place.
    """
    chains = draft.chains
    if not how.noflush:
        if how.verbose:
            for letter in "FX":
                tell(tell_command(Command(letter), chains.values(), draft.family))
        draft.flush()
    reader = SavedLines(
        program, draft.family, draft.name, chains, counted=how.counters, look_up=look_up
    )
    for number, text in enumerate(section.body(), section.first + 1):
        line = text.decode("utf-8", "surrogateescape")
        if line.startswith("#") and how.verbose:
            tell(f"{line}\n")
        try:
            found = reader.read(line, number)
            if isinstance(found, ChainLine):
                _declare(draft, found, how)
            elif found is not None:
                if how.verbose and not how.noflush:
                    tell(tell_command(found, chains.values(), draft.family))
                draft.apply(found, reader.span(line, number))
        except SourceError as error:
            if error.span is None or error.span.name != program:
                error.span = Span(program, number, 1, len(line) + 1, line)
            raise


# A user chain that is there is flushed, whatever rules lead to it.
def _declare(draft: LinesDraft, found: ChainLine, how: How) -> None:
    chain = draft.chains.get(found.name)
    if chain is not None and chain.policy is None and how.noflush:
        chain.rules.clear()
    elif chain is not None and chain.policy is None:
        raise RuleError(f"error creating chain '{found.name}':File exists")
    elif chain is None:
        draft.add_chain(found.name)
    if found.policy != "-":
        counters = found.counters if how.counters else Counters()
        draft.set_policy(found.name, found.policy, counters)
