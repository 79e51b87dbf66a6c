"""`-m hbh` and `-m dst` (hbh_mt6)."""

from __future__ import annotations

import pytest

from bpfilter.errors import RefusedError
from tests.unit.ext.support import V6, Outcome, Values, decide, parse

both = pytest.mark.parametrize("name", ["hbh", "dst"])


@both
def test_length(name: str) -> None:
    here: Values = {f"{name}_length": 24}
    assert decide(f"-m {name}", here, V6) is Outcome.MATCH
    assert decide(f"-m {name} --{name}-len 24", here, V6) is Outcome.MATCH
    assert decide(f"-m {name} ! --{name}-len 24", here, V6) is Outcome.MISS
    assert decide(f"-m {name} --{name}-len 8", here, V6) is Outcome.MISS
    assert decide(f"-m {name} --{name}-len 65560", here, V6) is Outcome.MISS
    assert decide(f"-m {name} ! --{name}-len 65560", here, V6) is Outcome.MATCH


@both
@pytest.mark.parametrize(("guard", "outcome"), [(1, Outcome.MISS), (2, Outcome.DROP)])
def test_guard_comes_before_inversion(name: str, guard: int, outcome: Outcome) -> None:
    values: Values = {f"{name}_guard": guard}
    assert decide(f"-m {name}", values, V6) is outcome
    assert decide(f"-m {name} ! --{name}-len 8", values, V6) is outcome


@both
def test_options_are_refused(name: str) -> None:
    rule = parse(f"-m {name} --{name}-opts 1", V6)
    with pytest.raises(RefusedError, match=f"'{name}' with --{name}-opts"):
        rule.matches[0].predicate(V6, rule)
