"""Make a case that shows a difference small: fewer packets, fewer rules, shorter rules."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.harness.duel import Case, Duel

T = TypeVar("T")
Differs = Callable[[Case], bool]

#: Where a rule line may be cut: before each header test, match and target.
PART = re.compile(r" (?=(?:! )?-[sdiopfmjg]\b)")
USER_CHAIN = re.compile(r":\S+ - ")


def shrink(duel: Duel, case: Case, seconds: float = 60) -> Case:
    """Give the smallest case found in the time that still shows some difference."""
    deadline = time.monotonic() + seconds

    def differs(candidate: Case) -> bool:
        if time.monotonic() > deadline:
            return False
        try:
            return bool(duel.run(candidate))
        except subprocess.CalledProcessError:
            return False  # not a ruleset any more

    return smallest(case, differs)


def smallest(case: Case, differs: Differs) -> Case:
    """Drop and shorten until nothing more can go."""
    before = None
    while case != before:
        before = case
        case = fewer_packets(case, differs)
        case = fewer_lines(case, "text", lambda line: line.startswith("-A "), differs)
        case = fewer_lines(case, "text", lambda line: bool(USER_CHAIN.match(line)), differs)
        case = fewer_lines(case, "surroundings", lambda line: line.startswith("-A "), differs)
        case = shorter_rules(case, differs)
    return case


def fewer_packets(case: Case, differs: Differs) -> Case:
    def with_packets(kept: Sequence[int]) -> Case:
        return replace(case, packets=tuple(case.packets[number] for number in kept))

    kept = reduce_list(range(len(case.packets)), lambda kept: differs(with_packets(kept)))
    return with_packets(kept)


def fewer_lines(case: Case, part: str, droppable: Callable[[str], bool], differs: Differs) -> Case:
    """Drop lines of `text` or `surroundings`."""
    lines = getattr(case, part).splitlines()
    candidates = [number for number, line in enumerate(lines) if droppable(line)]

    def with_lines(kept: Sequence[int]) -> Case:
        dropped = set(candidates) - set(kept)
        rest = [line for number, line in enumerate(lines) if number not in dropped]
        joined = "\n".join([*rest, ""])
        if part == "text":
            return replace(case, text=joined)
        return replace(case, surroundings=joined)

    return with_lines(reduce_list(candidates, lambda kept: differs(with_lines(kept))))


def shorter_rules(case: Case, differs: Differs) -> Case:
    for number, line in enumerate(case.text.splitlines()):
        if line.startswith("-A "):
            case = shorter_rule(case, number, differs)
    return case


def shorter_rule(case: Case, number: int, differs: Differs) -> Case:
    lines = case.text.splitlines()
    chain, *parts = PART.split(lines[number])

    def with_parts(kept: Sequence[str]) -> Case:
        changed = [*lines[:number], " ".join([chain, *kept]), *lines[number + 1 :], ""]
        return replace(case, text="\n".join(changed))

    return with_parts(reduce_list(parts, lambda kept: differs(with_parts(kept))))


def reduce_list(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Drop ever smaller runs of `items` as long as the rest still fails (delta debugging)."""
    size = (len(items) + 1) // 2
    while size:
        start = 0
        while start < len(items):
            rest = [*items[:start], *items[start + size :]]
            if fails(rest):
                items = rest
            else:
                start += size
        size //= 2
    return items
