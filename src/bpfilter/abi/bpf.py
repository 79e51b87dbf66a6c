"""bpf(2): commands, types, flags, and the layout of `union bpf_attr` for each command.

Source: include/uapi/linux/bpf.h, Linux 6.18. The layouts only ever grow at their end;
a kernel takes an attr that is shorter than its own (the rest counts as zero), and a
longer one if all that it does not know is zero. tests/kernel/test_abi.py compares
every layout here with the running kernel's own type information.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from bpfilter.abi.layout import Struct, raw, s32, u8, u32, u64

OBJ_NAME_BYTES: Final = 16  # BPF_OBJ_NAME_LEN, with the NUL
TAG_BYTES: Final = 8  # BPF_TAG_SIZE
FS_TYPE: Final = "bpf"


class Command(IntEnum):
    """enum bpf_cmd."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    BTF_LOAD = 18
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    LINK_DETACH = 34


class MapType(IntEnum):
    """enum bpf_map_type, the types used here."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    RINGBUF = 27

    @property
    def is_per_cpu(self) -> bool:
        return self in (MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH)

    @property
    def is_array(self) -> bool:
        """Whether keys are the numbers 0 to entries - 1, all present from the start."""
        return self in (MapType.ARRAY, MapType.PERCPU_ARRAY)


class MapFlags(IntFlag):
    """map_flags of BPF_MAP_CREATE."""

    NO_PREALLOC = 1 << 0
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    RDONLY_PROG = 1 << 7  # programs only read it
    WRONLY_PROG = 1 << 8
    MMAPABLE = 1 << 10  # arrays; Linux 5.5, commit fc9702273e2e
    INNER_MAP = 1 << 12  # array whose entries may differ from its template; Linux 5.10


class UpdateMode(IntEnum):
    """flags of BPF_MAP_UPDATE_ELEM."""

    ANY = 0
    NOEXIST = 1  # EEXIST if the key is there
    EXIST = 2  # ENOENT if it is not


class ProgramType(IntEnum):
    """enum bpf_prog_type, the types used here."""

    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    CGROUP_SKB = 8
    RAW_TRACEPOINT = 17
    TRACING = 26
    SYSCALL = 31  # Linux 5.14
    NETFILTER = 32  # Linux 6.4


class AttachType(IntEnum):
    """enum bpf_attach_type, the types used here."""

    XDP = 37
    NETFILTER = 45
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class LinkType(IntEnum):
    """enum bpf_link_type, the types used here."""

    XDP = 6
    NETFILTER = 10
    TCX = 11


class StatsType(IntEnum):
    """type of BPF_ENABLE_STATS."""

    RUN_TIME = 0


#: flags of a netfilter link: reassemble fragments before the program sees them; Linux 6.6.
NETFILTER_IP_DEFRAG: Final = 1

# union bpf_attr, command by command; the comment is the field the command writes back.

MAP_CREATE: Final = Struct(
    "bpf_attr.map_create",
    72,
    u32("map_type", 0),
    u32("key_size", 4),
    u32("value_size", 8),
    u32("max_entries", 12),
    u32("map_flags", 16),
    u32("inner_map_fd", 20),
    u32("numa_node", 24),
    raw("map_name", 28, OBJ_NAME_BYTES),
    u64("map_extra", 64),
)

# BPF_MAP_{LOOKUP,UPDATE,DELETE}_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM, BPF_MAP_FREEZE
MAP_ELEM: Final = Struct(
    "bpf_attr.map_elem",
    32,
    u32("map_fd", 0),
    u64("key", 8),
    u64("value", 16),
    u64("flags", 24),
)

# BPF_MAP_GET_NEXT_KEY; key 0 (NULL) asks for the first
MAP_NEXT_KEY: Final = Struct(
    "bpf_attr.map_next_key",
    24,
    u32("map_fd", 0),
    u64("key", 8),
    u64("next_key", 16),
)

# BPF_MAP_*_BATCH; Linux 5.6; writes count
MAP_BATCH: Final = Struct(
    "bpf_attr.batch",
    56,
    u64("in_batch", 0),
    u64("out_batch", 8),
    u64("keys", 16),
    u64("values", 24),
    u32("count", 32),
    u32("map_fd", 36),
    u64("elem_flags", 40),
    u64("flags", 48),
)

PROG_LOAD: Final = Struct(
    "bpf_attr.prog_load",
    128,
    u32("prog_type", 0),
    u32("insn_cnt", 4),
    u64("insns", 8),
    u64("license", 16),
    u32("log_level", 24),
    u32("log_size", 28),
    u64("log_buf", 32),
    u32("kern_version", 40),
    u32("prog_flags", 44),
    raw("prog_name", 48, OBJ_NAME_BYTES),
    u32("prog_ifindex", 64),
    u32("expected_attach_type", 68),
    u32("prog_btf_fd", 72),
    u32("func_info_rec_size", 76),
    u64("func_info", 80),
    u32("func_info_cnt", 88),
    u32("attach_btf_id", 108),
    u32("attach_prog_fd", 112),
    u64("fd_array", 120),
)

#: sizeof(struct bpf_func_info)
FUNC_INFO_BYTES: Final = 8

BTF_LOAD: Final = Struct(
    "bpf_attr.btf_load",
    28,
    u64("btf", 0),
    u64("btf_log_buf", 8),
    u32("btf_size", 16),
    u32("btf_log_size", 20),
    u32("btf_log_level", 24),
)

# BPF_OBJ_PIN, BPF_OBJ_GET
OBJ: Final = Struct(
    "bpf_attr.obj",
    16,
    u64("pathname", 0),
    u32("bpf_fd", 8),
    u32("file_flags", 12),
)

# writes retval, data_size_out, ctx_size_out, duration
TEST_RUN: Final = Struct(
    "bpf_attr.test",
    80,
    u32("prog_fd", 0),
    u32("retval", 4),
    u32("data_size_in", 8),
    u32("data_size_out", 12),
    u64("data_in", 16),
    u64("data_out", 24),
    u32("repeat", 32),
    u32("duration", 36),
    u32("ctx_size_in", 40),
    u32("ctx_size_out", 44),
    u64("ctx_in", 48),
    u64("ctx_out", 56),
    u32("flags", 64),
    u32("cpu", 68),
)

# BPF_*_GET_NEXT_ID (start_id; writes next_id), BPF_*_GET_FD_BY_ID (start_id is the id)
OBJ_ID: Final = Struct(
    "bpf_attr.obj_id",
    12,
    u32("start_id", 0),
    u32("next_id", 4),
    u32("open_flags", 8),
)

# writes info_len
OBJ_INFO: Final = Struct(
    "bpf_attr.info",
    16,
    u32("bpf_fd", 0),
    u32("info_len", 4),
    u64("info", 8),
)

# BPF_LINK_CREATE: 16 bytes common to all links, then what the attach type needs
LINK_CREATE: Final = Struct(
    "bpf_attr.link_create",
    64,
    u32("prog_fd", 0),
    u32("target_fd", 4),
    u32("attach_type", 8),
    u32("flags", 12),
    u32("netfilter.pf", 16),
    u32("netfilter.hooknum", 20),
    s32("netfilter.priority", 24),
    u32("netfilter.flags", 28),
)

LINK_UPDATE: Final = Struct(
    "bpf_attr.link_update",
    16,
    u32("link_fd", 0),
    u32("new_prog_fd", 4),
    u32("flags", 8),
    u32("old_prog_fd", 12),
)

LINK_DETACH: Final = Struct("bpf_attr.link_detach", 4, u32("link_fd", 0))

ENABLE_STATS: Final = Struct("bpf_attr.enable_stats", 4, u32("type", 0))

# The value of an element in a map of programs or maps, when written.
FD: Final = Struct("fd", 4, u32("fd", 0))

# What BPF_OBJ_GET_INFO_BY_FD fills.

PROG_INFO: Final = Struct(
    "bpf_prog_info",
    232,
    u32("type", 0),
    u32("id", 4),
    raw("tag", 8, TAG_BYTES),
    u32("jited_prog_len", 16),
    u32("xlated_prog_len", 20),
    u64("jited_prog_insns", 24),
    u64("xlated_prog_insns", 32),
    u64("load_time", 40),  # ns since boot
    u32("created_by_uid", 48),
    u32("nr_map_ids", 52),
    u64("map_ids", 56),
    raw("name", 64, OBJ_NAME_BYTES),
    u64("run_time_ns", 192),  # while run statistics are on; Linux 5.1
    u64("run_cnt", 200),
    u64("recursion_misses", 208),
    u32("verified_insns", 216),  # Linux 5.16, commit aba64c7da983
)

MAP_INFO: Final = Struct(
    "bpf_map_info",
    88,
    u32("type", 0),
    u32("id", 4),
    u32("key_size", 8),
    u32("value_size", 12),
    u32("max_entries", 16),
    u32("map_flags", 20),
    raw("name", 24, OBJ_NAME_BYTES),
)

LINK_INFO: Final = Struct(
    "bpf_link_info",
    64,
    u32("type", 0),
    u32("id", 4),
    u32("prog_id", 8),
    u32("netfilter.pf", 16),
    u32("netfilter.hooknum", 20),
    s32("netfilter.priority", 24),
    u32("netfilter.flags", 28),
)

# ctx_in of a netfilter test run: the start of struct nf_hook_state (include/linux/netfilter.h).
# The kernel's own pointers after it must be NULL.
NF_HOOK_STATE: Final = Struct("nf_hook_state", 8, u8("hook", 0), u8("pf", 1))
