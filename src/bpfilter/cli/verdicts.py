"""How `bpfilter check` prints what became of packets."""

from __future__ import annotations

import json
from collections import Counter
from typing import Protocol

from bpfilter.simulate.describe import describe
from bpfilter.simulate.packet import Packet
from bpfilter.simulate.run import Result, Step

Notes = tuple[str, ...]


class Report(Protocol):
    """`notes` say what was assumed of a packet."""

    def packet(self, text: str, result: Result, notes: Notes) -> None: ...
    def captured(self, number: int, packet: Packet, result: Result, notes: Notes) -> None: ...
    def skipped(self, number: int, reason: str) -> None: ...
    def summary(self) -> None: ...


class TextReport:
    """For people: the whole path of a written packet, a line for each captured one."""

    def __init__(self) -> None:
        self._verdicts: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._notes: dict[str, None] = {}

    def packet(self, text: str, result: Result, notes: Notes) -> None:
        print(f"{result.verdict}  {text}")
        places = [_place(step) for step in result.path]
        width = max(map(len, places), default=0)
        for place, step in zip(places, result.path, strict=True):
            perhaps = "  (perhaps)" if step.doubt else ""
            print(f"    {place:{width}}  {step.text}{perhaps}")
        for line in (result.reason, f"assumed: {', '.join(notes)}" if notes else ""):
            if line:
                print(f"    ({line})")

    def captured(self, number: int, packet: Packet, result: Result, notes: Notes) -> None:
        self._verdicts[result.verdict] += 1
        self._notes.update(dict.fromkeys(notes))
        path = ", ".join(map(_place, result.path)) or f"{result.hook.name} no rule"
        reason = f"; {result.reason}" if result.reason else ""
        print(f"{number:>6}  {result.verdict:<9}  {describe(packet)}  ({path}{reason})")

    def skipped(self, number: int, reason: str) -> None:  # noqa: ARG002 - the summary counts
        self._skipped[reason] += 1

    def summary(self) -> None:
        counted = ", ".join(f"{count} {verdict}" for verdict, count in self._verdicts.items())
        print(f"{self._verdicts.total()} packets: {counted or 'none'}")
        for reason, count in self._skipped.items():
            print(f"{count} frames not checked: {reason}")
        if self._notes:
            print(f"assumed: {', '.join(self._notes)}")


class JsonReport:
    """For programs: a JSON object in a line for each packet, and one for each frame skipped."""

    def packet(self, text: str, result: Result, notes: Notes) -> None:
        _print({"packet": text, **_plain(result, notes)})

    def captured(self, number: int, packet: Packet, result: Result, notes: Notes) -> None:
        _print({"number": number, "packet": describe(packet), **_plain(result, notes)})

    def skipped(self, number: int, reason: str) -> None:
        _print({"number": number, "skipped": reason})

    def summary(self) -> None:
        """Print nothing: the lines have it all."""


def _place(step: Step) -> str:
    return f"{step.chain} {step.number or 'policy'}"


def _plain(result: Result, notes: Notes) -> dict[str, object]:
    return {
        "hook": result.hook.name,
        "verdict": result.verdict,
        "reason": result.reason,
        "path": [
            {
                "chain": step.chain,
                "number": step.number,
                "rule": step.text,
                "doubt": step.doubt,
            }
            for step in result.path
        ],
        "assumed": list(notes),
    }


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line, ensure_ascii=False))
