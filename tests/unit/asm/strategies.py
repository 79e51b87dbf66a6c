"""Random instructions."""

from __future__ import annotations

from hypothesis import strategies as st

from bpfilter.abi import insn as abi
from bpfilter.asm.insn import Insn

s16 = st.integers(-(1 << 15), (1 << 15) - 1)
s32 = st.integers(-(1 << 31), (1 << 31) - 1)
u64 = st.integers(0, (1 << 64) - 1)
nibble = st.integers(0, 15)

one_slot = st.builds(
    Insn,
    st.integers(0, 255).filter(lambda opcode: opcode != abi.LD_IMM64),
    nibble,
    nibble,
    s16,
    s32,
)
two_slots = st.builds(Insn, st.just(abi.LD_IMM64), nibble, nibble, s16, u64)
insns = st.lists(one_slot | two_slots, max_size=20).map(tuple)
