"""Rules in, cells out: tests/golden/compiler/*.test beside *.cells.

`UPDATE_GOLDEN=1 pytest tests/golden` rewrites the .cells files; review the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpfilter import Family, parse_saved
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.lower import lay_out, lower_table, nesting
from bpfilter.compiler.show import show_cells

CASES = sorted((Path(__file__).parent / "compiler").glob("*.test"))
FAMILIES = {"[rules ipv4]": Family.IPV4, "[rules ipv6]": Family.IPV6}


def show(text: str, family: Family) -> str:
    table = parse_saved(text, "golden", family).table("filter")
    assert table is not None
    lowered = lower_table(table, family)
    assert not lowered.refused
    words = frozenset[tuple[str, int]]().union(*lowered.words.values())
    layout = lay_out_frame(words, family, max(nesting(lowered.chains).values()))
    return show_cells(lay_out(lowered, layout), layout, lowered.counters)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cells(path: Path) -> None:
    got = []
    family, lines = Family.IPV4, [""]
    for line in [*path.read_text().splitlines(keepends=True), "[end]\n"]:
        if line.startswith("["):
            if any(lines):
                got.append(f"[{family.name.lower()}]\n{show(''.join(lines), family)}")
            family, lines = FAMILIES.get(line.strip(), family), []
        else:
            lines.append(line)
    golden = path.with_suffix(".cells")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text("".join(got))
    assert "".join(got) == golden.read_text()
