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
from bpfilter.rules.model import Family, Hook

#: Fields whose words fit a program's stack together, whichever they are.
AT_ONCE = 8

FILE = Path(__file__).with_name("kernel_types.json")


@cache
def bundled_types() -> KernelTypes:
    """Give the types every simulation uses."""
    return KernelTypes.from_table(json.loads(FILE.read_text("utf-8"))["structs"])


def ask_everything(types: KernelTypes) -> None:
    """Compile programs for all fields there are, for what that asks of `types`.

    Raises: UnsupportedError if `types` lacks something.
    """
    target = Target(types, cpus=1, hz=250)
    names = list(FIELDS)
    guards = {(name, 0) for name in names if name.endswith("_guard")}
    for family in Family:
        for start in range(0, len(names), AT_ONCE):
            fields = (FIELDS[name] for name in names[start : start + AT_ONCE])
            words = {(field.name, word) for field in fields for word in range(field.words)}
            wanted = frozenset(guards | words)
            layout = lay_out_frame(wanted, family)
            emit_program(Hook.FORWARD, family, layout, wanted, target, cells=1, counters=1)
