"""`-m owner` (owner_mt)."""

from __future__ import annotations

import pytest

from tests.unit.ext.placed import Place
from tests.unit.ext.support import Outcome, Values

OUTPUT = Place("filter", "OUTPUT")

NO_SOCKET: Values = {}
NO_FILE: Values = {"owner_socket": 1}


def owned(uid: int, gid: int = 0) -> Values:
    return {"owner_socket": 1, "owner_file": 1, "owner_uid": uid, "owner_gid": gid}


@pytest.mark.parametrize(
    ("words", "values", "matches"),
    [
        ("--uid-owner 5", owned(5), True),
        ("--uid-owner 5", owned(6), False),
        ("! --uid-owner 5-7", owned(6), False),
        ("! --uid-owner 5-7", owned(8), True),
        ("--uid-owner 5-7 --gid-owner 1", owned(7, 1), True),
        ("--uid-owner 5-7 --gid-owner 1", owned(7, 2), False),
        ("--uid-owner 5-7 ! --gid-owner 1", owned(7, 2), True),
        ("--uid-owner 5-7 ! --gid-owner 1", owned(4, 2), False),
        # What is missing matches what is asked inverted, and nothing else.
        ("--uid-owner 0", NO_FILE, False),
        ("! --uid-owner 0", NO_FILE, True),
        ("! --uid-owner 0 --gid-owner 0", NO_FILE, False),
        ("! --uid-owner 0 ! --gid-owner 0", NO_FILE, True),
        ("--uid-owner 0", NO_SOCKET, False),
        ("! --uid-owner 0", NO_SOCKET, True),
        ("! --uid-owner 0 --gid-owner 0", NO_SOCKET, False),
        ("--socket-exists", NO_SOCKET, False),
        ("--socket-exists", NO_FILE, True),
        ("--socket-exists", owned(1), True),
        ("! --socket-exists", NO_SOCKET, True),
        ("! --socket-exists", NO_FILE, False),
        ("! --socket-exists ! --uid-owner 0", NO_SOCKET, True),
        ("! --socket-exists --uid-owner 0", NO_SOCKET, False),
        ("! --socket-exists ! --uid-owner 0", NO_FILE, False),
        ("--socket-exists ! --uid-owner 0", NO_SOCKET, False),
        ("--socket-exists ! --uid-owner 0", NO_FILE, True),
        ("--socket-exists --uid-owner 3", owned(3), True),
        # Supplementary groups are asked of the socket, `!` or not.
        ("! --gid-owner 5 --suppl-groups", NO_FILE, True),
        ("! --gid-owner 5 --suppl-groups", NO_SOCKET, False),
        ("! --gid-owner 5 ! --socket-exists --suppl-groups", NO_SOCKET, False),
    ],
)
def test_predicate(words: str, values: Values, matches: bool) -> None:
    decided = OUTPUT.decide(f"-m owner {words}", values)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)


@pytest.mark.parametrize(
    ("words", "groups", "matches"),
    [
        ("--gid-owner 5 --suppl-groups", [], False),
        ("--gid-owner 5 --suppl-groups", [1, 6], False),
        ("--gid-owner 5 --suppl-groups", [1, 5], True),
        ("--gid-owner 5", [1, 5], False),
        ("--gid-owner 2-5 --suppl-groups", [1, 3, 9], True),
        ("! --gid-owner 2-5 --suppl-groups", [1, 3, 9], False),
        ("! --gid-owner 2-5 --suppl-groups", [1, 9], True),
        ("--gid-owner 0 --suppl-groups", [1, 9], True),  # the group itself
        ("--uid-owner 7 --gid-owner 9 --suppl-groups", [1, 9], True),
        ("--uid-owner 9 --gid-owner 9 --suppl-groups", [1, 9], False),
        ("--uid-owner 1 --gid-owner 9 --suppl-groups", [1, 9], False),
        ("! --uid-owner 1 ! --gid-owner 9 --suppl-groups", [1, 8], True),
        ("! --uid-owner 1 ! --gid-owner 9 --suppl-groups", [1, 9], False),
    ],
)
def test_supplementary_groups(words: str, groups: list[int], matches: bool) -> None:
    values = {**owned(7), "owner_groups": groups}
    assert OUTPUT.decide(f"-m owner {words}", values) is (
        Outcome.MATCH if matches else Outcome.MISS
    )
