"""The dispatcher, run by the interpreter: which ruleset a packet meets."""

from __future__ import annotations

import pytest

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, Insn
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import ArrayModel, MapModel, ProgramArrayModel
from bpfilter.firewall import dispatch
from bpfilter.firewall.dispatcher import dispatcher
from bpfilter.rules.model import Family, Hook

ACCEPT, DROP = 1, 0


def returning(value: int) -> tuple[Insn, ...]:
    b = Builder()
    b.mov(R0, value)
    b.exit()
    return b.build()


def verdict(family: Family, hook: Hook, word: int, programs: dict[int, tuple[Insn, ...]]) -> int:
    memory = Memory()
    maps: dict[str, MapModel | ProgramArrayModel] = {
        "selector": ArrayModel(memory, "selector", 8, contents=word.to_bytes(8, "little")),
        "programs": ProgramArrayModel(memory, "programs", programs),
    }
    machine = Machine(dispatcher(family, hook).insns, maps, memory=memory)
    return machine.run(memory.add("ctx", 16).base)


@pytest.mark.parametrize("family", dispatch.FAMILIES)
@pytest.mark.parametrize("hook", dispatch.HOOKS)
def test_each_slot_family_and_hook_has_a_program_of_its_own(family: Family, hook: Hook) -> None:
    others = range(dispatch.PROGRAMS.entries)
    for slot in dispatch.SLOTS:
        mine = dispatch.program_index(slot, family, hook)
        word = dispatch.select(0, family, slot)
        only = {index: returning(DROP) for index in others if index != mine}
        assert verdict(family, hook, word, only | {mine: returning(ACCEPT)}) == ACCEPT
        assert verdict(family, hook, word, {mine: returning(DROP)}) == DROP


def test_indexes_are_all_different() -> None:
    indexes = {
        dispatch.program_index(slot, family, hook)
        for slot in dispatch.SLOTS
        for family in dispatch.FAMILIES
        for hook in Hook
    }
    assert indexes == set(range(dispatch.PROGRAMS.entries))


def test_nothing_selected_accepts_and_a_missing_program_drops() -> None:
    dropping = {index: returning(DROP) for index in range(dispatch.PROGRAMS.entries)}
    assert verdict(Family.IPV4, Hook.INPUT, 0, dropping) == ACCEPT
    assert verdict(Family.IPV4, Hook.INPUT, dispatch.select(0, Family.IPV4, 1), {}) == DROP


def test_families_are_selected_apart() -> None:
    word = dispatch.select(dispatch.select(0, Family.IPV4, 2), Family.IPV6, 1)
    assert dispatch.selected(word, Family.IPV4) == 2
    assert dispatch.selected(word, Family.IPV6) == 1
    assert dispatch.selected(dispatch.select(word, Family.IPV4, 0), Family.IPV6) == 1
