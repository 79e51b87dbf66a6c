"""The state files of one network namespace: what is written down about each slot.

    <family>-<slot>.rules   its text (lines.py)
    <family>-<slot>.order   u32, the counter of each line; none: one by one after the policies
    <family>-<slot>.traits  u64, the trait of each line (traits.py)
    <family>-<slot>.seed    counters that rules which are new begin with
    <family>-<slot>.origin  i32, the line before that each line was, or -1; first, for each base
                            chain, whether its policy goes on counting: 0, or -1
    <family>-<slot>.layout  what the compiler needs to edit it
    <family>-<slot>.json    Generation
    <family>-<slot>.base    counters carried over

Counters are pairs of u64 (packets, bytes). All are written beside and renamed. The json file
is there before the ruleset is put in force, and those above it before that; the base file
comes after it, once the counters of the ruleset before stand still. A generation in force
without a base file is one whose predecessor's counters are still to be carried over, by
whichever command comes next.

    <family>-<slot>.spare   Generation: what was in this slot, and has been edited since

A slot with nothing but this has maps and programs that fit the next edit (edit.py).
"""

from __future__ import annotations

from array import array
from pathlib import Path

from bpfilter.dataclass import dataclass
from bpfilter.errors import StateError
from bpfilter.firewall.counters import PAIR_BYTES
from bpfilter.firewall.generation import Generation, read_generation, slot_name
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family

#: In the order in which they are removed: what has no description is nothing.
_SUFFIXES = ("json", "base", "seed", "origin", "order", "layout", "traits", "rules")

_REPAIR = "'bpfilter zero' repairs it, and sets all counters to zero"
_LOST = (
    "the rules stay in force until 'bpfilter apply FILE' replaces them or 'bpfilter clear' ends it"
)


@dataclass(frozen=True, slots=True)
class Records:
    """Every method that writes raises KernelError."""

    kernel: Kernel
    directory: Path

    def read(self, family: Family, slot: int) -> Generation | None:
        """Give what is in a slot. Raises: StateError if that cannot be read."""
        return read_generation(self._path(family, slot, "json"))

    def write(
        self,
        generation: Generation,
        text: bytes,
        *,
        order: array[int] | None = None,
        traits: array[int] | None = None,
        origin: array[int] | None = None,
        seed: bytes = b"",
        layout: bytes = b"",
    ) -> None:
        """Write all there is to know of a generation but its base; its description comes last."""
        self._replace(generation, "rules", text)
        for suffix, numbers in (("order", order), ("traits", traits), ("origin", origin)):
            if numbers is not None:
                self._replace(generation, suffix, numbers.tobytes())
        for suffix, data in (("seed", seed), ("layout", layout)):
            if data:
                self._replace(generation, suffix, data)
        self._replace(generation, "json", generation.to_json().encode())

    def text(self, generation: Generation) -> bytes:
        """Give the rules. Raises: StateError if they cannot be read."""
        return self._read(generation, "rules", _LOST)

    def order(self, generation: Generation) -> array[int] | None:
        """Give the counter of each line; None if they are those after the policies, one by one.

        Raises: StateError if that cannot be read.
        """
        if not generation.ordered:
            return None
        path = self._of(generation, "order")
        found = self._read(generation, "order", _LOST)
        order = array("I")
        if len(found) == order.itemsize * generation.rules:
            order.frombytes(found)
            if max(order, default=0) < generation.counters_per_cpu:
                return order
        raise StateError(f"{path}: does not have a counter for each rule; {_LOST}")

    def traits(self, generation: Generation) -> array[int] | None:
        """Give the trait of each line, None if they are lost: all lines may then mean the same."""
        traits = array("Q")
        try:
            traits.frombytes(self._read(generation, "traits", ""))
        except (StateError, ValueError):
            return None
        return traits if len(traits) == generation.rules else None

    def origin(self, generation: Generation, before: int) -> array[int] | None:
        """Give where its policies' and lines' counters come from: of so many lines before it.

        None if equal lines are the same. Raises: StateError if it cannot be read.
        """
        if not generation.traced:
            return None
        origin = array("i")
        found = self._read(generation, "origin", _REPAIR)
        if len(found) == origin.itemsize * (len(generation.policies) + generation.rules):
            origin.frombytes(found)
            if max(origin, default=0) < max(before, 1):
                return origin
        path = self._of(generation, "origin")
        raise StateError(f"{path}: does not have a number for each rule; {_REPAIR}")

    def seed(self, generation: Generation) -> bytes:
        """Give the counters that new rules begin with. Raises: StateError if it cannot be read."""
        if generation.seed:
            return self._counters(generation, "seed")
        return bytes(PAIR_BYTES * generation.counters_per_cpu)

    def has_base(self, family: Family, slot: int) -> bool:
        """Say whether counters have been carried over; else that is still to be done."""
        return self._path(family, slot, "base").exists()

    def base(self, generation: Generation) -> bytes:
        """Give the counters carried over. Raises: StateError if they cannot be read."""
        return self._counters(generation, "base")

    def write_base(self, generation: Generation, base: bytes) -> None:
        self._replace(generation, "base", base)

    def has_layout(self, generation: Generation) -> bool:
        """Say whether it can be edited in place."""
        return self._of(generation, "layout").exists()

    def layout(self, generation: Generation) -> bytes:
        """Give what the compiler wrote, empty if nothing. Raises: StateError."""
        if not self.has_layout(generation):
            return b""
        return self._read(generation, "layout", _LOST)

    def has_any(self, family: Family, slot: int) -> bool:
        """Say whether there is any file of a slot, but what tells of a spare one."""
        return any(self._path(family, slot, suffix).exists() for suffix in _SUFFIXES)

    def spare(self, family: Family, slot: int) -> Generation | None:
        """Give what was in a slot that has no more than maps and programs, None if it has."""
        if self.has_any(family, slot):
            return None
        try:
            return read_generation(self._path(family, slot, "spare"))
        except StateError:
            return None

    def retire(self, family: Family, slot: int) -> None:
        """Make a spare slot of one that has a description."""
        json, spare = (self._path(family, slot, suffix) for suffix in ("json", "spare"))
        self.kernel.rename(json, spare)
        for suffix in _SUFFIXES:
            self.kernel.remove(self._path(family, slot, suffix))

    def remove(self, family: Family, slot: int) -> None:
        """Remove all files of a slot."""
        for suffix in (*_SUFFIXES, "spare"):
            self.kernel.remove(self._path(family, slot, suffix))

    def _path(self, family: Family, slot: int, suffix: str) -> Path:
        return self.directory / f"{slot_name(family, slot)}.{suffix}"

    def _of(self, generation: Generation, suffix: str) -> Path:
        return self._path(generation.family, generation.slot, suffix)

    def _replace(self, generation: Generation, suffix: str, data: bytes) -> None:
        self.kernel.replace_file(self._of(generation, suffix), data)

    def _read(self, generation: Generation, suffix: str, advice: str) -> bytes:
        path = self._of(generation, suffix)
        try:
            return path.read_bytes()
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}; {advice}") from error

    def _counters(self, generation: Generation, suffix: str) -> bytes:
        found = self._read(generation, suffix, _REPAIR)
        if len(found) != PAIR_BYTES * generation.counters_per_cpu:
            path = self._of(generation, suffix)
            raise StateError(f"{path}: does not have a number for each counter; {_REPAIR}")
        return found
