"""What the maps of a namespace's rules take of the kernel's memory."""

from __future__ import annotations

from pathlib import Path

from bpfilter.bpf.maps import Map
from bpfilter.firewall.store import open_store
from bpfilter.kernel.api import Kernel
from tests.harness.netns import Namespace


def map_bytes(kernel: Kernel, namespace: Namespace) -> int:
    """Add up what the kernel says of all maps pinned for a namespace.

    `memlock` of a map's fdinfo is map_mem_usage(); Linux 6.4, commit 90a5527d7686 ("bpf: add
    new map ops ->map_mem_usage").
    """
    with namespace.entered():
        pins = open_store(kernel).pins
    sizes: dict[int, int] = {}
    for path in pins.rglob("*"):
        if path.is_file():
            with Map.open(kernel, path) as opened:
                facts = _facts(opened.fd.number)
            if "map_id" in facts:  # not a program's, nor a link's
                sizes[int(facts["map_id"])] = int(facts["memlock"])
    return sum(sizes.values())


def _facts(fd: int) -> dict[str, str]:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
