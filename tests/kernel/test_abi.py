"""Every layout in abi/bpf.py against the running kernel's own types."""

from __future__ import annotations

import pytest

from bpfilter.abi import bpf as abi
from bpfilter.abi.layout import Struct
from bpfilter.btf.query import KernelTypes

# Where the kernel's union bpf_attr has a command's fields; most are in anonymous structs.
ATTRS: list[tuple[Struct, str, str]] = [
    (abi.MAP_CREATE, "bpf_attr", ""),
    (abi.MAP_ELEM, "bpf_attr", ""),
    (abi.MAP_NEXT_KEY, "bpf_attr", ""),
    (abi.MAP_BATCH, "bpf_attr", "batch."),
    (abi.PROG_LOAD, "bpf_attr", ""),
    (abi.BTF_LOAD, "bpf_attr", ""),
    (abi.OBJ, "bpf_attr", ""),
    (abi.TEST_RUN, "bpf_attr", "test."),
    (abi.OBJ_ID, "bpf_attr", ""),
    (abi.OBJ_INFO, "bpf_attr", "info."),
    (abi.LINK_CREATE, "bpf_attr", "link_create."),
    (abi.LINK_UPDATE, "bpf_attr", "link_update."),
    (abi.LINK_DETACH, "bpf_attr", "link_detach."),
    (abi.ENABLE_STATS, "bpf_attr", "enable_stats."),
    (abi.PROG_INFO, "bpf_prog_info", ""),
    (abi.MAP_INFO, "bpf_map_info", ""),
    (abi.LINK_INFO, "bpf_link_info", ""),
    (abi.NF_HOOK_STATE, "nf_hook_state", ""),
]


@pytest.mark.parametrize(
    ("layout", "struct", "prefix"), ATTRS, ids=[layout.name for layout, _, _ in ATTRS]
)
def test_layout(types: KernelTypes, layout: Struct, struct: str, prefix: str) -> None:
    if layout is abi.NF_HOOK_STATE and not types.has("bpf_link_info", "netfilter.pf"):
        pytest.skip("it is given to programs at netfilter hooks, which are of Linux 6.4")
    for field in layout.fields.values():
        if not types.has(struct, prefix + field.name):
            continue  # newer than this kernel
        place = types.offset(struct, prefix + field.name)
        assert (field.offset, field.width) == (place.offset, place.size), field.name


def test_map_fd_is_where_each_command_has_it(types: KernelTypes) -> None:
    # `map_fd` occurs in several of the union's structs, at the same place in most.
    assert abi.MAP_ELEM.fields["map_fd"].offset == types.offset("bpf_attr", "map_fd").offset
