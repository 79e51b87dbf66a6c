"""iptables-bpf beside iptables-legacy 1.8.11, which is in the Debian root of the clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.debian import FetchError
from tests.harness.debian_root import find_root
from tests.harness.iptables_commands import Commands
from tests.harness.netns import Namespace
from tests.harness.sandbox import Command, Sandbox


@pytest.fixture(scope="session")
def root() -> Path:
    try:
        return find_root()
    except FetchError as error:
        pytest.fail(f"no Debian root with iptables 1.8.11: {error}", pytrace=False)


@pytest.fixture
def judge(root: Path, namespace: Namespace) -> Iterator[Sandbox]:
    made = Sandbox.open(root, namespace, Command.LEGACY)
    yield made
    made.close()


@pytest.fixture(params=["iptables", "ip6tables"])
def commands(
    request: pytest.FixtureRequest, namespace: Namespace, judge: Sandbox, tmp_path: Path
) -> Commands:
    return Commands(namespace, request.param, judge, tmp_path / "lock")


@pytest.fixture(params=["iptables", "ip6tables"])
def apart(
    request: pytest.FixtureRequest, namespace: Namespace, root: Path, tmp_path: Path
) -> Iterator[Commands]:
    """Give the same, but theirs in another namespace, where packets meet none of ours."""
    with Namespace("two") as other:
        other.run("ip", "link", "set", "lo", "up")
        judge = Sandbox.open(root, other, Command.LEGACY)
        yield Commands(namespace, request.param, judge, tmp_path / "lock", other)
        judge.close()
