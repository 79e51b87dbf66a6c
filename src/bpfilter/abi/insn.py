"""The eBPF instruction set: how one instruction is laid out and numbered.

Source: include/uapi/linux/bpf.h, include/uapi/linux/bpf_common.h and
Documentation/bpf/standardization/instruction-set.rst.

An instruction is 8 bytes, `struct bpf_insn`; byte order is the machine's:

     byte 0     byte 1     bytes 2-3   bytes 4-7
    +--------+-----------+-----------+---------------+
    | opcode | src | dst |    off    |      imm      |
    |   u8   | u4  | u4  |    s16    |      s32      |
    +--------+-----------+-----------+---------------+

(dst is the low nibble on little-endian machines, the high one on big-endian ones.)
The 64-bit immediate load is the one exception: it takes two such slots, the second
of which holds nothing but the upper 32 bits in its imm.

Opcodes of the arithmetic and jump classes:

       7   6   5   4    3     2   1   0
    +----------------+-----+-------------+
    |       op       |  S  |    class    |       S: 0 imm (K), 1 src register (X)
    +----------------+-----+-------------+

Opcodes of the load and store classes:

       7   6   5    4   3     2   1   0
    +------------+---------+-------------+
    |    mode    |  size   |    class    |
    +------------+---------+-------------+
"""

from __future__ import annotations

from typing import Final

INSN_BYTES: Final = 8  # sizeof(struct bpf_insn)
MAX_INSNS: Final = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS: length of a privileged program
MAX_STACK: Final = 512  # MAX_BPF_STACK, bytes per frame and per chain of frames
MAX_CALL_FRAMES: Final = 8  # MAX_CALL_FRAMES
MAX_TAIL_CALLS: Final = 33  # MAX_TAIL_CALL_CNT
MAX_LOOPS: Final = 1 << 23  # BPF_MAX_LOOPS, iterations of bpf_loop

# Registers. R0: result; R1-R5: arguments, lost in calls; R6-R9: kept; R10: frame pointer.

# Classes, bits 0-2.
BPF_LD: Final = 0x00
BPF_LDX: Final = 0x01
BPF_ST: Final = 0x02
BPF_STX: Final = 0x03
BPF_ALU: Final = 0x04  # 32-bit; the upper half of dst becomes zero
BPF_JMP: Final = 0x05
BPF_JMP32: Final = 0x06  # Linux 5.1
BPF_ALU64: Final = 0x07
CLASS_MASK: Final = 0x07

# Source operand, bit 3. For BPF_END it says which byte order instead: 0 little, 1 big.
BPF_K: Final = 0x00
BPF_X: Final = 0x08
BPF_TO_LE: Final = 0x00
BPF_TO_BE: Final = 0x08
SOURCE_MASK: Final = 0x08

# Operations, bits 4-7; arithmetic. off = 1 makes DIV and MOD signed, off = 8/16/32 makes
# MOV sign-extend, and END in class ALU64 swap unconditionally (all Linux 6.6).
BPF_ADD: Final = 0x00
BPF_SUB: Final = 0x10
BPF_MUL: Final = 0x20
BPF_DIV: Final = 0x30
BPF_OR: Final = 0x40
BPF_AND: Final = 0x50
BPF_LSH: Final = 0x60
BPF_RSH: Final = 0x70
BPF_NEG: Final = 0x80
BPF_MOD: Final = 0x90
BPF_XOR: Final = 0xA0
BPF_MOV: Final = 0xB0
BPF_ARSH: Final = 0xC0
BPF_END: Final = 0xD0
OP_MASK: Final = 0xF0

# Operations, bits 4-7; jumps. JA in class JMP32 takes its offset from imm (Linux 6.6).
BPF_JA: Final = 0x00
BPF_JEQ: Final = 0x10
BPF_JGT: Final = 0x20
BPF_JGE: Final = 0x30
BPF_JSET: Final = 0x40
BPF_JNE: Final = 0x50
BPF_JSGT: Final = 0x60
BPF_JSGE: Final = 0x70
BPF_CALL: Final = 0x80
BPF_EXIT: Final = 0x90
BPF_JLT: Final = 0xA0  # this and those below: Linux 4.14
BPF_JLE: Final = 0xB0
BPF_JSLT: Final = 0xC0
BPF_JSLE: Final = 0xD0
BPF_JCOND: Final = 0xE0  # class JMP only: may_goto (Linux 6.9)

# Sizes, bits 3-4.
BPF_W: Final = 0x00  # 4 bytes
BPF_H: Final = 0x08  # 2 bytes
BPF_B: Final = 0x10  # 1 byte
BPF_DW: Final = 0x18  # 8 bytes
SIZE_MASK: Final = 0x18

# Modes, bits 5-7.
BPF_IMM: Final = 0x00  # ld_imm64 only
BPF_ABS: Final = 0x20  # classic packet loads, not used here
BPF_IND: Final = 0x40
BPF_MEM: Final = 0x60
BPF_MEMSX: Final = 0x80  # sign-extending load (Linux 6.6)
BPF_ATOMIC: Final = 0xC0
MODE_MASK: Final = 0xE0

# imm of an atomic: an arithmetic operation (ADD, OR, AND, XOR) with or without FETCH, or
# one of the two exchanges. All but plain ADD: Linux 5.12.
BPF_FETCH: Final = 0x01
BPF_XCHG: Final = 0xE0 | BPF_FETCH
BPF_CMPXCHG: Final = 0xF0 | BPF_FETCH

# src of a 64-bit immediate load: what imm means until the kernel rewrites it.
BPF_PSEUDO_MAP_FD: Final = 1
BPF_PSEUDO_MAP_VALUE: Final = 2  # upper half of imm: offset in the map's value (Linux 5.2)
BPF_PSEUDO_FUNC: Final = 4  # imm: slots to a subprogram (Linux 5.13)

# src of a call.
BPF_HELPER_CALL: Final = 0
BPF_PSEUDO_CALL: Final = 1  # imm: slots to a subprogram (Linux 4.16)
BPF_PSEUDO_KFUNC_CALL: Final = 2  # imm: BTF id; off: index in fd_array (Linux 5.13)

# Whole opcodes with a name of their own.
LD_IMM64: Final = BPF_LD | BPF_IMM | BPF_DW
JA: Final = BPF_JMP | BPF_JA
GOTOL: Final = BPF_JMP32 | BPF_JA
CALL: Final = BPF_JMP | BPF_CALL
EXIT: Final = BPF_JMP | BPF_EXIT
MAY_GOTO: Final = BPF_JMP | BPF_JCOND
