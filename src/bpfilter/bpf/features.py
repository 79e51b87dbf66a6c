"""What this kernel can do, found by trying it.

A probe makes the smallest object that needs the feature. It has three answers: yes; no,
with what is missing and since when kernels have it; or unknown, when something else
stood in the way (no privilege, no memory), with that error.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from enum import Enum
from functools import cached_property

from bpfilter.abi import insn as insn_abi
from bpfilter.abi.bpf import MapFlags, MapType, ProgramType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R10, Insn, Ref, RefKind
from bpfilter.bpf.link import NetfilterLink
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.dataclass import dataclass, fields
from bpfilter.errors import Error, KernelError, RestrictedError, UnsupportedError, VerifierError
from bpfilter.kernel.api import Kernel


class Support(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """`error` is the UnsupportedError of a no, or what stood in the way of an answer."""

    support: Support
    error: Error | None = None

    def __bool__(self) -> bool:
        return self.support is Support.YES


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The answers, one for each row of `FEATURES`."""

    bpf: Answer
    btf: Answer
    netfilter: Answer
    netfilter_kfuncs: Answer
    iterators: Answer
    bpf_loop: Answer
    mmapable_arrays: Answer
    long_jumps: Answer
    netfilter_link_update: Answer

    def require(self, *names: str) -> None:
        """Raise what stands in the way of a feature that is not surely there."""
        for name in names:
            answer: Answer = getattr(self, name)
            if not answer:
                assert answer.error is not None, name
                raise answer.error


