"""Commands one after the other: what is in force is always what the kernel's iptables has."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.iptables_commands import Commands, Drawn, Said
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
STEPS = 150


@pytest.fixture(params=["iptables", "ip6tables"])
def commands(
    request: pytest.FixtureRequest, namespace: Namespace, tmp_path: Path
) -> Iterator[Commands]:
    return Commands(namespace, request.param, tmp_path / "lock")


# What libiptc says; 1.8.9 words what it says of lines in other ways.
def kind(said: Said) -> tuple[int, list[str]]:
    first = said.messages.split("\n")[0]
    first = first.replace("Index of replacement", "Index of deletion")
    libiptc = re.match(r"ip6?tables(-restore)?: ", first) is not None
    return said.status, [first] if libiptc else []


def test_many_commands(commands: Commands) -> None:
    print(f"seed {SEED}")  # noqa: T201
    drawn = Drawn(SEED, commands.name)
    done = 0
    for step in range(STEPS):
        if step % 10 == 9:
            options, text = drawn.text()
            what = f"{options}\n{text}"
            ours = commands.ours(*options, verb="restore", stdin=text)
            theirs = commands.theirs(*options, verb="restore", stdin=text)
            assert ours.status == theirs.status, (SEED, what, ours, theirs)
        else:
            words = drawn.command()
            what = " ".join(words)
            ours, theirs = commands.ours(*words), commands.theirs(*words)
            assert kind(ours) == kind(theirs), (SEED, what, ours, theirs)
        done += ours.status == 0
        print(what, ours)
        if step % 4 == 3:
            commands.send(SEED + step)
        lines = [side("-S", "-v").output for side in (commands.ours, commands.theirs)]
        assert lines[0] == lines[1], f"seed {SEED}, after {what}"
    assert done > STEPS / 4
