"""Each client's play is performed under iptables-legacy and under the command on trial.

BPFILTER_CLIENTS_COMMAND says which that is: `bpf`, ours, if nothing is said; `legacy`, which must
pass whatever we do, or the test is at fault; `nft`, to see what differs between those two.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpfilter.kernel import restrict
from tests.e2e.clients.host import Play, View, command_on_trial, open_host
from tests.harness.debian import FetchError
from tests.harness.debian_root import find_root
from tests.harness.sandbox import FAMILIES, Command


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.e2e)


#: By test, in how many views rules of the filter table were ours, and in how many there were any.
_shares: dict[str, tuple[int, int]] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the kernel's own tables did instead of eBPF: that passes as well."""
    if _shares:
        terminalreporter.section("filter tables enforced as eBPF")
    for name, (ours, all_of_them) in _shares.items():
        terminalreporter.write_line(f"{name}: {ours} of {all_of_them}")


@pytest.fixture(scope="session")
def root() -> Path:
    if not restrict.read_facts().has(restrict.Capability.CAP_SYS_ADMIN):
        pytest.skip("needs root on this machine")
    try:
        return find_root()
    except FetchError as error:
        pytest.fail(f"no Debian root to run clients in: {error}", pytrace=False)


@pytest.fixture
def judge(root: Path, request: pytest.FixtureRequest) -> Callable[[Play], None]:
    """Give what performs a play under both and fails with the first view that differs."""

    def perform(play: Play) -> None:
        # At the same time, each on a machine of its own: most of it is waiting.
        with ThreadPoolExecutor(2) as pool:
            commands = (Command.LEGACY, command_on_trial())
            performances = [pool.submit(_perform, play, root, command) for command in commands]
            expected, seen = (performance.result() for performance in performances)
        if command_on_trial() is Command.BPF:
            _shares[request.node.name] = _share(seen)
        assert [view.step for view in seen] == [view.step for view in expected]
        differing = [
            text for pair in zip(expected, seen, strict=True) if (text := _difference(*pair))
        ]
        if differing:
            pytest.fail("\n\n".join(differing), pytrace=False)

    return perform


def _perform(play: Play, root: Path, command: Command) -> list[View]:
    with open_host(root, command) as host:
        play(host)
        return host.views


def _share(views: list[View]) -> tuple[int, int]:
    filled = [
        family in view.ours
        for view in views
        for family in FAMILIES
        if f"{family} filter" in view.tables
    ]
    return sum(filled), len(filled)


def _difference(expected: View, seen: View) -> str:
    return "\n".join(
        difflib.unified_diff(
            expected.lines(),
            seen.lines(),
            f"{expected.step}: iptables-legacy",
            f"{seen.step}: {command_on_trial().value}",
            lineterm="",
            n=2,
        )
    )
