"""What programs ask of the kernel's types: where a member lies, how large, which id.

Answers come from BTF, or from a table made of earlier answers (`subset`), with which
programs can be compiled and interpreted where there is no such kernel. Reading a kernel's
BTF takes as long as all else that putting rules in force does, so what was asked of one can
be remembered (`remembering`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Protocol

from bpfilter.abi.btf import Kind
from bpfilter.btf.model import Member
from bpfilter.errors import AbiError, UnsupportedError

#: `{struct: {"size": bytes, "members": {path: [offset, size(, bit_offset, bit_size)]}}}`
Table = Mapping[str, Mapping[str, object]]

#: What was asked, `member STRUCT PATH`, `size STRUCT` or `id KIND NAME`, and the numbers
#: answered, None if there is none such; JSON can hold it.
Answers = dict[str, list[int] | None]


class HasTypes(Protocol):
    """The part of `kernel.api.Kernel` asked here."""

    def vmlinux_btf(self) -> bytes: ...
    def module_btf(self, module: str) -> bytes | None: ...


class KernelTypes:
    """The types of one kernel; answers are kept.

    A path names members from the outside in, `tuplehash[0].tuple.src.u3`; those of
    anonymous structs and unions are named as C names them, without the anonymous one.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._members: dict[tuple[str, str], Member] = {}
        self._ids: dict[tuple[Kind, str], int | None] = {}

    @classmethod
    def from_btf(
        cls,
        vmlinux: bytes,
        module: Callable[[str], bytes | None] | None = None,
        modules: tuple[str, ...] = ("nf_conntrack",),
    ) -> KernelTypes:
        """Answer from BTF; `modules` are asked, by `module(name)`, for what vmlinux lacks."""
        from bpfilter.btf.search import BtfSource

        return cls(BtfSource(vmlinux, module, modules))

    @classmethod
    def of_kernel(cls, kernel: HasTypes) -> KernelTypes:
        """Answer for the running kernel. Raises: UnsupportedError if it keeps no BTF."""
        return cls.from_btf(kernel.vmlinux_btf(), kernel.module_btf)

    @classmethod
    def remembering(cls, answers: Answers, kernel: HasTypes) -> KernelTypes:
        """Answer for the running kernel, of which `answers` were had before; BTF is read, and
        they are extended, when something else is asked. Errors: as `of_kernel`, but later."""
        return cls(_Remembering(answers, lambda: cls.of_kernel(kernel)._source))

    @classmethod
    def from_table(cls, table: Table) -> KernelTypes:
        """Answer from what `subset` gave; ids are not known then."""
        return cls(_FromTable(table))

    def offset(self, struct_name: str, path: str) -> Member:
        """Say where a member lies. Raises: UnsupportedError if this kernel has none such."""
        found = self._members.get((struct_name, path))
        if found is None:
            found = self._source.member(struct_name, path)
            if found is None:
                raise UnsupportedError(f"member {path} in its struct {struct_name}")
            self._members[struct_name, path] = found
        return found

    def has(self, struct_name: str, path: str) -> bool:
        try:
            self.offset(struct_name, path)
        except UnsupportedError:
            return False
        return True

    def size(self, struct_name: str) -> int:
        """Give a struct's size in bytes. Raises: UnsupportedError if there is none such."""
        found = self._source.size(struct_name)
        if found is None:
            raise UnsupportedError(f"struct {struct_name}")
        return found

    def find_id(self, kind: Kind, name: str) -> int | None:
        """Give the id of a type (FUNC: a kernel function) in vmlinux, None if there is none."""
        if (kind, name) not in self._ids:
            self._ids[kind, name] = self._source.find_id(kind, name)
        return self._ids[kind, name]

    def type_id(self, kind: Kind, name: str) -> int:
        """As `find_id`. Raises: UnsupportedError if there is none."""
        found = self.find_id(kind, name)
        if found is None:
            raise UnsupportedError(f"{kind.name.lower()} {name}")
        return found

    def subset(self, wanted: Iterable[tuple[str, str]]) -> dict[str, dict[str, object]]:
        """Make a table (JSON can hold it) of (struct, path) pairs; an empty path: size only."""
        sizes: dict[str, int] = {}
        members: dict[str, dict[str, list[int]]] = {}
        for name, path in wanted:
            sizes.setdefault(name, self.size(name))
            if path:
                members.setdefault(name, {})[path] = _to_row(self.offset(name, path))
        return {
            name: {"size": size, "members": members.get(name, {})} for name, size in sizes.items()
        }


class _Source(Protocol):
    def member(self, struct_name: str, path: str) -> Member | None: ...
    def size(self, struct_name: str) -> int | None: ...
    def find_id(self, kind: Kind, name: str) -> int | None: ...


class _Remembering:
    def __init__(self, answers: Answers, source: Callable[[], _Source]) -> None:
        self.answers = answers
        self.source = cache(source)

    def member(self, struct_name: str, path: str) -> Member | None:
        question = f"member {struct_name} {path}"
        if question not in self.answers:
            found = self.source().member(struct_name, path)
            self.answers[question] = None if found is None else _to_row(found)
        row = self.answers[question]
        return None if row is None else Member(*row)

    def size(self, struct_name: str) -> int | None:
        return self._number(f"size {struct_name}", lambda: self.source().size(struct_name))

    def find_id(self, kind: Kind, name: str) -> int | None:
        return self._number(f"id {kind} {name}", lambda: self.source().find_id(kind, name))

    def _number(self, question: str, ask: Callable[[], int | None]) -> int | None:
        if question not in self.answers:
            found = ask()
            self.answers[question] = None if found is None else [found]
        answer = self.answers[question]
        return None if answer is None else answer[0]


class _FromTable:
    def __init__(self, table: Table) -> None:
        self.table = table

    def member(self, struct_name: str, path: str) -> Member | None:
        members = self.table.get(struct_name, {}).get("members", {})
        if not isinstance(members, Mapping):
            raise AbiError(f"members of {struct_name} are no table")
        row = members.get(path)
        return None if row is None else Member(*row)

    def size(self, struct_name: str) -> int | None:
        size = self.table.get(struct_name, {}).get("size")
        return size if isinstance(size, int) else None

    def find_id(self, kind: Kind, name: str) -> int | None:  # noqa: ARG002 - part of _Source
        return None


def _to_row(member: Member) -> list[int]:
    row = [member.offset, member.size]
    return [*row, member.bit_offset, member.bit_size] if member.bit_size else row
