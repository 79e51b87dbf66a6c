"""Links: programs attached to a hook for as long as the link lives."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import AttachType, Command, LinkType
from bpfilter.bpf import pins
from bpfilter.bpf.objects import KernelObject, iterate_ids, open_id, read_info
from bpfilter.bpf.program import Program
from bpfilter.dataclass import dataclass
from bpfilter.errors import KernelError, UnsupportedError
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a link; the last four fields are a netfilter link's.

    The kernel does not tell which network namespace a link belongs to.
    """

    id: int
    type: int
    program_id: int
    family: int = 0
    hook: int = 0
    priority: int = 0
    flags: int = 0


class Link(KernelObject):
    """A link of any type, opened from a pin or by id."""

    @classmethod
    def open(cls, kernel: Kernel, path: Path) -> Self:
        """Open a pinned link. Raises: KernelError, ENOENT if there is none."""
        return cls(kernel, pins.open_pin(kernel, path), path.name)

    @classmethod
    def by_id(cls, kernel: Kernel, number: int) -> Self:
        fd = open_id(kernel, Command.LINK_GET_FD_BY_ID, number, f"open link {number}")
        return cls(kernel, fd, str(number))

    def info(self) -> LinkInfo:
        return _info(self.kernel, self.fd)

    def update(self, program: Program) -> None:
        """Put another program in its place, in one step.

        Netfilter links cannot: bpf_nf_link_update() answers EOPNOTSUPP in every release up
        to Linux 6.18. Attach a fixed program that tail-calls through a map instead.
        Raises: UnsupportedError where this type of link cannot, KernelError.
        """
        attr = abi.LINK_UPDATE.pack(link_fd=self.fd.number, new_prog_fd=program.fd.number)
        try:
            self.kernel.bpf(Command.LINK_UPDATE, attr, f"update link {self.name}")
        except KernelError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                raise UnsupportedError("update of this type of link") from error
            raise

    def detach(self) -> None:
        """Take the program off its hook now, whoever else still holds the link; Linux 5.9.

        A link whose network namespace has gone is detached already; that is fine.
        """
        attr = abi.LINK_DETACH.pack(link_fd=self.fd.number)
        self.kernel.bpf(Command.LINK_DETACH, attr, f"detach link {self.name}")


class NetfilterLink(Link):
    """A program at a netfilter hook of one network namespace; Linux 6.4.

    Commit 84601d6ee68a ("bpf: add bpf_link support for BPF_NETFILTER programs").
    """

    @classmethod
    def attach(
        cls,
        kernel: Kernel,
        program: Program,
        family: int,
        hook: int,
        priority: int,
        flags: int = 0,
    ) -> Self:
        """Attach in the network namespace this thread is in (see Kernel.in_netns).

        `family` is NFPROTO_IPV4 (2) or NFPROTO_IPV6 (10), `hook` NF_INET_* (0 to 4).
        Programs run in ascending order of priority. Raises: KernelError, EBUSY if the
        priority is taken: a BPF hook shares it with no other hook, 0 is the filter table's.
        """
        name = f"{_FAMILIES.get(family, family)} {_HOOKS.get(hook, hook)}"
        attr = abi.LINK_CREATE.pack(
            **{
                "prog_fd": program.fd.number,
                "attach_type": AttachType.NETFILTER,
                "netfilter.pf": family,
                "netfilter.hooknum": hook,
                "netfilter.priority": priority,
                "netfilter.flags": flags,
            }
        )
        op = f"attach {program.name} to {name} at priority {priority}"
        return cls(kernel, Fd(kernel.bpf(Command.LINK_CREATE, attr, op)), name)


def netfilter_links(kernel: Kernel) -> Iterator[LinkInfo]:
    """Walk the netfilter links of this machine, all namespaces; needs CAP_SYS_ADMIN."""
    for number in iterate_ids(kernel, Command.LINK_GET_NEXT_ID, "list links"):
        try:
            link = Link.by_id(kernel, number)
        except KernelError as error:
            if error.errno == errno.ENOENT:  # gone since
                continue
            raise
        with link:
            info = link.info()
        if info.type == LinkType.NETFILTER:
            yield info


_FAMILIES = {2: "IPv4", 10: "IPv6"}
_HOOKS = {0: "PREROUTING", 1: "INPUT", 2: "FORWARD", 3: "OUTPUT", 4: "POSTROUTING"}


def _info(kernel: Kernel, fd: Fd) -> LinkInfo:
    data = read_info(kernel, fd, abi.LINK_INFO, "describe a link")
    get = abi.LINK_INFO.get
    common = LinkInfo(get(data, "id"), get(data, "type"), get(data, "prog_id"))
    if common.type != LinkType.NETFILTER:
        return common
    return LinkInfo(
        common.id,
        common.type,
        common.program_id,
        family=get(data, "netfilter.pf"),
        hook=get(data, "netfilter.hooknum"),
        priority=get(data, "netfilter.priority"),
        flags=get(data, "netfilter.flags"),
    )
