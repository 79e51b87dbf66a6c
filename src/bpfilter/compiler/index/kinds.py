"""The forms and kinds of records: what many have in common is written once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.edit import VOID_FORM
from bpfilter.compiler.index.layout import COMPARED_MAX, KeyWords, Pool
from bpfilter.compiler.index.rows import U32, Rows, classify, joined
from bpfilter.errors import BuildError

#: Forms and kinds that edits may add, of each.
ROOM = 256

KIND = np.dtype(
    {
        "names": ["sports", "dports", "proto"],
        "formats": [("u2", 2), ("u2", 2), "u1"],
        "itemsize": layout.KIND_BYTES,
    }
)


class Numbered:
    """Structures that are written once each; their numbers are given out as they come."""

    def __init__(self, size: int, most: int, what: str) -> None:
        self._size = size
        self._most = most
        self._what = what
        self._numbers: dict[bytes, int] = {}

    def numbers(self, rows: U32) -> U32:
        """Give the number of each row's structure. Raises: BuildError if there are too many."""
        first, of = classify(list(rows.T))
        # as plain bytes: numpy does not copy the room between members
        found = rows.view(f"V{self._size}")[:, 0][first]
        # The frequent ones first, so that they lie together.
        for each in found[np.argsort(-np.bincount(of), kind="stable")]:
            self._numbers.setdefault(each.tobytes(), len(self._numbers))
        if len(self._numbers) > self._most:
            raise BuildError(f"the rules have more than {self._most} {self._what}")
        return np.array([self._numbers[each.tobytes()] for each in found], np.uint32)[of]

    def write(self, blob: Blob) -> Pool:
        """Append them, with room for those of rules to come."""
        room = min(len(self._numbers) + ROOM, self._most)
        table = np.zeros(room * self._size, np.uint8)
        table[: len(self._numbers) * self._size] = np.frombuffer(b"".join(self._numbers), np.uint8)
        return Pool(blob.append(table), len(self._numbers), room)


class Kinds:
    """Numbers the forms and kinds of all records of a table.

    A port that is compared already, in the ports word, is not asked again: else each port
    would make a kind.
    """

    def __init__(self, key: KeyWords) -> None:
        self._key = key
        self._forms = Numbered(layout.FORM_BYTES, layout.FORMS_MAX, "combinations of masks")
        self._kinds = Numbered(layout.KIND_BYTES, layout.KINDS_MAX, "combinations of ports")
        # VOID_FORM asks nothing; edit.py gives it to records that it takes out.
        nothing = np.zeros((1, layout.FORM_BYTES // 4), np.uint32)
        assert self._forms.numbers(nothing)[0] == VOID_FORM

    def number(self, parts: Sequence[Rows]) -> None:
        """Fill in the form and the kind of each row. Raises: BuildError if there are too many."""
        rows = joined(parts)
        forms = np.zeros((len(rows), layout.FORM_BYTES // 4), np.uint32)
        for number, word in enumerate(self._key.compared):
            forms[:, number] = rows.masks[:, word]
        form_of = self._forms.numbers(forms).astype(np.uint16)
        kind_of = self._kinds.numbers(self._asked(rows))
        end = 0
        for each in parts:
            start, end = end, end + len(each)
            each.form, each.kind = form_of[start:end], kind_of[start:end]

    def write(self, blob: Blob) -> None:
        blob.kinds, blob.forms = self._kinds.write(blob), self._forms.write(blob)

    def _asked(self, rows: Rows) -> U32:
        every = np.zeros(len(rows), KIND)
        for name in ("sports", "dports", "proto"):
            every[name] = getattr(rows, name)
        if self._key.ports in self._key.compared:
            for name in ("sports", "dports"):
                exact = every[name][:, 0] == every[name][:, 1]
                every[name][exact] = 0, 0xFFFF
        words: NDArray[np.uint32] = every.view(np.uint32)
        return words.reshape(len(rows), layout.KIND_BYTES // 4)


assert COMPARED_MAX * 4 <= layout.FORM_BYTES
