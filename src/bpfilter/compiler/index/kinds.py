"""The kinds of records: what many have in common is written once."""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.edit import VOID_KIND
from bpfilter.compiler.index.layout import COMPARED_MAX, KIND_BYTES, KINDS_MAX, KeyWords
from bpfilter.compiler.index.rows import U16, Ints, Rows, classify
from bpfilter.errors import BuildError

#: Kinds that edits may add.
ROOM = 256

KIND = np.dtype(
    {
        "names": ["masks", "sports", "dports", "proto"],
        "formats": [("u4", COMPARED_MAX), ("u2", 2), ("u2", 2), "u1"],
        "itemsize": KIND_BYTES,
    }
)


class Kinds:
    """Numbers the kinds of all records of a table.

    A port that is compared already, in the ports word, is not asked again: else each port
    would make a kind.
    """

    def __init__(self, key: KeyWords) -> None:
        self._key = key
        # Number VOID_KIND, of records that edit.py takes out, matches nothing.
        self._numbers: dict[bytes, int] = {bytes(KIND_BYTES): VOID_KIND}

    def numbers(self, rows: Rows) -> U16:
        """Give the kind of each row. Raises: BuildError if there are too many."""
        kinds, kind_of = self._classify(rows)
        # The frequent ones first, so that they lie together.
        for kind in kinds[np.argsort(-np.bincount(kind_of), kind="stable")]:
            self._numbers.setdefault(kind.tobytes(), len(self._numbers))
        numbers = [self._numbers[kind.tobytes()] for kind in kinds]
        if len(self._numbers) > KINDS_MAX:
            raise BuildError(f"the rules have more than {KINDS_MAX} kinds of ports and masks")
        return np.array(numbers, np.uint16)[kind_of]

    def write(self, blob: Blob) -> None:
        """Append the table of kinds, with room for those of rules to come."""
        room = min(len(self._numbers) + ROOM, KINDS_MAX)
        table = np.zeros(room * KIND_BYTES, np.uint8)
        table[: len(self._numbers) * KIND_BYTES] = np.frombuffer(b"".join(self._numbers), np.uint8)
        blob.kinds = (blob.append(table), len(self._numbers), room)

    def _classify(self, rows: Rows) -> tuple[np.ndarray[tuple[int], np.dtype[np.void]], Ints]:
        every = np.zeros(len(rows), KIND)
        for number, word in enumerate(self._key.compared):
            every["masks"][:, number] = rows.masks[:, word]
        for name in ("sports", "dports", "proto"):
            every[name] = getattr(rows, name)
        if self._key.ports in self._key.compared:
            for name in ("sports", "dports"):
                exact = every[name][:, 0] == every[name][:, 1]
                every[name][exact] = 0, 0xFFFF
        words = every.view(np.uint32).reshape(len(rows), KIND_BYTES // 4)
        first, kind_of = classify([words[:, k] for k in range(COMPARED_MAX + 3)])
        # as plain bytes: numpy does not copy the room between members
        return every.view(f"V{KIND_BYTES}")[first], kind_of
