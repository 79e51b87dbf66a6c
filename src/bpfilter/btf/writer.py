"""Types to BTF bytes: what a program says of its own functions when it is loaded."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bpfilter.abi import btf as abi
from bpfilter.abi.btf import Kind

_STATIC = 0  # BTF_FUNC_STATIC, as the vlen of a FUNC
_INT_SIGNED = 1 << 24 | 32  # the word after an INT: encoding, size in bits


class Writer:
    """Collects types; each gets the next id, from 1."""

    def __init__(self) -> None:
        self._types = bytearray()
        self._strings = bytearray(1)
        self._names = {"": 0}
        self.next_id = 1

    def add(
        self,
        kind: Kind,
        name: str = "",
        size_or_type: int = 0,
        words: Sequence[int] = (),
        vlen: int = 0,
        kind_flag: bool = False,
    ) -> int:
        """Add a record, `words` (u32) being the data of its kind; give its id."""
        info = int(kind_flag) << 31 | kind << 24 | vlen
        self._types += struct.pack(
            f"={3 + len(words)}I", self.name(name), info, size_or_type, *words
        )
        self.next_id += 1
        return self.next_id - 1

    def name(self, text: str) -> int:
        """Give the place of a name in the strings, once for equal names."""
        if text not in self._names:
            self._names[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return self._names[text]

    def build(self) -> bytes:
        header = abi.HEADER.pack(
            magic=abi.MAGIC,
            version=abi.VERSION,
            hdr_len=abi.HEADER.size,
            type_len=len(self._types),
            str_off=len(self._types),
            str_len=len(self._strings),
        )
        return bytes(header + self._types + self._strings)


def write_functions(names: Sequence[str]) -> tuple[bytes, list[int]]:
    """Give BTF of static functions `int name(void)`, and their ids in order.

    Names are C identifiers. The kernel asks for this where a program takes the address
    of one of its functions; it compares no arguments of static ones.
    """
    writer = Writer()
    integer = writer.add(Kind.INT, "int", 4, (_INT_SIGNED,))
    prototype = writer.add(Kind.FUNC_PROTO, size_or_type=integer)
    ids = [writer.add(Kind.FUNC, name, prototype, vlen=_STATIC) for name in names]
    return writer.build(), ids
