"""Verifier logs: name to log, the complaint in it, and the slot it is about.

Captured on Linux 6.18, except where the name says another release.
"""

from __future__ import annotations

_PROCESSED = (
    "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 "
    "mark_read 0\n"
)

LOGS: dict[str, tuple[str, str, int | None]] = {
    "register not set": (
        "0: R1=ctx() R10=fp0\n"
        "0: (b7) r1 = 1                        ; R1=1\n"
        "1: (95) exit\n"
        "R0 !read_ok\n" + _PROCESSED,
        "R0 !read_ok",
        1,
    ),
    "two lines": (
        "0: R1=ctx() R10=fp0\n"
        "0: (18) r1 = 0xffff88810cba7340       ; R1=map_value(map=m,ks=4,vs=16,off=8)\n"
        "2: (79) r0 = *(u64 *)(r1 +12)\n"
        "invalid access to map value, value_size=16 off=20 size=8\n"
        "R1 min value is outside of the allowed memory range\n" + _PROCESSED,
        "invalid access to map value, value_size=16 off=20 size=8; "
        "R1 min value is outside of the allowed memory range",
        2,
    ),
    "no instruction walked": (
        "unreachable insn 2\n" + _PROCESSED,
        "unreachable insn 2",
        2,
    ),
    "no instruction named": (
        "last insn is not an exit or jmp\n" + _PROCESSED,
        "last insn is not an exit or jmp",
        None,
    ),
    "helper not for this program type": (
        "0: R1=ctx() R10=fp0\n"
        "0: (85) call bpf_fib_lookup#69\n"
        "program of this type cannot use helper bpf_fib_lookup#69\n" + _PROCESSED,
        "program of this type cannot use helper bpf_fib_lookup#69",
        0,
    ),
    "return value out of range": (
        "6: (79) r0 = *(u64 *)(r0 +0)          ; R0=scalar()\n"
        "7: (95) exit\n"
        "At program exit the register R0 has unknown scalar value should have been in [0, 1]\n"
        + _PROCESSED,
        "At program exit the register R0 has unknown scalar value should have been in [0, 1]",
        7,
    ),
    "states after the complaint": (
        "2: (05) goto pc-2\n"
        "infinite loop detected at insn 1\n"
        "cur state: R0=1 R1=ctx() R10=fp0\n"
        "old state: R0=1 R1=ctx() R10=fp0\n" + _PROCESSED,
        "infinite loop detected at insn 1",
        1,
    ),
    "source and branches in between, 6.1": (
        "Validating f() func#0...\n"
        "0: R1=ctx(off=0,imm=0) R10=fp0\n"
        "; r0 = 1\n"
        "0: (15) if r1 == 0x0 goto pc+1        ; R1=ctx(off=0,imm=0)\n"
        "from 0 to 2: R1=ctx(off=0,imm=0) R10=fp0\n"
        "2: (61) r0 = *(u32 *)(r2 +0)\n"
        "R2 !read_ok\n"
        "verification time 49 usec\n"
        "stack depth 0\n" + _PROCESSED,
        "R2 !read_ok",
        2,
    ),
    "states on lines of their own, 5.10": (
        "0: (b7) r0 = 1\n"
        " R0_w=inv1 R1=ctx(id=0,off=0,imm=0) R10=fp0\n"
        "1: (61) r1 = *(u32 *)(r1 +200)\n"
        "invalid bpf_context access off=200 size=4\n" + _PROCESSED,
        "invalid bpf_context access off=200 size=4",
        1,
    ),
    "too many instructions walked": (
        "5: (85) call pc+3\n"
        "12: (95) exit\n"
        "BPF program is too large. Processed 1000001 insn\n"
        "processed 1000001 insns (limit 1000000) max_states_per_insn 4 total_states 9\n",
        "BPF program is too large. Processed 1000001 insn",
        12,
    ),
}
