#!/usr/bin/env python3
"""Write src/bpfilter/simulate/kernel_types.json from the running kernel's BTF.

Run it, as any user, whenever the compiler asks for a member the file lacks (a unit test
fails then): `PYTHONPATH=src python3 scripts/gen_kernel_types.py`.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from bpfilter.btf.model import Member
from bpfilter.btf.query import KernelTypes
from bpfilter.simulate import layouts

VMLINUX = Path("/sys/kernel/btf/vmlinux")


class AskedTypes(KernelTypes):
    """Types that remember what they were asked, and could answer."""

    asked: set[tuple[str, str]]

    def offset(self, struct_name: str, path: str) -> Member:
        found = super().offset(struct_name, path)
        self.asked.add((struct_name, path))
        return found

    def size(self, struct_name: str) -> int:
        self.asked.add((struct_name, ""))
        return super().size(struct_name)


def module_btf(name: str) -> bytes | None:
    path = VMLINUX.with_name(name)
    return path.read_bytes() if path.exists() else None


def main() -> int:
    types = AskedTypes.from_btf(VMLINUX.read_bytes(), module_btf)
    assert isinstance(types, AskedTypes)
    types.asked = set()
    layouts.ask_everything(types)
    version = ".".join(platform.release().split(".")[:2])
    table = {
        "kernel": f"Linux {version}, {platform.machine()}",
        "structs": types.subset(sorted(types.asked)),
    }
    layouts.FILE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", "utf-8")
    sys.stdout.write(f"{layouts.FILE.name}: {len(types.asked)} answers of {table['kernel']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
