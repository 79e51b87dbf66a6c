"""Programs: loaded, tried, described."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command, StatsType
from bpfilter.bpf import pins
from bpfilter.bpf.maps import Map
from bpfilter.bpf.objects import KernelObject, iterate_ids, open_id, read_info
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.dataclass import dataclass
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a program.

    `verified_insns` is what the verifier walked (0 before Linux 5.16); the run figures
    grow only while statistics are on (see `run_statistics`). Times: `loaded_at_ns` since
    boot, `run_time_ns` in total.
    """

    id: int
    type: int
    name: str
    tag: str
    xlated_bytes: int
    jited_bytes: int
    loaded_at_ns: int
    verified_insns: int
    run_time_ns: int
    run_count: int


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a test run gave: `duration_ns` is the average of one run, `data` the packet after."""

    retval: int
    duration_ns: int
    data: bytes = b""
    ctx: bytes = b""


def hook_state(hook: int, family: int) -> bytes:
    """Give the ctx of a netfilter test run: NF_INET_* and NFPROTO_* (2 or 10).

    The kernel fills in the loopback device as input or output device, as the hook has
    them, and takes `data` to begin with an Ethernet header (at hook LOCAL_OUT, 3, with
    the network header instead). Source: bpf_prog_test_run_nf(), net/bpf/test_run.c.
    """
    return bytes(abi.NF_HOOK_STATE.pack(hook=hook, pf=family))


class Program(KernelObject):
    """A program the kernel has verified; `load_ns` is how long that took (0: opened)."""

    def __init__(self, kernel: Kernel, fd: Fd, name: str = "", load_ns: int = 0) -> None:
        super().__init__(kernel, fd, name)
        self.load_ns = load_ns

    @classmethod
    def load(
        cls,
        kernel: Kernel,
        spec: ProgramSpec,
        maps: Mapping[str, Map] | None = None,
        btf: KernelTypes | None = None,
    ) -> Self:
        """Resolve the names in a program and have the kernel verify it.

        Raises: VerifierError naming the origin of the instruction at fault,
        RestrictedError, UnsupportedError for a kernel function or type this kernel has
        not, BuildError for a map that is not given, KernelError.
        """
        from bpfilter.bpf.loading import Loading  # what opens programs needs no assembler

        loading = Loading.of(kernel, spec, maps or {}, btf)
        started = time.perf_counter_ns()
        fd = loading.load()
        return cls(kernel, fd, spec.name, time.perf_counter_ns() - started)

    @classmethod
    def open(cls, kernel: Kernel, path: Path) -> Self:
        """Open a pinned program. Raises: KernelError, ENOENT if there is none."""
        return cls(kernel, pins.open_pin(kernel, path), path.name)

    @classmethod
    def by_id(cls, kernel: Kernel, number: int) -> Self:
        fd = open_id(kernel, Command.PROG_GET_FD_BY_ID, number, f"open program {number}")
        return cls(kernel, fd, str(number))

    def info(self) -> ProgramInfo:
        data = read_info(self.kernel, self.fd, abi.PROG_INFO, f"describe program {self.name}")
        get = abi.PROG_INFO.get
        return ProgramInfo(
            id=get(data, "id"),
            type=get(data, "type"),
            name=abi.PROG_INFO.get_text(data, "name"),
            tag=abi.PROG_INFO.get_bytes(data, "tag").hex(),
            xlated_bytes=get(data, "xlated_prog_len"),
            jited_bytes=get(data, "jited_prog_len"),
            loaded_at_ns=get(data, "load_time"),
            verified_insns=get(data, "verified_insns"),
            run_time_ns=get(data, "run_time_ns"),
            run_count=get(data, "run_cnt"),
        )

    def test_run(
        self, data: bytes = b"", ctx: bytes = b"", repeat: int = 1, out_bytes: int = 0
    ) -> TestRun:
        """Run it on a made-up packet, `repeat` times (BPF_PROG_TEST_RUN).

        `ctx` is what the program type takes, `hook_state()` for netfilter; `out_bytes` is
        room for the packet as the program leaves it. The return value is the last run's.
        """
        data_in, ctx_in = Memory(data or 1), Memory(ctx or 1)
        data_out, ctx_out = Memory(out_bytes or 1), Memory(len(ctx) or 1)
        attr = abi.TEST_RUN.pack(
            prog_fd=self.fd.number,
            data_size_in=len(data),
            data_in=data_in.address if data else 0,
            data_size_out=out_bytes,
            data_out=data_out.address if out_bytes else 0,
            repeat=repeat,
            ctx_size_in=len(ctx),
            ctx_in=ctx_in.address if ctx else 0,
        )
        self.kernel.bpf(Command.PROG_TEST_RUN, attr, f"test-run program {self.name}")
        get = abi.TEST_RUN.get
        return TestRun(
            retval=get(attr, "retval"),
            duration_ns=get(attr, "duration"),
            data=bytes(data_out)[: get(attr, "data_size_out")] if out_bytes else b"",
            ctx=bytes(ctx_out) if ctx else b"",
        )


def program_ids(kernel: Kernel) -> Iterator[int]:
    """Walk the ids of all programs of this machine; needs CAP_SYS_ADMIN."""
    return iterate_ids(kernel, Command.PROG_GET_NEXT_ID, "list programs")


@contextmanager
def run_statistics(kernel: Kernel) -> Iterator[None]:
    """Have the kernel count runs and their time, of all programs, for a `with` block.

    Since Linux 5.8, commit d46edd671a14 ("bpf: Sharing bpf runtime stats with
    BPF_ENABLE_STATS"). It costs each run some 20 ns.
    """
    attr = abi.ENABLE_STATS.pack(type=StatsType.RUN_TIME)
    with Fd(kernel.bpf(Command.ENABLE_STATS, attr, "turn on run statistics")):
        yield
