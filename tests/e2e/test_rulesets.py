"""Real rulesets: the filter table is enforced, or refused rule by rule with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bpfilter import Firewall
from bpfilter.compiler.lower import lower_table
from bpfilter.rules.listing import list_rules
from bpfilter.rules.model import Ruleset, Table
from bpfilter.rules.saved import read_saved
from bpfilter.rules.written import write_table
from tests.unit.rulesets import RealRuleset, rulesets

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("ruleset", rulesets(), ids=str)
def test_enforced_or_refused_by_name(ruleset: RealRuleset, firewall: Firewall) -> None:
    read, _ = read_saved(ruleset.path.read_bytes(), ruleset.path.name, ruleset.family)
    table = read.table("filter")
    if table is None:
        table = Table("filter")
    if not table.chains:
        return  # its filter table is not read at all: faults iptables-restore finds, too
    refused = lower_table(table, ruleset.family).refused
    lines = set()
    for error in refused:
        assert error.span is not None
        assert error.span.name == ruleset.path.name
        assert "cannot be enforced as eBPF" in error.message
        lines.add(error.span.line)
    chains = []
    for chain in table.chains:
        kept = [rule for rule in chain.rules if rule.span is None or rule.span.line not in lines]
        assert all(rule.span is not None for rule in chain.rules)
        chains.append(replace(chain, rules=tuple(kept)))
    rest = replace(table, chains=tuple(chains))
    firewall.apply(Ruleset(ruleset.family, (rest,)), source=ruleset.path.name)
    in_force = firewall.written(ruleset.family)
    assert in_force is not None
    assert list_rules(in_force) == list_rules(write_table(rest, ruleset.family))
    assert not firewall.status().families[0 if ruleset.family == 2 else 1].problems
