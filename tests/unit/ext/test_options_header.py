"""`-m hbh` and `-m dst` (hbh_mt6)."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import V6, Outcome, Values, decide

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


#: Router alert of 2 bytes, Pad1, PadN of 0 bytes; the header ends there.
THREE = [3, 0x0502_0000, 0x0100_0000, 0, 0, 0, 0, 0, 0]


@both
@pytest.mark.parametrize(
    ("options", "matches"),
    [
        ("5", True),
        ("5:2", True),
        ("5:3", False),
        ("4", False),
        ("5:2,0", True),
        ("5,0,1:0", True),
        ("5,0,1:255", True),
        ("5,0,1:1", False),
        ("5,1", False),
        # The fourth is not there, whatever is asked of it.
        ("5,0,1,0", False),
    ],
)
def test_options(name: str, options: str, matches: bool) -> None:
    values: Values = {f"{name}_opts": THREE, f"{name}_length": 8}
    words = f"--{name}-opts {options}"
    outcome = Outcome.MATCH if matches else Outcome.MISS
    assert decide(f"-m {name} {words}", values, V6) is outcome
    assert decide(f"-m {name} --{name}-len 8 {words}", values, V6) is outcome
    assert decide(f"-m {name} ! --{name}-len 8 {words}", values, V6) is Outcome.MISS


@both
def test_as_many_options_as_a_rule_holds(name: str) -> None:
    asked = f"-m {name} --{name}-opts {','.join(str(kind) for kind in range(1, 17))}"
    listed = [kind << 24 | kind + 1 << 8 for kind in range(1, 17, 2)]
    assert decide(asked, {f"{name}_opts": [16, *listed]}, V6) is Outcome.MATCH
    assert decide(asked, {f"{name}_opts": [15, *listed]}, V6) is Outcome.MISS
    assert decide(asked, {f"{name}_opts": [16, *listed[:-1], 0x0F00_0000]}, V6) is Outcome.MISS
