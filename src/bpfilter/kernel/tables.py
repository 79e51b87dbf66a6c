"""Which rules are in the kernel's own tables of this network namespace; and one table deleted.

Asked on every apply, so without a netlink library, whose import takes longer than all
else an apply does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from bpfilter.abi import nfnetlink as nl
from bpfilter.abi.xtables import GETINFO, SO_GET_INFO
from bpfilter.kernel import libc
from bpfilter.kernel.fd import Fd

_NAMES = {2: "/proc/thread-self/net/ip_tables_names", 10: "/proc/thread-self/net/ip6_tables_names"}
_IPPROTO_RAW = 255
_ERESTART = 85  # include/linux/errno.h; not one of those that programs usually see
_LEVELS = {2: 0, 10: 41}  # IPPROTO_IP, IPPROTO_IPV6; the families are AF_* as well as NFPROTO_*


def legacy_entries(family: int, table: str) -> int:
    """Give the entries of a legacy table, policies and the closing one included; 0 if none.

    A table that is not there is not asked for: asking would make the kernel create it.
    """
    try:
        if table not in Path(_NAMES[family]).read_text().split():
            return 0
        with Fd(libc.socket(family, nl.SOCK_RAW, _IPPROTO_RAW)) as asking:
            request = bytes(GETINFO.pack(name=table.encode()))
            answer = libc.getsockopt(asking.number, _LEVELS[family], SO_GET_INFO, request)
    except OSError:
        return 0
    return int(GETINFO.get(answer, "num_entries"))


def nft_rule_tables() -> set[tuple[int, str]]:
    """Give (NFPROTO_* family, table) of every nf_tables rule; empty without nf_tables."""
    found: set[tuple[int, str]] = set()
    try:
        with Fd(libc.socket(nl.AF_NETLINK, nl.SOCK_RAW, nl.NETLINK_NETFILTER)) as asking:
            # The kernel does what it is asked within the calls: there is nothing to wait for.
            os.write(asking.number, nl.DUMP_RULES)
            while True:
                data = os.read(asking.number, 1 << 16)
                for kind, body in _messages(data):
                    if kind in (nl.NLMSG_DONE, nl.NLMSG_ERROR):
                        return found
                    if kind == nl.NFNL_SUBSYS_NFTABLES << 8 | nl.NFT_MSG_NEWRULE:
                        found.add((body[0], _table(body[nl.NFGENMSG.size :])))
    except OSError:
        return found


def nft_generation() -> int:
    """Give the number of the last change of nf_tables. Raises: OSError."""
    for kind, body in _asked(nl.GET_GENERATION):
        if kind == nl.NFNL_SUBSYS_NFTABLES << 8 | nl.NFT_MSG_NEWGEN:
            found = _attribute(body[nl.NFGENMSG.size :], nl.NFTA_GEN_ID)
            return int(nl.NUMBER.unpack(found)[0])
    raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))


def delete_nft_table(family: int, name: str, generation: int) -> bool:
    """Delete a table with all that is in it; False if the last change is another one by now.

    Raises: OSError.
    """
    for kind, body in _asked(nl.delete_table(family, name, generation)):
        if kind == nl.NLMSG_ERROR:
            (code,) = nl.NLMSGERR.unpack_from(body)
            if code == 0:
                return True
            if code == -_ERESTART:
                return False
            raise OSError(-code, os.strerror(-code))
    raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))


# The first answer to a request, which is there when the request has been made.
def _asked(request: bytes) -> Iterator[tuple[int, bytes]]:
    with Fd(libc.socket(nl.AF_NETLINK, nl.SOCK_RAW, nl.NETLINK_NETFILTER)) as asking:
        os.write(asking.number, request)
        data = os.read(asking.number, 1 << 16)
    return _messages(data)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= nl.NLMSGHDR.size:
        length, kind, _, _, _ = nl.NLMSGHDR.unpack_from(data)
        if length < nl.NLMSGHDR.size:
            return
        yield kind, data[nl.NLMSGHDR.size : length]
        data = data[(length + 3) & ~3 :]


def _table(attributes: bytes) -> str:
    found = _attribute(attributes, nl.NFTA_RULE_TABLE)
    return found.rstrip(b"\0").decode(errors="replace")


def _attribute(attributes: bytes, wanted: int) -> bytes:
    while len(attributes) >= nl.NLATTR.size:
        length, kind = nl.NLATTR.unpack_from(attributes)
        if length < nl.NLATTR.size:
            break
        if kind & nl.NLA_TYPE_MASK == wanted:
            return attributes[nl.NLATTR.size : length]
        attributes = attributes[(length + 3) & ~3 :]
    return b""
