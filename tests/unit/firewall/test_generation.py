"""State files: written, read, and refused when they are something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfilter.errors import StateError
from bpfilter.firewall.generation import Generation, LoadedProgram, read_generation
from bpfilter.rules.model import Family

GENERATION = Generation(
    family=Family.IPV6,
    slot=2,
    source="rules.v6",
    policies={"INPUT": "DROP"},
    seed=False,
    applied_at=1.5,
    load_s=0.25,
    rules=3,
    ordered=False,
    traced=False,
    canonical=False,
    cells=9,
    words=4,
    counters_per_cpu=6,
    cpus=2,
    needs_conntrack=True,
    lineage="0123456789abcdef",
    free=(8, 5),
    unused=9,
    programs=(LoadedProgram("INPUT", 7, 100, 800, 600, 5000),),
)


def test_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(GENERATION.to_json())
    assert read_generation(path) == GENERATION
    assert read_generation(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 4}',
        '{"version": 99}',
        '"x"',
        '{"version": 4, "a": 2}',
        "\0",
    ],
)
def test_something_else_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(StateError, match=r"a\.json"):
        read_generation(path)
