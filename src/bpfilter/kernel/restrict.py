"""Why the kernel said EPERM, in one sentence that names what to change.

The kernel gives no reason; the facts that can stand in the way are few, and are
looked at in the order in which the kernel does.
"""

from __future__ import annotations

import errno as _errno
from enum import IntEnum
from pathlib import Path

from bpfilter.abi.bpf import Command
from bpfilter.dataclass import dataclass
from bpfilter.errors import RestrictedError


class Capability(IntEnum):
    """include/uapi/linux/capability.h."""

    CAP_NET_ADMIN = 12
    CAP_SYS_ADMIN = 21
    CAP_PERFMON = 38  # Linux 5.8; CAP_SYS_ADMIN stands for it
    CAP_BPF = 39  # Linux 5.8; CAP_SYS_ADMIN stands for it


# CAP_PERFMON: reading kernel structs through typed pointers (check_ptr_to_btf_access).
_LOAD = (Capability.CAP_BPF, Capability.CAP_NET_ADMIN, Capability.CAP_PERFMON)
_BY_ID = (Capability.CAP_SYS_ADMIN,)

NEEDS: dict[Command, tuple[Capability, ...]] = {
    Command.PROG_LOAD: _LOAD,
    Command.LINK_CREATE: (Capability.CAP_NET_ADMIN,),
    Command.PROG_GET_NEXT_ID: _BY_ID,
    Command.MAP_GET_NEXT_ID: _BY_ID,
    Command.LINK_GET_NEXT_ID: _BY_ID,
    Command.PROG_GET_FD_BY_ID: _BY_ID,
    Command.MAP_GET_FD_BY_ID: _BY_ID,
    Command.LINK_GET_FD_BY_ID: _BY_ID,
    Command.ENABLE_STATS: _BY_ID,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What may stand in the way of a privileged call, as this process finds it."""

    capabilities: int = 0  # CapEff: bit n is capability n
    owns_user_namespace: bool = True  # all user ids mapped: the initial namespace
    has_seccomp_filter: bool = False
    lockdown: str = "none"  # none, integrity or confidentiality
    unprivileged_bpf_disabled: int = 2

    def has(self, capability: Capability) -> bool:
        stands_for = (
            (capability, Capability.CAP_SYS_ADMIN)
            if capability in (Capability.CAP_BPF, Capability.CAP_PERFMON)
            else (capability,)
        )
        return any(self.capabilities >> number & 1 for number in stands_for)


def read_facts(root: Path = Path("/")) -> Facts:
    """Look at /proc and /sys; what cannot be read is taken as harmless."""
    status = dict(
        line.split(":", 1)
        for line in _read(root / "proc/thread-self/status").splitlines()
        if ":" in line
    )
    lockdown = _read(root / "sys/kernel/security/lockdown")  # e.g. "none [integrity] …"
    disabled = _read(root / "proc/sys/kernel/unprivileged_bpf_disabled").strip()
    return Facts(
        capabilities=int(status.get("CapEff", "0"), 16),
        owns_user_namespace=_read(root / "proc/self/uid_map").split()
        in ([], ["0", "0", "4294967295"]),
        has_seccomp_filter=status.get("Seccomp", "0").strip() == "2",
        lockdown=lockdown.partition("[")[2].partition("]")[0] or "none",
        unprivileged_bpf_disabled=int(disabled) if disabled.isdigit() else 2,
    )


def explain(
    op: str, needs: tuple[Capability, ...], facts: Facts, errno: int = _errno.EPERM
) -> RestrictedError:
    """Name the setting or privilege that most likely stands in the way."""
    setting, advice = _reason(needs or (Capability.CAP_BPF,), facts)
    return RestrictedError(op, errno, setting, advice)


def require(op: str, facts: Facts) -> None:
    """Refuse early, in one sentence, what would fail halfway.

    Raises: RestrictedError if loading and attaching programs is certainly not allowed.
    """
    if not all(map(facts.has, _LOAD)) or not facts.owns_user_namespace:
        raise explain(op, _LOAD, facts)


def _reason(needs: tuple[Capability, ...], facts: Facts) -> tuple[str, str]:
    missing = [capability for capability in needs if not facts.has(capability)]
    if missing:
        names = " and ".join(capability.name for capability in missing)
        advice = f"it needs {names}: run it as root"
        if Capability.CAP_BPF in missing and facts.unprivileged_bpf_disabled:
            advice += (
                f" (kernel.unprivileged_bpf_disabled is {facts.unprivileged_bpf_disabled} here)"
            )
        return names, advice
    if not facts.owns_user_namespace:
        return (
            "user namespace",
            "this is root in a user namespace only: run it in the host's (a container"
            " needs --privileged and --userns=host)",
        )
    if facts.lockdown != "none":
        return (
            "kernel lockdown",
            f"the kernel is locked down ({facts.lockdown}): see kernel_lockdown(7)",
        )
    if facts.has_seccomp_filter:
        return (
            "seccomp",
            "a seccomp filter forbids it (a container's, perhaps): allow bpf(2) and setns(2)",
        )
    return (
        "RLIMIT_MEMLOCK or a security module",
        "all capabilities are there: look at `ulimit -l` (before Linux 5.11) and at the"
        " security module's log (dmesg, ausearch)",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
