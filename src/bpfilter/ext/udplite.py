"""`-m udplite`: the kernel's udp match for protocol 136.

iptables 1.8.9 brings no words for this match; they are taken to be udp's.
"""

from __future__ import annotations

from typing import ClassVar

from bpfilter.dataclass import dataclass
from bpfilter.ext.udp import Udp
from bpfilter.rules.registry import match


@match("udplite")
@dataclass(frozen=True, slots=True)
class UdpLite(Udp):
    PROTOCOL: ClassVar[int] = 136
