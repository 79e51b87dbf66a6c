"""`-m esp` (esp_mt)."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import Outcome, Values, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("-m esp", "-m esp", "esp"),
        ("! --espspi 0x10", "-m esp ! --espspi 16", "esp spi:!16"),
        ("--espspi 5:", "-m esp --espspi 5:4294967295", "esp spis:5:4294967295"),
        ("! --espspi :", "-m esp ! --espspi 0:4294967295", "esp spis:!0:4294967295"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-p esp {given}") == f"-p esp {line}"
    assert listed(f"-p esp {given}") == text


@pytest.mark.parametrize(
    "words", ["-m esp", "-p ah -m esp", "-p esp --espspi 4294967296", "-p esp --espspi 1:2:3"]
)
def test_refused(words: str) -> None:
    with pytest.raises(SourceError):
        parse(words)


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("-m esp", {"esp_spi": 7}, Outcome.MATCH),
        ("--espspi 5:7", {"esp_spi": 7}, Outcome.MATCH),
        ("--espspi 5:7", {"esp_spi": 8}, Outcome.MISS),
        ("! --espspi 5:7", {"esp_spi": 8}, Outcome.MATCH),
        ("! --espspi :", {"esp_spi": 6}, Outcome.MISS),
        ("! --espspi 5", {"esp_guard": 1}, Outcome.MISS),
        ("! --espspi 5", {"esp_guard": 2}, Outcome.DROP),
    ],
)
def test_predicate(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p esp {given}", values) is outcome
