"""BTF, the kernel's type information: header, type records, kinds.

Source: include/uapi/linux/btf.h, Documentation/bpf/btf.rst. Byte order is the machine's.

    struct btf_header            struct btf_type, 12 bytes, then data of its kind
    +---------------+ 0          +-----------------------------------+ 0
    | u16 magic     |            | u32 name_off  into the strings    |
    | u8  version   |            +-----------------------------------+ 4
    | u8  flags     |            | u32 info  bits 0-15  vlen         |
    | u32 hdr_len   | 4          |           bits 24-28 kind         |
    | u32 type_off  | 8          |           bit  31    kind_flag    |
    | u32 type_len  | 12         +-----------------------------------+ 8
    | u32 str_off   | 16         | u32 size or type                  |
    | u32 str_len   | 20         +-----------------------------------+ 12
    +---------------+ 24

Offsets in the header count from its end. Type 0 is void and has no record; ids count
records from 1. A module's BTF goes on where the vmlinux's ends, in ids and in strings.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from bpfilter.abi.layout import Struct, u8, u16, u32

MAGIC: Final = 0xEB9F
VERSION: Final = 1

HEADER: Final = Struct(
    "btf_header",
    24,
    u16("magic", 0),
    u8("version", 2),
    u8("flags", 3),
    u32("hdr_len", 4),
    u32("type_off", 8),
    u32("type_len", 12),
    u32("str_off", 16),
    u32("str_len", 20),
)

TYPE_BYTES: Final = 12  # sizeof(struct btf_type)


class Kind(IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16  # Linux 5.13
    DECL_TAG = 17  # Linux 5.16
    TYPE_TAG = 18  # Linux 5.17
    ENUM64 = 19  # Linux 6.0


#: Kinds that name another type and change nothing of its layout.
MODIFIERS: Final = frozenset(
    (Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG)
)

#: Bytes after struct btf_type, whatever vlen says.
FIXED_DATA: Final = {
    Kind.INT: 4,  # u32: bits 0-7 size in bits, 16-23 offset, 24-27 encoding
    Kind.PTR: 0,
    Kind.ARRAY: 12,  # struct btf_array: u32 type, u32 index_type, u32 nelems
    Kind.FWD: 0,
    Kind.TYPEDEF: 0,
    Kind.VOLATILE: 0,
    Kind.CONST: 0,
    Kind.RESTRICT: 0,
    Kind.FUNC: 0,
    Kind.VAR: 4,  # u32 linkage
    Kind.FLOAT: 0,
    Kind.DECL_TAG: 4,  # s32 component_idx
    Kind.TYPE_TAG: 0,
}

#: Bytes after struct btf_type, for each of vlen items.
ITEM_DATA: Final = {
    Kind.STRUCT: 12,  # struct btf_member: u32 name_off, u32 type, u32 offset
    Kind.UNION: 12,
    Kind.ENUM: 8,  # struct btf_enum: u32 name_off, s32 val
    Kind.FUNC_PROTO: 8,  # struct btf_param: u32 name_off, u32 type
    Kind.DATASEC: 12,  # struct btf_var_secinfo: u32 type, u32 offset, u32 size
    Kind.ENUM64: 12,  # struct btf_enum64: u32 name_off, u32 val_lo32, u32 val_hi32
}
