from __future__ import annotations

import pytest

from bpfilter.abi import insn as abi
from bpfilter.asm.build import Builder
from bpfilter.asm.encode import decode, encode
from bpfilter.asm.flow import flow
from bpfilter.asm.insn import R0, R1, Insn
from bpfilter.asm.interp import Machine
from bpfilter.asm.resolve import resolve
from bpfilter.errors import BuildError


def test_distances_count_slots() -> None:
    b = Builder()
    b.label("top")
    b.jeq(R1, 0, "out")  # slot 0
    b.imm64(R0, 1 << 40)  # slots 1 and 2
    b.jump("top")  # slot 3
    b.label("out")
    b.load_func(R1, "sub")  # slots 4 and 5
    b.call_sub("sub")  # slot 6
    b.exit()  # slot 7
    b.label("sub")
    b.exit()  # slot 8
    jeq, _, jump, func, call, *_ = resolve(b.build())
    assert jeq.off == 3
    assert jump.off == -4
    assert func.imm == 3  # bpf_pseudo_func: from the first of its two slots
    assert call.imm == 1


def test_a_subprogram_may_stand_before_its_use() -> None:
    b = Builder()
    b.jump("main")
    b.label("sub")
    b.exit()
    b.label("main")
    b.load_func(R1, "sub")  # slots 2 and 3
    b.call_sub("sub")  # slot 4
    b.exit()
    insns = resolve(b.build())
    assert insns[2].imm == 0xFFFF_FFFE  # -2 in the first slot, and 0 in the second
    assert insns[3].imm == -4
    assert [insn.imm for insn in decode(encode(insns))] == [insn.imm for insn in insns]
    assert flow(insns).entries == (0, 1)


def test_resolving_keeps_other_names() -> None:
    b = Builder()
    b.load_map(R1, "m")
    b.exit()
    assert resolve(b.build()) == b.build()


def test_an_undefined_label_is_named() -> None:
    b = Builder()
    with b.origin("rule 2"):
        b.jump("gone")
    with pytest.raises(BuildError, match="label gone is not defined") as caught:
        resolve(b.build())
    assert caught.value.origin == "rule 2"


def test_parts_may_not_define_one_label_twice() -> None:
    part = Insn(abi.EXIT, label="end")
    with pytest.raises(BuildError, match="label end is defined twice"):
        resolve([part, part])


def far(conditional: bool, gap: int) -> tuple[Insn, ...]:
    # Gives 1 if it jumps over the gap, and 0 if not; the jump back to the exit is far as well.
    b = Builder()
    b.jump("start")
    b.label("end")
    b.exit()
    b.label("start")
    b.mov(R0, 1)
    if conditional:
        b.jeq(R1, 7, "over")
    else:
        b.jump("over")
    b.mov(R0, 0)
    before = b.build()
    b = Builder()
    b.label("over")
    b.jump("end")
    return (*before, *[Insn(abi.BPF_ALU64 | abi.BPF_MOV, dst=R1)] * (gap - 1), *b.build())


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("gap", "long"), [(32764, 0), (32765, 1), (32767, 1), (32768, 2)])
def test_far_jumps(conditional: bool, gap: int, long: int) -> None:
    insns = resolve(far(conditional, gap))
    assert sum(insn.opcode == abi.GOTOL for insn in insns) == long
    targets = flow(insns).targets
    end, over = 1, len(insns) - 1
    assert set(targets.values()) <= {end, over, *range(2, 7)}
    machine = Machine(decode(encode(insns)))
    assert machine.run(7) == 1
    assert machine.run(8) == (0 if conditional else 1)


def test_far_jumps_can_be_ruled_out() -> None:
    assert resolve(far(True, 100), long_jumps=False) == resolve(far(True, 100))
    with pytest.raises(BuildError, match="label over is out of reach"):
        resolve(far(True, 40000), long_jumps=False)
