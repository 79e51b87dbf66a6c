"""A few seconds of the parser's fuzz target; `make fuzz-parser` goes on for a minute."""

from __future__ import annotations

import os
import random

from tests.harness.fuzz_parser import fuzz


def test_any_text_is_rules_or_an_error_with_a_place() -> None:
    seed = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
    tried, accepted = fuzz(5, seed)
    assert tried > 50
    assert accepted > 0, "nothing was accepted: the corpus is not read"
