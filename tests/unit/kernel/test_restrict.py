from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from bpfilter.errors import KernelError
from bpfilter.kernel.restrict import Capability, Facts, explain, read_facts

ROOT = Facts(capabilities=(1 << 41) - 1)
LOAD = (Capability.CAP_BPF, Capability.CAP_NET_ADMIN, Capability.CAP_PERFMON)


@pytest.mark.parametrize(
    ("facts", "setting", "said"),
    [
        (Facts(), "CAP_BPF and CAP_NET_ADMIN and CAP_PERFMON", "as root"),
        (Facts(), "CAP_BPF and CAP_NET_ADMIN and CAP_PERFMON", "unprivileged_bpf_disabled is 2"),
        (
            Facts(capabilities=1 << Capability.CAP_SYS_ADMIN),  # stands for BPF and PERFMON
            "CAP_NET_ADMIN",
            "as root",
        ),
        (replace(ROOT, owns_user_namespace=False), "user namespace", "container"),
        (replace(ROOT, lockdown="confidentiality"), "kernel lockdown", "(confidentiality)"),
        (replace(ROOT, has_seccomp_filter=True), "seccomp", "bpf(2)"),
        (ROOT, "RLIMIT_MEMLOCK or a security module", "ulimit -l"),
    ],
)
def test_each_fact_is_named(facts: Facts, setting: str, said: str) -> None:
    error = explain("load program x", LOAD, facts)
    assert isinstance(error, KernelError)
    assert error.errno == errno.EPERM
    assert error.setting == setting
    assert said in str(error)
    assert str(error).startswith("load program x: ")
    assert "\n" not in str(error)


def test_facts_are_read_from_proc_and_sys(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("proc/thread-self/status", "Name:\tx\nCapEff:\t0000008000001000\nSeccomp:\t2\n")
    write("proc/self/uid_map", "         0     100000      65536\n")
    write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    write("proc/sys/kernel/unprivileged_bpf_disabled", "1\n")
    facts = read_facts(tmp_path)
    assert facts == Facts(0x8000001000, False, True, "integrity", 1)
    assert facts.has(Capability.CAP_BPF)
    assert facts.has(Capability.CAP_NET_ADMIN)
    assert not facts.has(Capability.CAP_PERFMON)


def test_what_cannot_be_read_is_taken_as_harmless(tmp_path: Path) -> None:
    assert read_facts(tmp_path) == Facts()
