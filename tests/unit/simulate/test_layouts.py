"""The bundled struct layouts have all that the compiler asks for."""

from __future__ import annotations

import json

from bpfilter.btf.query import KernelTypes
from bpfilter.simulate import layouts


def test_nothing_the_compiler_asks_is_missing() -> None:
    layouts.ask_everything(layouts.bundled_types())


def test_answers_are_those_of_a_kernel_with_everything() -> None:
    # What a kernel may lack is asked with `has`: without it, rules would mean something else.
    types = layouts.bundled_types()
    for struct, path in (
        ("nf_bridge_info", "physoutdev"),
        ("nf_bridge_info", "physinif"),
        ("netns_ipv4", "fib_main"),
    ):
        assert types.has(struct, path), path


def test_members_lie_within_their_structs() -> None:
    table = json.loads(layouts.FILE.read_text("utf-8"))
    assert table["kernel"].startswith("Linux ")
    types = KernelTypes.from_table(table["structs"])
    for name, struct in table["structs"].items():
        for path in struct["members"]:
            member = types.offset(name, path)
            assert 0 <= member.offset <= member.offset + member.size <= types.size(name), path
