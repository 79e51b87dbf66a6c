"""BTF made by hand, with what each kind may bring."""

from __future__ import annotations

from bpfilter.abi.btf import Kind
from bpfilter.btf.writer import Writer


def add_struct(
    writer: Writer,
    name: str,
    size: int,
    members: list[tuple[str, int, int]] | list[tuple[str, int, int, int]],
    kind: Kind = Kind.STRUCT,
) -> int:
    """Add a struct of (name, type, bit offset[, bits of a bit field])."""
    flag = any(len(member) == 4 for member in members)
    words: list[int] = []
    for member in members:
        bits = member[3] if len(member) == 4 else 0
        words += [writer.name(member[0]), member[1], bits << 24 | member[2]]
    return writer.add(kind, name, size, words, vlen=len(members), kind_flag=flag)


def sample() -> bytes:
    """Give BTF of a small kernel; see the C in the comments."""
    w = Writer()
    u8 = w.add(Kind.INT, "unsigned char", 1, (8,))
    u32 = w.add(Kind.INT, "unsigned int", 4, (32,))
    u64 = w.add(Kind.INT, "unsigned long", 8, (64,))
    const = w.add(Kind.CONST, "", u32)
    alias = w.add(Kind.TYPEDEF, "__u32", const)
    pointer = w.add(Kind.PTR, "", u32)
    # struct inner { u8 a; u32 b; };
    inner = add_struct(w, "inner", 8, [("a", u8, 0), ("b", alias, 32)])
    pair = w.add(Kind.ARRAY, "", 0, (inner, u32, 2))
    grid = w.add(Kind.ARRAY, "", 0, (pair, u32, 3))
    # struct outer { u64 first; union { u32 x; struct { u8 pad; u8 y:3, z:2; }; };
    #                u32 *pointer; struct inner items[3][2]; struct inner one; };
    bits = add_struct(w, "", 4, [("pad", u8, 0, 0), ("y", u8, 8, 3), ("z", u8, 11, 2)])
    union = add_struct(w, "", 4, [("x", u32, 0), ("", bits, 0)], Kind.UNION)
    add_struct(
        w,
        "outer",
        88,
        [
            ("first", u64, 0),
            ("", union, 64),
            ("pointer", pointer, 128),
            ("items", grid, 192),
            ("one", inner, 576),
        ],
    )
    proto = w.add(Kind.FUNC_PROTO, "", u32, (w.name("p"), pointer), vlen=1)
    w.add(Kind.FUNC, "do_something", proto)
    w.add(Kind.FUNC, "outer", proto)  # a function named as a struct
    w.add(Kind.TYPEDEF, "inner_t", inner)
    return w.build()
