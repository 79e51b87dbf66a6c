"""Rulesets for these tests: a few rules of table filter."""

from __future__ import annotations

from bpfilter.rules.model import Family, Ruleset
from bpfilter.rules.saved import parse_saved
from bpfilter.simulate.run import Result, Simulator

V4, V6 = Family.IPV4, Family.IPV6


def ruleset(*rules: str, family: Family = V4, policy: str = "DROP") -> Ruleset:
    """Make a ruleset; a rule that begins with `:` declares a chain."""
    chains = [f":{name} {policy} [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")]
    chains += [f"{rule} - [0:0]" for rule in rules if rule.startswith(":")]
    lines = ["*filter", *chains, *(rule for rule in rules if not rule.startswith(":")), "COMMIT"]
    return parse_saved("\n".join(lines) + "\n", "rules", family)


def simulator(*rules: str, family: Family = V4, **settings: object) -> Simulator:
    return Simulator(ruleset(*rules, family=family), **settings)  # type: ignore[arg-type]


def places(result: Result) -> list[str]:
    """Give the path as `CHAIN number`, 0 for a policy."""
    return [f"{step.chain} {step.number}" for step in result.path]
