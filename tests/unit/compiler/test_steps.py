"""Loops are bounded by what the kernel has; what they find is the same."""

from __future__ import annotations

import json

import pytest

from bpfilter import Family, parse_saved
from bpfilter.abi import insn as abi
from bpfilter.btf.query import KernelTypes
from bpfilter.rules.model import Hook
from bpfilter.simulate import layouts
from bpfilter.simulate.run import Outcome, Simulator

RULES = """\
*filter
:INPUT ACCEPT [0:0]
:web - [0:0]
-A INPUT -p tcp -m tcp --tcp-option 5 -j web
-A web -p tcp -m tcp --dport 81:90 -j RETURN
-A web -p tcp -m tcp --dport 80 -j DROP
COMMIT
"""
ITERATOR = {"bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"}


def types(may_goto: bool) -> KernelTypes:
    table = json.loads(layouts.FILE.read_text("utf-8"))["structs"]
    assert "bpf_verifier_state" in table
    if not may_goto:
        del table["bpf_verifier_state"]
    return KernelTypes.from_table(table)


@pytest.mark.parametrize("may_goto", [True, False])
def test_either_bound_gives_the_same_verdicts(may_goto: bool) -> None:
    sim = Simulator(parse_saved(RULES, "rules", Family.IPV4), types=types(may_goto))
    insns = sim.compiled.programs[Hook.INPUT].insns
    called = {insn.ref.name for insn in insns if insn.ref is not None}
    assert any(insn.opcode == abi.MAY_GOTO for insn in insns) is may_goto
    assert called >= ITERATOR or (may_goto and not called & ITERATOR)
    for port, verdict in ((80, Outcome.DROP), (85, Outcome.ACCEPT), (79, Outcome.ACCEPT)):
        packet = f"tcp 192.0.2.7:40000 > 198.51.100.9:{port} syn opt=5"
        assert sim.run(packet, in_interface="eth0").verdict is verdict
