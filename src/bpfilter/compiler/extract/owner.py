"""The socket a packet comes from, and the credentials its file was opened with.

owner_mt (net/netfilter/xt_owner.c). User and group are kernel-wide ids (kuid_t), which are
what rules say: elsewhere than in the initial user namespace such rules are refused.
"""

from __future__ import annotations

from bpfilter.asm.insn import R0, R1, R6, R7, R8, R9
from bpfilter.compiler import search
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields

# include/net/tcp_states.h
TCP_TIME_WAIT = 6
TCP_NEW_SYN_RECV = 12

FIELDS = (
    fields.OWNER_SOCKET,
    fields.OWNER_FILE,
    fields.OWNER_UID,
    fields.OWNER_GID,
    fields.OWNER_GROUPS,
)


def extract(p: Prologue) -> None:
    if not p.wants(*FIELDS):
        return
    b = p.b
    none = b.fresh("no_owner")
    _full_socket(p, none)
    p.load_member(R9, R8, "sock", "sk_socket")
    b.jeq(R9, 0, none)
    p.load_member(R1, R7, "nf_hook_state", "net")
    p.load_member(R0, R8, "sock", "__sk_common.skc_net.net")
    b.jne(R0, R1, none)
    p.put_constant(fields.OWNER_SOCKET, 1)
    p.load_member(R9, R9, "socket", "file")
    b.jeq(R9, 0, none)
    p.load_member(R9, R9, "file", "f_cred")
    for asked, member in ((fields.OWNER_UID, "fsuid"), (fields.OWNER_GID, "fsgid")):
        if p.wants(asked):
            p.load_member(R1, R9, "cred", f"{member}.val")
            p.put(asked, R1)
    if p.wants(fields.OWNER_GROUPS):
        _groups(p)
    # Closing takes the socket away (sock_orphan) before its file is given to somebody else, and
    # owner_mt locks that out. Without the lock: if it is still there, so was the file till now.
    p.load_member(R9, R8, "sock", "sk_socket")
    b.jeq(R9, 0, none)
    p.put_constant(fields.OWNER_FILE, 1)
    b.label(none)


def _groups(p: Prologue) -> None:
    # R9: struct cred. The kernel sorts the list when it is set, and searches it as we do
    # (groups_sort, groups_search in kernel/groups.c).
    b = p.b
    none = b.fresh("no_groups")
    p.peek_member(R9, R9, "cred", "group_info")
    b.jeq(R9, 0, none)
    for word in (search.COUNT, search.TO):
        p.peek_member(R1, R9, "group_info", "ngroups")
        p.put(fields.OWNER_GROUPS, R1, word)
    b.add(R9, p.member("group_info", "gid"))
    b.mov(R1, R9)
    p.put(fields.OWNER_GROUPS, R1, search.ADDRESS)
    b.rsh(R9, 32)
    p.put(fields.OWNER_GROUPS, R9, search.ADDRESS_HIGH)
    b.label(none)


def _full_socket(p: Prologue, none: str) -> None:
    # R8 = skb_to_full_sk(): the listener for a request socket; a socket in TIME_WAIT, which
    # packets carry since Linux 6.13, is no full one (commit 78e2baf3d96e).
    b = p.b
    full = b.fresh("full_socket")
    p.load_member(R8, R6, "sk_buff", "sk")
    b.jeq(R8, 0, none)
    p.cast(R8, "sock")
    b.mov(R8, R0)
    p.load_member(R1, R8, "sock", "__sk_common.skc_state")
    b.jeq(R1, TCP_TIME_WAIT, none)
    b.jne(R1, TCP_NEW_SYN_RECV, full)
    p.load_member(R8, R8, "sock", "__sk_common.skc_listener")
    b.jeq(R8, 0, none)
    p.cast(R8, "sock")
    b.mov(R8, R0)
    b.label(full)
