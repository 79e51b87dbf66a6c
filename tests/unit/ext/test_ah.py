"""`-m ah`: one match of the name for each family (ah_mt, ah_mt6)."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import V4, V6, Outcome, Values, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("-m ah", "-m ah", "ah "),
        ("--ahspi 5", "-m ah --ahspi 5", "ah spi:5"),
        ("! --ahspi 5:9", "-m ah ! --ahspi 5:9", "ah spis:!5:9"),
        ("! --ahspi :", "-m ah ! --ahspi 0:4294967295", "ah spis:!0:4294967295"),
    ],
)
def test_text_v4(given: str, line: str, text: str) -> None:
    assert saved(f"-p ah {given}") == f"-p ah {line}"
    assert listed(f"-p ah {given}") == text


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("", "", "ah "),
        (
            "--ahres ! --ahlen 5 --ahspi 5:9",
            " --ahspi 5:9 ! --ahlen 5 --ahres",
            "ah spis:5:9length:!5 reserved",
        ),
        ("--ahres", " --ahres", "ah  reserved"),
        ("--ahlen 0", "", "ah "),
        ("! --ahlen 0", " ! --ahlen 0", "ah length:!0"),
    ],
)
def test_text_v6(given: str, line: str, text: str) -> None:
    assert saved(f"-m ah {given}", V6) == f"-m ah{line}"
    assert listed(f"-m ah {given}", V6) == text


@pytest.mark.parametrize(
    ("words", "family"),
    [
        ("-m ah", V4),
        ("-p esp -m ah", V4),
        ("-p ah -m ah --ahres", V4),
        ("-m ah ! --ahres", V6),
        ("-m ah --ahlen 5:6", V6),
        ("-m ah --ahlen 4294967296", V6),
    ],
    ids=str,
)
def test_refused(words: str, family: object) -> None:
    with pytest.raises(SourceError):
        parse(words, V4 if family is V4 else V6)


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--ahspi 5:7", {"ah_spi": 7}, Outcome.MATCH),
        ("! --ahspi 5:7", {"ah_spi": 7}, Outcome.MISS),
        ("! --ahspi 5:7", {"ah_guard": 1}, Outcome.MISS),
        ("! --ahspi 5:7", {"ah_guard": 2}, Outcome.DROP),
    ],
)
def test_predicate_both(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p ah {given}", values) is outcome
    assert decide(f"-m ah {given}", values, V6) is outcome


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--ahlen 24", {"ah_length": 24}, Outcome.MATCH),
        ("--ahlen 24", {"ah_length": 16}, Outcome.MISS),
        ("! --ahlen 24", {"ah_length": 16}, Outcome.MATCH),
        ("! --ahlen 0", {"ah_length": 16}, Outcome.MATCH),
        ("! --ahlen 65560", {"ah_length": 24}, Outcome.MATCH),
        ("--ahlen 65560", {"ah_length": 24}, Outcome.MISS),
        ("--ahres", {"ah_reserved": 0}, Outcome.MATCH),
        ("--ahres", {"ah_reserved": 0x100}, Outcome.MISS),
    ],
)
def test_predicate_v6(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-m ah {given}", values, V6) is outcome
