"""What a guest's files say of it, with no guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import guest
from tests.vm.kernels import ROOT, VmKernel

KERNEL = VmKernel("trixie", "6.12.", enforces=True)
REPORT = "<testsuites><testsuite><testcase classname='t' name='t' /></testsuite></testsuites>"


@pytest.mark.parametrize(
    ("release", "imported", "trouble"),
    [
        ("6.12.1", str(ROOT / "src/bpfilter/__init__.py"), ""),
        (
            "6.12.1",
            "/usr/lib/bpfilter/__init__.py",
            f"it tests /usr/lib/bpfilter/__init__.py, not {ROOT}",
        ),
        ("6.12.1", "", f"it tests nothing, not {ROOT}"),
        ("6.1.1", "", "its release was to begin with 6.12."),
        ("", "", "it did not boot: no such disk"),
    ],
)
def test_only_this_checkout_under_the_right_kernel_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str, imported: str, trouble: str
) -> None:
    def boot(image: Path, shared: Path, script: Path, limit_s: float) -> str:
        for name, text in (("release", release), ("imported", imported), ("report.xml", REPORT)):
            (shared / name).write_text(f"{text}\n")
        return "no such disk\n"

    monkeypatch.setattr(guest, "_boot", boot)
    visit = guest.run_tests(KERNEL, Path("/vmlinuz"), tmp_path, 60)
    assert (visit.release, visit.trouble) == (release, trouble)
    assert visit.outcome.passed == (not trouble)
