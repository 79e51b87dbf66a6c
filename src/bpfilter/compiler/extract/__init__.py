"""Extractors: instructions that read packet fields, one file per part of the packet.

Each has `extract(p: Prologue)`. The first ones (ipv4, ipv6) leave the transport header's
offset and the fragment offset in the frame's scratch members for those after them.
"""

from __future__ import annotations

from importlib import import_module

from bpfilter.compiler.prologue import Prologue
from bpfilter.rules.model import Family

#: Those that emit nothing unless a field is asked for whose name begins so; they are not
#: even imported then.
ASKED: dict[str, tuple[str, ...]] = {
    "device": ("iif", "oif"),
    "conntrack": ("ct_",),
    "owner": ("owner_",),
    "bridge": ("phys_",),
    "eui64": ("eui64",),
    "tcpopt": ("tcpopt_", "tcp_options", "dccpopt_", "dccp_options"),
    "sctp": ("sctp",),
    "fib": ("src_type", "dst_type"),
    "options": ("hbh_", "dst_"),
}

#: In the order they run.
EXTRACTORS: dict[Family, tuple[str, ...]] = {
    Family.IPV4: (
        "device",
        "metadata",
        "conntrack",
        "owner",
        "bridge",
        "ipv4",
        "transport",
        "tcpopt",
        "sctp",
        "fib",
    ),
    Family.IPV6: (
        "device",
        "metadata",
        "conntrack",
        "owner",
        "bridge",
        "eui64",
        "exthdr",
        "ipv6",
        "transport",
        "tcpopt",
        "sctp",
        "options",
    ),
}


def extract(p: Prologue) -> None:
    """Fill the packet words that are wanted."""
    for name in EXTRACTORS[p.family]:
        if _is_asked(name, p):
            import_module(f"{__name__}.{name}").extract(p)


def _is_asked(name: str, p: Prologue) -> bool:
    return name not in ASKED or any(field.startswith(ASKED[name]) for field, _ in p.wanted)
