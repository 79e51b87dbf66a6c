from __future__ import annotations

import pytest

from bpfilter.abi.insn import EXIT, LD_IMM64
from bpfilter.asm.insn import Insn
from bpfilter.bpf.verifier import explain, parse_log
from tests.unit.bpf.logs import LOGS


@pytest.mark.parametrize("name", LOGS)
def test_complaint_is_found_in_a_log_of_the_kernel(name: str) -> None:
    log, text, slot = LOGS[name]
    complaint = parse_log(log)
    assert (complaint.text, complaint.slot) == (text, slot)


def test_no_complaint_in_an_empty_log() -> None:
    assert parse_log("").text == ""
    assert parse_log("processed 2 insns (limit 1000000)\n").text == ""


def test_slots_of_wide_loads_count_twice() -> None:
    insns = [Insn(LD_IMM64, origin="wide"), Insn(EXIT, origin="narrow")]
    log = "0: (18) r0 = 0x0\n{}: (95) exit\nwrong\n"
    assert explain("load", 13, log.format(1), insns).origin == "wide"
    assert explain("load", 13, log.format(2), insns).origin == "narrow"
    assert explain("load", 13, log.format(3), insns).origin is None
