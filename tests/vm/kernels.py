"""The kernels tests are run on, and which tests; docs/support-matrix.md has the same list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Where a kernel can enforce rules: all that depends on its verifier, types and hooks.
ENFORCING = (
    "tests/kernel/test_loop.py",
    "tests/kernel/test_straight.py",
    "tests/kernel/test_search.py",
    "tests/kernel/test_abi.py",
    "tests/kernel/test_maps.py",
    "tests/kernel/test_program.py",
    "tests/kernel/test_netns.py",
    "tests/kernel/test_extract_bridge.py",
    "tests/kernel/test_extract_conntrack.py",
    "tests/kernel/test_extract_link.py",
    "tests/kernel/test_extract_owner.py",
    "tests/e2e/test_able_or_told.py",
    "tests/e2e/test_apply.py",
)

#: The part of it that says most in the least time.
QUICK = (
    "tests/kernel/test_loop.py",
    "tests/kernel/test_straight.py",
    "tests/kernel/test_search.py",
    "tests/kernel/test_abi.py",
    "tests/e2e/test_able_or_told.py",
    "tests/e2e/test_apply.py",
)

#: Where it cannot: that this is said, and what does not take netfilter links.
LACKING = (
    "tests/kernel/test_abi.py",
    "tests/kernel/test_maps.py",
    "tests/e2e/test_able_or_told.py",
)


@dataclass(frozen=True, slots=True)
class VmKernel:
    """A kernel by the name of the Debian release that has it, or of a directory with one.

    `series` is what its release (`uname -r`) begins with.
    """

    name: str
    series: str
    enforces: bool
    directory: Path | None = None

    def tests(self, quick: bool) -> tuple[str, ...]:
        if not self.enforces:
            return LACKING
        return QUICK if quick else ENFORCING


KERNELS = (
    VmKernel("sid", "7.", enforces=True),
    VmKernel("trixie", "6.12.", enforces=True),
    VmKernel("bookworm", "6.1.", enforces=False),
    VmKernel("bullseye", "5.10.", enforces=False),
    VmKernel(
        "bpfilter",
        "6.1.",
        enforces=False,
        directory=ROOT.parent / "shared/kernels/6.1.192-bpfilter",
    ),
)
BY_NAME = {kernel.name: kernel for kernel in KERNELS}
