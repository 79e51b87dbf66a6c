from __future__ import annotations

from pathlib import Path

from tests.vm.report import Outcome, read_report

JUNIT = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4">
<testcase classname="tests.kernel.test_maps" name="test_good" time="0.1" />
<testcase classname="tests.kernel.test_maps" name="test_bad" time="0.1">
<failure message="assert 1 == 2&#10;more">long</failure></testcase>
<testcase classname="tests.kernel.test_maps" name="test_broken" time="0.1">
<error message="failed on setup">long</error></testcase>
<testcase classname="tests.kernel.test_maps" name="test_left_out" time="0.1">
<skipped type="pytest.skip" message="no such thing here">where</skipped></testcase>
</testsuite></testsuites>
"""


def test_counts_and_reasons(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(JUNIT)
    outcome = read_report(path)
    assert outcome == Outcome(
        1,
        [
            "tests.kernel.test_maps::test_bad: assert 1 == 2",
            "tests.kernel.test_maps::test_broken: failed on setup",
        ],
        ["tests.kernel.test_maps::test_left_out: no such thing here"],
    )
    assert str(outcome) == "1 passed, 2 failed, 1 skipped"
