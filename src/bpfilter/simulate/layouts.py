"""Where members of kernel structs lie, for programs that no kernel will run.

`kernel_types.json` holds all that the compiler asks of a kernel's types, answered by one
kernel (scripts/gen_kernel_types.py writes it). Which kernel does not matter to a verdict:
the simulated structs are laid out by the same table that the programs were compiled for.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.emit import emit_program
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.target import Target
from bpfilter.plan.fields import FIELDS
from bpfilter.rules.model import TABLES, Family, Hook

FILE = Path(__file__).with_name("kernel_types.json")


@cache
def bundled_types() -> KernelTypes:
    """Give the types every simulation uses."""
    return KernelTypes.from_table(json.loads(FILE.read_text("utf-8"))["structs"])


def ask_everything(types: KernelTypes) -> None:
    """Compile a program for every field at every hook, for what that asks of `types`.

    Raises: UnsupportedError if `types` lacks something.
    """
    target = Target(types, cpus=1, hz=250)
    guards = {(name, 0) for name in FIELDS if name.endswith("_guard")}
    for family in Family:
        for hook in map(Hook.__getitem__, TABLES["mangle"]):
            for field in FIELDS.values():
                wanted = frozenset(guards | {(field.name, word) for word in range(field.words)})
                layout = lay_out_frame(wanted, family)
                emit_program(hook, family, layout, wanted, target, cells=1, counters=1)
