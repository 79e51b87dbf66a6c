from __future__ import annotations

import errno

import pytest

from bpfilter.abi.bpf import MapType, ProgramType
from bpfilter.abi.btf import Kind
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.encode import decode
from bpfilter.asm.insn import R0, R1, R2
from bpfilter.bpf.link import NetfilterLink
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program, hook_state
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.errors import BuildError, KernelError, UnsupportedError, VerifierError
from tests.harness.fake_kernel import FakeKernel, FakeProgram
from tests.unit.btf.types import sample


def _spec(builder: Builder) -> ProgramSpec:
    return ProgramSpec("test", ProgramType.NETFILTER, builder.build())


def _accept() -> ProgramSpec:
    b = Builder("test")
    with b.origin("rule 7 of INPUT"):
        b.imm64(R1, 1 << 40)
        b.mov(R0, 1)
    b.exit()
    return _spec(b)


def test_names_get_this_kernels_numbers(kernel: FakeKernel) -> None:
    b = Builder("test")
    b.load_map(R1, "counts")
    b.load_map_value(R2, "counts", 24)
    b.type_id(R1, "inner")
    b.kfunc("do_something")
    b.exit()
    types = KernelTypes.from_btf(sample())
    with (
        Map.create(kernel, MapSpec("counts", MapType.ARRAY, 4, 32, 1)) as counts,
        Program.load(kernel, _spec(b), {"counts": counts}, types) as program,
    ):
        loaded = next(made for made in kernel.alive() if isinstance(made, FakeProgram))
        insns = decode(loaded.code)
        assert insns[0].imm == counts.fd.number
        assert insns[1].imm == 24 << 32 | counts.fd.number
        assert insns[2].imm == types.find_id(Kind.STRUCT, "inner")
        assert insns[3].imm == types.find_id(Kind.FUNC, "do_something")
        assert program.info().id == loaded.id


def test_names_that_nobody_has(kernel: FakeKernel) -> None:
    b = Builder("test")
    b.load_map(R1, "counts")
    b.exit()
    with pytest.raises(BuildError, match="counts"):
        Program.load(kernel, _spec(b))
    b = Builder("test")
    b.kfunc("missing_kfunc")
    b.exit()
    with pytest.raises(BuildError, match="type information"):
        Program.load(kernel, _spec(b))
    with pytest.raises(UnsupportedError, match="function missing_kfunc"):
        Program.load(kernel, _spec(b), btf=KernelTypes.from_btf(sample()))
    assert kernel.calls == []


def test_refused_program_is_loaded_again_for_its_log(kernel: FakeKernel) -> None:
    log = "0: (18) r1 = 0x1\n2: (b7) r0 = 1\nR0 is bad\nprocessed 2 insns\n"
    kernel.reject("test", log)
    with pytest.raises(VerifierError) as raised:
        Program.load(kernel, _accept())
    error = raised.value
    assert str(error) == (
        "load program test: the kernel refused the program at rule 7 of INPUT: "
        "R0 is bad (instruction 2)"
    )
    assert error.log == log
    assert error.errno == errno.EACCES
    assert kernel.calls == ["PROG_LOAD load program test"] * 2


def test_failure_without_a_log_stays_what_it_is(kernel: FakeKernel) -> None:
    kernel.reject("test", "", errno.ENOMEM)
    with pytest.raises(KernelError) as raised:
        Program.load(kernel, _accept())
    assert not isinstance(raised.value, VerifierError)
    assert raised.value.errno == errno.ENOMEM


def test_success_is_loaded_once_without_a_log(kernel: FakeKernel) -> None:
    with Program.load(kernel, _accept()) as program:
        assert program.load_ns > 0
        assert kernel.calls == ["PROG_LOAD load program test"]
        kernel.retval = 1
        assert program.test_run(bytes(60), hook_state(1, 2)).retval == 1


def test_callbacks_bring_the_types_of_all_functions(kernel: FakeKernel) -> None:
    b = Builder("test")
    b.load_func(R2, "body")
    b.call(Helper.LOOP)
    b.exit()
    b.label("body")
    b.exit()
    Program.load(kernel, _spec(b)).close()
    assert [call.split()[0] for call in kernel.calls] == ["BTF_LOAD", "PROG_LOAD"]


def test_netfilter_link(kernel: FakeKernel) -> None:
    with Program.load(kernel, _accept()) as program, kernel.in_netns("blue"):
        with NetfilterLink.attach(kernel, program, family=2, hook=1, priority=-1) as link:
            assert (link.info().hook, link.info().priority) == (1, -1)
            assert [(found.netns, found.priority) for found in kernel.attached()] == [("blue", -1)]
            with pytest.raises(KernelError, match="IPv4 INPUT at priority -1") as raised:
                NetfilterLink.attach(kernel, program, family=2, hook=1, priority=-1)
            assert raised.value.errno == errno.EBUSY
            with pytest.raises(UnsupportedError, match="update"):
                link.update(program)
            link.detach()
            assert kernel.attached() == []
        NetfilterLink.attach(kernel, program, family=2, hook=1, priority=-1).close()
        assert kernel.attached() == []
