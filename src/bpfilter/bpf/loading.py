"""Loading: a blueprint's names turned into numbers, and what the verifier says explained."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command
from bpfilter.abi.btf import Kind
from bpfilter.abi.insn import INSN_BYTES
from bpfilter.asm.encode import encode
from bpfilter.asm.insn import Insn, Ref, RefKind
from bpfilter.asm.resolve import resolve
from bpfilter.bpf import funcinfo
from bpfilter.bpf.maps import Map
from bpfilter.bpf.objects import name_bytes
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.dataclass import dataclass
from bpfilter.errors import BuildError, KernelError, RestrictedError, UnsupportedError
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory, c_string

_LOG_BYTES = (1 << 20, (1 << 24) - 1)  # the second is the most that every kernel takes


class _Numbers:
    # The numbers this kernel has for the names in a program.
    def __init__(self, maps: Mapping[str, Map], btf: KernelTypes | None) -> None:
        self.maps = maps
        self.btf = btf

    def __call__(self, ref: Ref) -> int:
        if ref.kind in (RefKind.MAP, RefKind.MAP_VALUE):
            if ref.name not in self.maps:
                raise BuildError(f"map {ref.name} is not given")
            return self.maps[ref.name].fd.number
        if self.btf is None:
            raise BuildError(f"{ref.kind.value} {ref.name} needs the kernel's type information")
        kind = Kind.FUNC if ref.kind is RefKind.KFUNC else Kind.STRUCT
        number = self.btf.find_id(kind, ref.name)
        if number is None:
            what = "function" if kind is Kind.FUNC else "struct"
            raise UnsupportedError(f"{what} {ref.name} for programs to use")
        return number


@dataclass(slots=True)
class Loading:
    """A program about to be loaded; errors are those of `Program.load`."""

    kernel: Kernel
    spec: ProgramSpec
    insns: tuple[Insn, ...]  # resolved
    code: bytes

    @classmethod
    def of(
        cls, kernel: Kernel, spec: ProgramSpec, maps: Mapping[str, Map], btf: KernelTypes | None
    ) -> Self:
        """Resolve the names in a program."""
        insns = resolve(spec.insns)
        return cls(kernel, spec, insns, encode(insns, _Numbers(maps, btf)))

    def load(self) -> Fd:
        """Have the kernel verify it."""
        try:
            return self._run()
        except KernelError as error:
            raise self._refusal(error) from None

    def _run(self, log: Memory | None = None) -> Fd:
        op = f"load program {self.spec.name}"
        code, license_ = Memory(self.code), c_string(self.spec.license)
        attr: dict[str, int | bytes] = {
            "prog_type": self.spec.type,
            "insn_cnt": len(code) // INSN_BYTES,
            "insns": code.address,
            "license": license_.address,
            "prog_name": name_bytes(self.spec.name),
            "expected_attach_type": self.spec.expected_attach_type,
        }
        if log:
            attr |= {"log_level": 1, "log_size": len(log), "log_buf": log.address}
        with ExitStack() as stack:
            if funcinfo.takes_addresses(self.insns):
                btf, functions = funcinfo.load(self.kernel, self.insns, op)
                stack.enter_context(btf)
                attr |= {
                    "prog_btf_fd": btf.number,
                    "func_info_rec_size": abi.FUNC_INFO_BYTES,
                    "func_info": functions.address,
                    "func_info_cnt": len(functions) // abi.FUNC_INFO_BYTES,
                }
            return Fd(self.kernel.bpf(Command.PROG_LOAD, abi.PROG_LOAD.pack(**attr), op))

    def _refusal(self, first: KernelError) -> KernelError:
        # Load again, this time with a log: keeping one costs time, and most programs load.
        if isinstance(first, RestrictedError) and "CAP_" in first.setting:
            return first
        text = self._log()
        if not text.strip():
            return first
        from bpfilter.bpf import verifier

        return verifier.explain(first.op, first.errno or errno.EINVAL, text, self.insns)

    def _log(self) -> str:
        log = Memory(1)
        for size in _LOG_BYTES:
            log = Memory(size)
            try:
                self._run(log).close()
            except KernelError as error:
                if error.errno == errno.ENOSPC:  # before Linux 6.4 a full log is an error
                    continue
            break
        return bytes(log).split(b"\0", 1)[0].decode("utf-8", "replace")
