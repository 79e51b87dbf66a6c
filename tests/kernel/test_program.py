from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import pytest

from bpfilter.abi.bpf import MapFlags, MapType, ProgramType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R6, R7, R10, Size
from bpfilter.bpf.features import Support, probe
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program, hook_state, program_ids, run_statistics
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.errors import BuildError, KernelError, VerifierError
from bpfilter.kernel.linux import LinuxKernel

IPV4 = b"\x45\0\0\x28" + bytes(36)
ETHERNET = bytes(12) + b"\x08\0"

pytestmark = pytest.mark.usefixtures("no_leaks")


def _netfilter(builder: Builder) -> ProgramSpec:
    return ProgramSpec("test", ProgramType.NETFILTER, builder.build())


def _accept() -> ProgramSpec:
    b = Builder("test")
    b.mov(R0, 1)
    b.exit()
    return _netfilter(b)


def test_netfilter_test_run_sees_hook_and_family(kernel: LinuxKernel, types: KernelTypes) -> None:
    # returns 1 if the hook is FORWARD and the family IPv6
    b = Builder("test")
    b.mov(R0, 0)
    b.load(R1, R1, 0)
    b.load(R2, R1, types.offset("nf_hook_state", "hook").offset, Size.B)
    b.load(R3, R1, types.offset("nf_hook_state", "pf").offset, Size.B)
    b.jne(R2, 2, "end")
    b.jne(R3, 10, "end")
    b.mov(R0, 1)
    b.label("end")
    b.exit()
    ipv6 = bytes(12) + b"\x86\xdd" + b"\x60" + bytes(47)
    with Program.load(kernel, _netfilter(b)) as program:
        assert program.test_run(ipv6, hook_state(2, 10)).retval == 1
        assert program.test_run(ETHERNET + IPV4, hook_state(2, 2)).retval == 0
        assert program.test_run(ETHERNET + IPV4, hook_state(1, 2)).retval == 0
        run = program.test_run(IPV4, hook_state(3, 2), repeat=1000)  # no Ethernet at OUTPUT
        assert run.retval == 0
        assert 0 < run.duration_ns < 1_000_000


def test_xdp_test_run_gives_the_packet_back(kernel: LinuxKernel) -> None:
    b = Builder("test")
    b.load(R2, R1, 4, Size.W)
    b.load(R1, R1, 0, Size.W)
    b.mov(R3, R1)
    b.add(R3, 14)
    b.jgt(R3, R2, "end")
    b.store(R1, 0, 0xAB, Size.B)
    b.label("end")
    b.mov(R0, 2)
    b.exit()
    with Program.load(kernel, ProgramSpec("test", ProgramType.XDP, b.build())) as program:
        run = program.test_run(ETHERNET + IPV4, out_bytes=100)
        assert run.retval == 2
        assert run.data == b"\xab" + (ETHERNET + IPV4)[1:]


def test_refusal_names_the_origin(kernel: LinuxKernel) -> None:
    b = Builder("test")
    b.imm64(R1, 5)
    with b.origin("rules.v4:7: -A INPUT"):
        b.mov(R0, R6)
    b.exit()
    with pytest.raises(VerifierError) as raised:
        Program.load(kernel, _netfilter(b))
    assert str(raised.value) == (
        "load program test: the kernel refused the program at rules.v4:7: -A INPUT: "
        "R6 !read_ok (instruction 2)"
    )
    assert "2: (bf) r0 = r6" in raised.value.log


def test_long_log_is_kept_to_its_end(kernel: LinuxKernel) -> None:
    b = Builder("test")
    for _ in range(25_000):
        b.mov(R1, 0x12345678)
    with b.origin("the last"):
        b.mov(R0, R6)
    b.exit()
    with pytest.raises(VerifierError, match="R6 !read_ok") as raised:
        Program.load(kernel, _netfilter(b))
    assert raised.value.origin == "the last"
    assert len(raised.value.log) > 1 << 20


def test_info_and_statistics(kernel: LinuxKernel) -> None:
    with Program.load(kernel, _accept()) as program:
        before = program.info()
        assert (before.name, before.type) == ("test", ProgramType.NETFILTER)
        assert before.xlated_bytes == 16
        assert before.verified_insns == 2
        assert before.id in program_ids(kernel)
        assert program.load_ns > 0
        with run_statistics(kernel):
            program.test_run(IPV4, hook_state(3, 2), repeat=10)
        assert program.info().run_count == 10


