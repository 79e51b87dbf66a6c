"""The list of kernels says what docs/support-matrix.md says, and names tests that exist."""

from __future__ import annotations

import re

from tests.vm.kernels import ENFORCING, KERNELS, LACKING, ROOT, VmKernel


def documented() -> set[tuple[str, str, bool]]:
    """Name, series and whether rules are enforced, of each row of the table."""
    text = (ROOT / "docs" / "support-matrix.md").read_text("utf-8")
    table = text.split("<!-- tested kernels -->\n", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (\d[\d.]*) \| (enforced|refused)", table, re.MULTILINE)
    assert len(rows) == table.count("\n") - 1, table
    return {(name, series, does == "enforced") for name, series, does in rows}


def test_same_as_in_the_support_matrix() -> None:
    assert {(k.name, k.series.rstrip("."), k.enforces) for k in KERNELS} == documented()


def test_all_tests_are_there() -> None:
    assert [path for path in (*ENFORCING, *LACKING) if not (ROOT / path).is_file()] == []


def test_a_kernel_is_run_what_it_can() -> None:
    assert VmKernel("new", "9.", enforces=True).tests(quick=False) == ENFORCING
    assert set(VmKernel("new", "9.", enforces=True).tests(quick=True)) < set(ENFORCING)
    assert VmKernel("old", "4.", enforces=False).tests(quick=True) == LACKING
