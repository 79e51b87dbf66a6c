"""What the tests in a guest came to, from the JUnit file that pytest writes there."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Outcome:
    """Counts of tests; `failures` and `skips` have a line for each."""

    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def __iadd__(self, other: Outcome) -> Outcome:
        self.passed += other.passed
        self.failures += other.failures
        self.skips += other.skips
        return self

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failures)} failed, {len(self.skips)} skipped"


def read_report(path: Path) -> Outcome:
    """Read a JUnit file."""
    outcome = Outcome()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = case.find("failure")
        if bad is None:
            bad = case.find("error")
        skip = case.find("skipped")
        if bad is not None:
            outcome.failures.append(f"{name}: {_first_line(bad)}")
        elif skip is not None:
            outcome.skips.append(f"{name}: {_first_line(skip)}")
        else:
            outcome.passed += 1
    return outcome


def _first_line(element: ElementTree.Element) -> str:
    return (element.get("message") or element.text or "").strip().partition("\n")[0]
