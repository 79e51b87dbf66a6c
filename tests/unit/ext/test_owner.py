"""`-m owner` (owner_mt)."""

from __future__ import annotations

import pytest

from bpfilter.errors import RefusedError
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
    ],
)
def test_predicate(words: str, values: Values, matches: bool) -> None:
    decided = OUTPUT.decide(f"-m owner {words}", values)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)


def test_supplementary_groups_are_refused() -> None:
    rule = OUTPUT.parse("-m owner --gid-owner 0 --suppl-groups")
    with pytest.raises(RefusedError, match="'owner' with --suppl-groups"):
        rule.matches[0].predicate(OUTPUT.family, rule)
