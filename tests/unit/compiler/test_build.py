"""Compiling is pure: the same rules and kernel give the same specs, and size follows shape."""

from __future__ import annotations

from bpfilter import Family, parse_saved
from bpfilter.compiler.build import Compiled, compile_table
from bpfilter.compiler.target import Target
from bpfilter.rules.model import Hook
from bpfilter.simulate.layouts import bundled_types

HEAD = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"


def compiled(*rules: str, straight: bool = True) -> Compiled:
    text = HEAD + "\n".join((*rules, "COMMIT\n"))
    table = parse_saved(text, "test", Family.IPV4).table("filter")
    assert table is not None
    target = Target(bundled_types(), cpus=4, hz=250)
    return compile_table(table, Family.IPV4, target, straight=straight)


RULES = (
    "-A INPUT -p tcp -m conntrack --ctstate NEW -m multiport --dports 22,80 -j ACCEPT",
    "-A OUTPUT -m owner --uid-owner 1000 -j DROP",
)


def test_the_same_rules_give_the_same_specs() -> None:
    assert compiled(*RULES) == compiled(*RULES)


def test_programs_of_many_rules_do_not_grow_with_them() -> None:
    few = compiled(*RULES, straight=False)
    many = compiled(*RULES, *(RULES[0].replace("22", str(n)) for n in range(1000, 3000)))
    sizes = [{hook: len(spec.insns) for hook, spec in c.programs.items()} for c in (few, many)]
    assert sizes[0] == sizes[1]
    assert many.cells > few.cells


def test_a_hook_reads_only_what_its_rules_ask() -> None:
    programs = compiled(*RULES).programs
    assert len(programs[Hook.FORWARD].insns) < len(programs[Hook.INPUT].insns)


def test_conntrack_is_asked_for_only_when_a_rule_needs_it() -> None:
    assert compiled(*RULES).needs_conntrack
    assert not compiled(RULES[1]).needs_conntrack
