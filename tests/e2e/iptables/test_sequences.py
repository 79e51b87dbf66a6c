"""Commands one after the other: what is in force is always what the kernel's iptables has."""

from __future__ import annotations

import os
import random

import pytest

from tests.harness.iptables_commands import Commands, Drawn, Said, Varied

pytestmark = pytest.mark.e2e

SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
STEPS = 150


# Exit status and the first line of what is said; ours may say more.
def kind(said: Said) -> tuple[int, str]:
    return said.status, said.messages.split("\n")[0].replace("(legacy)", "(bpf)")


def run(commands: Commands, drawn: Drawn, steps: int) -> None:
    done = 0
    for step in range(steps):
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
        if step % 4 == 3:
            commands.send(SEED + step)
        ours_saved, theirs_saved = commands.saved()
        assert ours_saved == theirs_saved, f"seed {SEED}, after {what}"
    assert done > steps / 4


def test_many_commands(commands: Commands) -> None:
    print(f"seed {SEED}")  # noqa: T201
    for side in (commands.ours, commands.theirs):  # from here on both count
        assert side("-P", "INPUT", "ACCEPT").status == 0
    run(commands, Drawn(SEED, commands.name), STEPS)


@pytest.mark.parametrize("rules", [60, 150, 400])
def test_on_larger_tables(apart: Commands, rules: int) -> None:
    print(f"seed {SEED}")  # noqa: T201
    drawn = Varied(SEED, apart.name, rules)
    table = drawn.table()
    for side in (apart.ours, apart.theirs):
        assert side("-c", verb="restore", stdin=table).status == 0, SEED
    run(apart, drawn, STEPS // 3)
    for words in ("-vnL", "-nL --line-numbers", "-vS"):
        ours, theirs = apart.ours(*words.split()), apart.theirs(*words.split())
        assert ours.output == theirs.output, f"seed {SEED}, {words}"
