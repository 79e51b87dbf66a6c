"""A namespace of the test's own with loopback up, and a firewall in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpfilter import Family, Firewall
from tests.harness.netns import Namespace


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace("one") as made:
        made.run("ip", "link", "set", "lo", "up")
        yield made
        firewall = Firewall(str(made.path))
        for family in Family:
            firewall.clear(family)
            firewall.mark(family, None)
        assert not firewall.status().in_force


@pytest.fixture
def firewall(namespace: Namespace) -> Firewall:
    return Firewall(str(namespace.path))