class Trial:
    """One round of probing: the kernel, and its types, read once."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    @cached_property
    def types(self) -> KernelTypes:
        return KernelTypes.of_kernel(self.kernel)


@dataclass(frozen=True, slots=True)
class Feature:
    """A row: `minimum` is the release that brought it, `advice` what else it takes."""

    name: str
    title: str
    minimum: str
    probe: Callable[[Trial], None]
    advice: str = ""


def probe(kernel: Kernel) -> Capabilities:
    """Try every feature; some milliseconds each."""
    trial = Trial(kernel)
    return Capabilities(**{feature.name: try_feature(trial, feature) for feature in FEATURES})


def try_feature(trial: Trial, feature: Feature) -> Answer:
    """Try one feature; never raises an Error."""
    try:
        feature.probe(trial)
    except RestrictedError as error:
        return Answer(Support.UNKNOWN, error)
    except UnsupportedError as error:
        return Answer(Support.NO, error)
    except KernelError as error:
        if isinstance(error, VerifierError) or error.errno in _CONCLUSIVE:
            lacking = UnsupportedError(feature.title, feature.minimum, feature.advice)
            lacking.__cause__ = error
            return Answer(Support.NO, lacking)
        return Answer(Support.UNKNOWN, error)
    except Error as error:
        return Answer(Support.UNKNOWN, error)
    return Answer(Support.YES)


# What the kernel says to a type, flag or command it does not know.
_CONCLUSIVE = (errno.EINVAL, errno.EOPNOTSUPP, errno.E2BIG)

_ACCEPT = 1  # NF_ACCEPT


def _bpf(trial: Trial) -> None:
    Map.create(trial.kernel, MapSpec("probe", MapType.ARRAY, 4, 4, 1)).close()


def _btf(trial: Trial) -> None:
    _ = trial.types


def _netfilter(trial: Trial) -> None:
    _accepting(trial.kernel).close()


def _netfilter_kfuncs(trial: Trial) -> None:
    # What reading a packet and the kernel's structs takes (net/core/filter.c,
    # kernel/bpf/helpers.c).
    builder = Builder("probe")
    builder.load(R1, R1, 8)  # struct bpf_nf_ctx: state, skb
    builder.mov(R2, 0)
    builder.mov(R3, R10)
    builder.add(R3, -16)
    builder.kfunc("bpf_dynptr_from_skb")
    builder.mov(R1, R10)
    builder.add(R1, -16)
    builder.mov(R2, 0)
    builder.mov(R3, R10)
    builder.add(R3, -40)
    builder.mov(R4, 20)
    builder.kfunc("bpf_dynptr_slice")
    builder.mov(R1, 0)
    builder.type_id(R2, "sk_buff")
    builder.kfunc("bpf_rdonly_cast")
    builder.mov(R0, _ACCEPT)
    builder.exit()
    _try(trial.kernel, ProgramType.NETFILTER, builder.build(), trial.types)


def _bpf_loop(trial: Trial) -> None:
    builder = Builder("probe")
    builder.mov(R1, 1)
    builder.load_func(R2, "body")
    builder.mov(R3, 0)
    builder.mov(R4, 0)
    builder.call(Helper.LOOP)
    builder.mov(R0, 0)
    builder.exit()
    builder.label("body")
    builder.mov(R0, 0)
    builder.exit()
    _try(trial.kernel, ProgramType.SOCKET_FILTER, builder.build())


def _iterators(trial: Trial) -> None:
    builder = Builder("probe")
    for name in ("bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"):
        builder.mov(R1, R10)
        builder.add(R1, -8)
        builder.mov(R2, 0)
        builder.mov(R3, 1)
        builder.kfunc(name)
    builder.mov(R0, 0)
    builder.exit()
    _try(trial.kernel, ProgramType.NETFILTER, builder.build(), trial.types)


def _mmapable_arrays(trial: Trial) -> None:
    Map.create(trial.kernel, MapSpec("probe", MapType.ARRAY, 4, 8, 1, MapFlags.MMAPABLE)).close()


def _long_jumps(trial: Trial) -> None:
    gotol = Insn(insn_abi.BPF_JMP32 | insn_abi.BPF_JA, ref=Ref(RefKind.LABEL, "end"))
    builder = Builder("probe")
    builder.mov(R0, 0)
    builder.emit(gotol)
    builder.label("end")
    builder.exit()
    _try(trial.kernel, ProgramType.SOCKET_FILTER, builder.build())


def _netfilter_link_update(trial: Trial) -> None:
    kernel = trial.kernel
    with (
        kernel.in_scratch_netns(),
        _accepting(kernel) as program,
        NetfilterLink.attach(kernel, program, family=2, hook=1, priority=-1) as link,
    ):
        link.update(program)


def _accepting(kernel: Kernel) -> Program:
    builder = Builder("probe")
    builder.mov(R0, _ACCEPT)
    builder.exit()
    return Program.load(kernel, ProgramSpec("probe", ProgramType.NETFILTER, builder.build()))


def _try(
    kernel: Kernel,
    kind: ProgramType,
    insns: tuple[Insn, ...],
    btf: KernelTypes | None = None,
) -> None:
    Program.load(kernel, ProgramSpec("probe", kind, insns), btf=btf).close()


FEATURES = (
    Feature("bpf", "bpf(2) maps", "3.18", _bpf, "it needs CONFIG_BPF_SYSCALL=y"),
    Feature("btf", "type information of itself", "4.18", _btf, "it needs CONFIG_DEBUG_INFO_BTF=y"),
    Feature(
        "netfilter",
        "eBPF programs at netfilter hooks",
        "6.4",
        _netfilter,
        "it needs CONFIG_NETFILTER_BPF_LINK=y",
    ),
    Feature(
        "netfilter_kfuncs",
        "kernel functions by which such programs read packets",
        "6.4",
        _netfilter_kfuncs,
    ),
    Feature("iterators", "bounded loops in eBPF (bpf_iter_num)", "6.4", _iterators),
    Feature("bpf_loop", "bpf_loop() for programs", "5.17", _bpf_loop),
    Feature("mmapable_arrays", "BPF arrays to map into memory", "5.5", _mmapable_arrays),
    Feature("long_jumps", "eBPF jumps of 32 bits", "6.6", _long_jumps),
    Feature("netfilter_link_update", "update of netfilter links", "", _netfilter_link_update),
)

assert tuple(feature.name for feature in FEATURES) == tuple(f.name for f in fields(Capabilities))
