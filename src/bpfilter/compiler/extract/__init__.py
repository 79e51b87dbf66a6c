"""Extractors: instructions that read packet fields, one file per part of the packet.

Each has `extract(p: Prologue)`; `EXTRACTORS` is the order they run in. The first ones
(ipv4, ipv6) leave the transport header's offset and the fragment offset in the
frame's scratch members for those after them.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfilter.compiler.extract import (
    bridge,
    conntrack,
    device,
    eui64,
    exthdr,
    fib,
    ipv4,
    ipv6,
    metadata,
    options,
    owner,
    sctp,
    tcpopt,
    transport,
)
from bpfilter.compiler.prologue import Prologue
from bpfilter.rules.model import Family

EXTRACTORS: dict[Family, tuple[Callable[[Prologue], None], ...]] = {
    Family.IPV4: (
        device.extract,
        metadata.extract,
        conntrack.extract,
        owner.extract,
        bridge.extract,
        ipv4.extract,
        transport.extract,
        tcpopt.extract,
        sctp.extract,
        fib.extract,
    ),
    Family.IPV6: (
        device.extract,
        metadata.extract,
        conntrack.extract,
        owner.extract,
        bridge.extract,
        eui64.extract,
        exthdr.extract,
        ipv6.extract,
        transport.extract,
        tcpopt.extract,
        sctp.extract,
        options.extract,
    ),
}
