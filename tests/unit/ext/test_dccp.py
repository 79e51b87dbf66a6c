"""`-m dccp` (dccp_mt): ports, types, and one option."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from bpfilter.ext.dccp import TYPES
from tests.unit.ext.support import Outcome, Values, bits, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("-m dccp", "", "dccp"),
        ("--sport :", " --sport 0:65535", "dccp"),
        (
            "--dccp-option 4 ! --dccp-types SYNC,request --sport 5",
            " --sport 5 ! --dccp-types REQUEST,SYNC --dccp-option 4",
            "dccp spt:5 ! 0,8 option=4",
        ),
        (
            "--dccp-types invalid,data ! --dccp-option 0x10",
            " --dccp-types DATA,INVALID ! --dccp-option 16",
            "dccp 2,10,11,12,13,14,15 option=!16",
        ),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-p dccp {given}") == f"-p dccp -m dccp{line}"
    assert listed(f"-p dccp {given}") == text


@pytest.mark.parametrize(
    "words",
    [
        "-m dccp --sport 5",
        "-p udp -m dccp",
        "-p dccp --dccp-types foo",
        "-p dccp --dccp-types ,",
        "-p dccp --dccp-option 0",
        "-p dccp --dccp-option 256",
    ],
)
def test_refused(words: str) -> None:
    with pytest.raises(SourceError):
        parse(words)


@pytest.mark.parametrize("number", range(16))
def test_types(number: int) -> None:
    name = TYPES[min(number, 10)]
    others = ",".join(other for other in TYPES if other != name)
    values = {"dccp_type": number}
    assert decide(f"-p dccp --dccp-types {name}", values) is Outcome.MATCH
    assert decide(f"-p dccp ! --dccp-types {name}", values) is Outcome.MISS
    assert decide(f"-p dccp --dccp-types {others}", values) is Outcome.MISS
    assert decide(f"-p dccp --dccp-types {','.join(TYPES)}", values) is Outcome.MATCH


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--sport 5 ! --dport 6:7", {"sport": 5, "dport": 8}, Outcome.MATCH),
        ("--sport 5 ! --dport 6:7", {"sport": 5, "dport": 7}, Outcome.MISS),
        ("! --sport 5", {"dccp_guard": 1}, Outcome.MISS),
        ("! --sport 5", {"dccp_guard": 2}, Outcome.DROP),
        ("--dccp-option 33", {"dccp_options": bits(0, 33)}, Outcome.MATCH),
        ("--dccp-option 33", {"dccp_options": bits(0, 1, 34)}, Outcome.MISS),
        ("! --dccp-option 33", {"dccp_options": bits(33)}, Outcome.MISS),
        ("! --dccp-option 255", {"dccp_options": bits(33)}, Outcome.MATCH),
        ("--dccp-option 33", {"dccpopt_guard": 2}, Outcome.DROP),
        # DCCHECK inverts the false of a hotdrop too, and so the rule is counted.
        ("! --dccp-option 33", {"dccpopt_guard": 2}, Outcome.MATCH_DROP),
        # The option is searched only once all before it is true.
        ("--sport 5 --dccp-option 33", {"sport": 6, "dccpopt_guard": 2}, Outcome.MISS),
        ("--dccp-types ACK --dccp-option 33", {"dccpopt_guard": 2}, Outcome.MISS),
    ],
)
def test_predicate(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p dccp {given}", values) is outcome
