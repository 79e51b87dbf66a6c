"""The memory of an index while it is built: arrays, one behind the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index.layout import (
    DESCRIPTOR_BYTES,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    SIZE_MAX,
    Pool,
)
from bpfilter.errors import BuildError

#: Where every array starts at least: a structure then lies in one cache line where it can.
ALIGNMENT = 64


class Blob:
    """Append arrays; `to_bytes` puts the header in front and room for edits at the end."""

    def __init__(self) -> None:
        self._chunks: list[tuple[int, NDArray[Any]]] = []
        self._size = HEADER_BYTES
        self._reserved = 0
        #: The kinds and forms of records.
        self.kinds = self.forms = Pool(0, 0, 0)

    @property
    def size(self) -> int:
        """Bytes so far, with the header."""
        return self._size

    def allocate(self, size: int, alignment: int = ALIGNMENT) -> int:
        """Take bytes, zero unless `put` fills them; give their offset.

        Raises: BuildError if the index outgrows what an entry can name.
        """
        offset = -(-self._size // alignment) * alignment
        if offset + size > SIZE_MAX:
            raise BuildError(f"the index of the rules needs more than {SIZE_MAX} bytes")
        self._size = offset + size
        return offset

    def put(self, offset: int, array: NDArray[Any]) -> None:
        """Fill allocated bytes; the array is not copied until `to_bytes`."""
        self._chunks.append((offset, np.ascontiguousarray(array)))

    def append(self, array: NDArray[Any], alignment: int = ALIGNMENT) -> int:
        offset = self.allocate(array.nbytes, alignment)
        self.put(offset, array)
        return offset

    def append_bytes(self, data: bytes, alignment: int = ALIGNMENT) -> int:
        """Append what is packed already, such as descriptors."""
        return self.append(np.frombuffer(data, np.uint8), alignment)

    def reserve(self, size: int) -> None:
        """Leave room for edits behind everything else."""
        self._reserved = max(self._reserved, size)

    @property
    def total(self) -> int:
        """Bytes with the room for edits, a whole number of descriptors."""
        end = min(self._size + self._reserved, SIZE_MAX)
        return -(-end // DESCRIPTOR_BYTES) * DESCRIPTOR_BYTES

    def to_bytes(self) -> bytearray:
        """Give it all: header, arrays, room."""
        memory = bytearray(self.total)
        view = np.frombuffer(memory, np.uint8)
        HEADER.pack_into(memory, 0, MAGIC, self._size, self.total, *self.kinds, *self.forms)
        for offset, array in self._chunks:
            view[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
        return memory
