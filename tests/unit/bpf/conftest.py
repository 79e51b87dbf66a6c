from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.fake_kernel import FakeKernel
from tests.harness.leaks import no_leaked_descriptors


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[FakeKernel]:
    """Give a fake kernel; the test fails if it leaves descriptors open."""
    with no_leaked_descriptors():
        fake = FakeKernel(tmp_path)
        yield fake
        fake.close()
