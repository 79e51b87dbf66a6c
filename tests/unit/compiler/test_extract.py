"""Extractors that are left out have nothing to do."""

from __future__ import annotations

from importlib import import_module

import pytest

from bpfilter.asm.build import Builder
from bpfilter.compiler import extract
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.compiler.target import Target
from bpfilter.plan.fields import FIELDS, Field
from bpfilter.rules.model import Family, Hook
from bpfilter.simulate.layouts import bundled_types


def emitted(module: str, family: Family, hook: Hook, field: Field) -> int:
    wanted = frozenset((field.name, word) for word in range(field.words))
    b = Builder("extraction")
    target = Target(bundled_types(), 1, 250)
    p = Prologue(b, target, lay_out_frame(wanted, family), family, hook, wanted)
    import_module(f"bpfilter.compiler.extract.{module}").extract(p)
    b.label("unreadable")
    b.exit()
    return len(b.build()) - 1


@pytest.mark.parametrize("module", extract.ASKED)
def test_nothing_is_emitted_for_other_fields(module: str) -> None:
    families = [family for family in Family if module in extract.EXTRACTORS[family]]
    assert families
    for family in families:
        names = [name for name in FIELDS if not name.startswith(extract.ASKED[module])]
        for name in names:
            for hook in (Hook.INPUT, Hook.FORWARD, Hook.OUTPUT):
                assert not emitted(module, family, hook, FIELDS[name]), (name, family, hook)


@pytest.mark.parametrize("module", extract.ASKED)
def test_each_name_is_of_a_field_that_is_filled(module: str) -> None:
    for start in extract.ASKED[module]:
        fields = [field for name, field in FIELDS.items() if name.startswith(start)]
        assert any(
            emitted(module, family, hook, field)
            for field in fields
            for family in Family
            for hook in (Hook.INPUT, Hook.OUTPUT)
            if module in extract.EXTRACTORS[family]
        ), start