def test_pinned_program_is_opened_again(kernel: LinuxKernel, bpffs: Path) -> None:
    with Program.load(kernel, _accept()) as program:
        program.pin(bpffs / "p")
        number = program.info().id
    with Program.open(kernel, bpffs / "p") as again, Program.by_id(kernel, number) as by_id:
        assert again.info().id == by_id.info().id == number


def test_callback_of_bpf_loop(kernel: LinuxKernel) -> None:
    with Map.create(kernel, MapSpec("sum", MapType.ARRAY, 4, 8, 1)) as total:
        b = Builder("test")
        b.mov(R1, 100)
        b.load_func(R2, "body")
        b.mov(R3, 0)
        b.mov(R4, 0)
        b.call(Helper.LOOP)
        b.exit()
        b.label("body")
        b.load_map_value(R2, "sum")
        b.atomic_add(R2, 0, R1)
        b.mov(R0, 0)
        b.exit()
        spec = ProgramSpec("test", ProgramType.SOCKET_FILTER, b.build())
        with Program.load(kernel, spec, {"sum": total}) as program:
            assert program.test_run(ETHERNET + IPV4).retval == 100
        assert total.lookup(0) == struct.pack("=Q", 99 * 100 // 2)


def test_wait_for_readers_waits_for_a_run_that_began_before(
    kernel: LinuxKernel, types: KernelTypes
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("on one CPU nobody else runs while a program does")
    spec = MapSpec("state", MapType.ARRAY, 4, 16, 1, MapFlags.MMAPABLE)
    with (
        Map.create(kernel, spec) as state,
        state.mmap() as memory,
        Program.load(kernel, _slow(), {"state": state}, types) as slow,
    ):
        for _ in range(20):  # on a busy machine we may not come to look during the run
            memory[:16] = bytes(16)
            run = threading.Thread(target=slow.test_run, args=(ETHERNET + IPV4,))
            run.start()
            while memory[0] == 0:
                pass
            seen_running = memory[8] == 0
            kernel.wait_for_readers()
            ended = memory[8]
            run.join()
            if seen_running:
                assert ended == 1
                return
    pytest.fail("the program was never seen running")


def _slow() -> ProgramSpec:
    # Writes word 0, spins for 200 ms (or 2^23 rounds), writes word 1.
    b = Builder("test")
    b.load_map_value(R7, "state")
    b.store(R7, 0, 1)
    b.call(Helper.KTIME_GET_NS)
    b.mov(R6, R0)
    b.mov(R1, R10)
    b.add(R1, -8)
    b.mov(R2, 0)
    b.mov(R3, 1 << 23)
    b.kfunc("bpf_iter_num_new")
    b.label("again")
    b.mov(R1, R10)
    b.add(R1, -8)
    b.kfunc("bpf_iter_num_next")
    b.jeq(R0, 0, "done")
    b.call(Helper.KTIME_GET_NS)
    b.sub(R0, R6)
    b.jlt(R0, 200_000_000, "again")
    b.label("done")
    b.mov(R1, R10)
    b.add(R1, -8)
    b.kfunc("bpf_iter_num_destroy")
    b.store(R7, 8, 1)
    b.mov(R0, 0)
    b.exit()
    return ProgramSpec("slow", ProgramType.SOCKET_FILTER, b.build())


def test_missing_map_is_a_build_error(kernel: LinuxKernel) -> None:
    b = Builder("test")
    b.load_map(R1, "nothing")
    b.mov(R0, 1)
    b.exit()
    with pytest.raises(BuildError, match="nothing"):
        Program.load(kernel, _netfilter(b))


def test_features_of_this_kernel(kernel: LinuxKernel) -> None:
    found = probe(kernel)
    assert found.bpf
    assert found.btf
    assert found.mmapable_arrays
    if found.netfilter:  # Linux 6.4: then these came with it
        assert found.netfilter_kfuncs
        assert found.iterators
        assert found.netfilter_link_update.support is Support.NO


def test_unknown_program_is_an_error_with_its_errno(kernel: LinuxKernel) -> None:
    with pytest.raises(KernelError, match="open program"):
        Program.by_id(kernel, 0x7FFF_FFFF)
