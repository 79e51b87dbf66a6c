"""The traffic generator: an XDP program run on live frames, which go out by a veth.

The program takes the next packet of a trace, writes it into the frame, and sends it:
BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18, commit b530e9e1063e "bpf: Add
"live packet" mode for XDP in BPF_PROG_RUN") treats XDP_TX as a redirect to the device that
the test says the frame came from. Frames are of 60 bytes, 64 with the checksum that Ethernet
adds:

     0  destination, source, type                       written again: routers change them
    14  IPv4: version to fragment offset
    22  time to live, protocol, checksum  ┐
    26  source address                    │ TRACE_ENTRY bytes
    30  destination address               │ of the trace
    34  source and destination port       ┘
    38  UDP: length, checksum 0           as TCP these are the sequence number
    42  TCP: acknowledgement, SYN, …      as UDP this is the payload

A TCP checksum is not computed: nobody on the way looks at it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.families import Packets
from bench.families.model import TRACE
from bench.lab import INTERFACE, ROUTER_MAC, SENDER_MAC, Lab, Seen
from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command, MapFlags, MapType, ProgramType
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, Insn, Reg, Size
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.memory import Memory

TRACE_ENTRY = 16
FRAME_BYTES = 60
_AT_TRACE = 22
_IP_BYTES = 46

# include/uapi/linux/bpf.h
_XDP_ABORTED, _XDP_TX = 0, 3
_LIVE_FRAMES = 1 << 1
_XDP_MD = struct.Struct("=6I")  # data, data_end, data_meta, ingress_ifindex, rx_queue, egress

_TTL = 64
_ENTRY = np.dtype(
    [
        ("ttl", "u1"),
        ("proto", "u1"),
        ("checksum", ">u2"),
        ("addresses", ">u4", 2),
        ("ports", ">u2", 2),
    ]
)

_SETTLE_S = 2.0
_SETTLE_STEP_S = 0.02
_MOST_FRAMES = 1 << 20
_FIRST_FRAMES = 1024


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of some frames: `seen` is the router's count in these `seconds`.

    `settled` is its count once all frames on their way had come. `seconds` is the time the
    frames took without the call's own preparations (some 20 ms), if all had come at its end;
    else all the time until the count was read.
    """

    sent: int
    seconds: float
    seen: Seen
    settled: Seen

    @property
    def rate(self) -> float:
        """Packets a second that the router's IP layer took in."""
        return self.seen.received / self.seconds


class Generator:
    """Sends the packets of one trace in turn, for ever; into any lab."""

    def __init__(self, kernel: Kernel, packets: Packets) -> None:
        self.kernel = kernel
        #: Frames sent so far: the trace's next packet is `position % TRACE`.
        self.position = 0
        self._rules = packets["rule"][np.arange(TRACE) % len(packets)]
        self._frame = Memory(template())
        specs = trace_maps(trace_bytes(packets))
        with ExitStack() as stack:
            maps = {
                name: stack.enter_context(Map.create(kernel, spec)) for name, spec in specs.items()
            }
            spec = ProgramSpec("bench_send", ProgramType.XDP, instructions())
            self._program = Program.load(kernel, spec, maps)

    def send(self, frames: int) -> float:
        """Send frames from this thread's CPU, out of INTERFACE of this thread's namespace.

        Gives the seconds it took, as the kernel counts them.
        """
        device = socket.if_nametoindex(INTERFACE)
        context = Memory(_XDP_MD.pack(0, FRAME_BYTES, 0, device, 0, 0))
        attr = abi.TEST_RUN.pack(
            prog_fd=self._program.fd.number,
            data_size_in=FRAME_BYTES,
            data_in=self._frame.address,
            repeat=frames,
            ctx_size_in=_XDP_MD.size,
            ctx_in=context.address,
            flags=_LIVE_FRAMES,
        )
        self.kernel.bpf(Command.PROG_TEST_RUN, attr, "send frames")
        self.position += frames
        return abi.TEST_RUN.get(attr, "duration") * frames / 1e9

    def drawn_from(self, first: int, frames: int, rules: int) -> NDArray[np.int64]:
        """Give how many of the frames from position `first` on were drawn from each rule."""
        rounds, rest = divmod(frames, TRACE)
        part = self._rules[(first + np.arange(rest)) % TRACE]
        whole = np.bincount(self._rules[self._rules >= 0], minlength=rules)
        return rounds * whole + np.bincount(part[part >= 0], minlength=rules)

    def close(self) -> None:
        self._program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class Stream:
    """Frames from a generator into a lab, as many at a time as take about so long.

    `note` is told of all that was sent: the generator, its position before, what came of it.
    """

    def __init__(
        self, generator: Generator, lab: Lab, note: Callable[[Generator, int, Burst], None]
    ) -> None:
        self.generator = generator
        self.lab = lab
        self._note = note
        self._rate = 0.0

    def burst(self, seconds: float) -> Burst:
        """Send for about `seconds`; the first time as well to find out how many that is."""
        if not self._rate:
            self._rate = self._send(_FIRST_FRAMES).rate
        warm_up = self._send(self._frames(seconds / 4))
        self._rate = warm_up.rate
        made = self._send(self._frames(seconds))
        self._rate = made.rate
        return made

    def _frames(self, seconds: float) -> int:
        return max(_FIRST_FRAMES, min(int(self._rate * seconds), _MOST_FRAMES))

    def _send(self, frames: int) -> Burst:
        first = self.generator.position
        with self.lab.sender.entered():
            before = self.lab.seen()
            started = time.perf_counter()
            sending = self.generator.send(frames)
            seen = self.lab.seen() - before
            waited = time.perf_counter() - started
        if seen.received == frames:
            burst = Burst(frames, sending, seen, seen)
        else:
            # What waits behind a slow firewall is not to fall into the next one's time.
            burst = Burst(frames, waited, seen, self._settled() - before)
        self._note(self.generator, first, burst)
        return burst

    def _settled(self) -> Seen:
        deadline = time.monotonic() + _SETTLE_S
        last, now = None, self.lab.seen()
        while now != last and time.monotonic() < deadline:
            time.sleep(_SETTLE_STEP_S)
            last, now = now, self.lab.seen()
        return now


def instructions() -> tuple[Insn, ...]:
    """Give the program: position, trace entry, into the frame, send."""
    b = Builder("bench_send")
    b.load(R2, R1, 0, Size.W)
    b.load(R3, R1, 4, Size.W)
    b.mov(R4, R2)
    b.add(R4, FRAME_BYTES)
    b.jgt(R4, R3, "short")
    for offset in (0, 4, 8):
        b.store(R2, offset, int.from_bytes(template()[offset : offset + 4], "little"), Size.W)
    next_entry(b, R1, TRACE_ENTRY)
    b.load(R3, R1, 0)
    b.store(R2, _AT_TRACE, R3)
    b.load(R3, R1, 8)
    b.store(R2, _AT_TRACE + 8, R3)
    b.mov(R0, _XDP_TX)
    b.exit()
    b.label("short")
    b.mov(R0, _XDP_ABORTED)
    b.exit()
    return b.build()


def trace_maps(trace: bytes) -> dict[str, MapSpec]:
    """Give the maps that `next_entry` reads."""
    array, mmapable = MapType.ARRAY, MapFlags.MMAPABLE
    return {
        "trace": MapSpec("bench_trace", array, 4, len(trace), 1, mmapable, contents=trace),
        "position": MapSpec("bench_position", array, 4, 8, 1),
    }


def next_entry(b: Builder, to: Reg, width: int) -> None:
    """Emit `to` = address of the trace's next entry of `width` bytes; R4 and R5 are lost."""
    assert width & (width - 1) == 0, width
    b.load_map_value(to, "position")
    b.load(R5, to, 0)
    b.mov(R4, R5)
    b.add(R4, 1)
    b.store(to, 0, R4)
    b.and_(R5, TRACE - 1)
    b.lsh(R5, width.bit_length() - 1)
    b.load_map_value(to, "trace")
    b.add(to, R5)


def trace_bytes(packets: Packets) -> bytes:
    """Give the trace map's contents; fewer than TRACE packets come again and again."""
    entries = np.zeros(len(packets), _ENTRY)
    entries["ttl"], entries["proto"] = _TTL, packets["proto"]
    entries["ports"][:, 0], entries["ports"][:, 1] = packets["sport"], packets["dport"]
    entries["addresses"][:, 0], entries["addresses"][:, 1] = packets["saddr"], packets["daddr"]
    # RFC 1071: the ones' complement sum of the header's 16-bit words.
    words = entries.view(">u2").reshape(len(packets), -1)[:, :6].astype(np.uint64)
    total = words.sum(axis=1) + sum(struct.unpack(">4H", template()[14:22]))
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    entries["checksum"] = ~total & 0xFFFF
    return entries[np.arange(TRACE) % len(packets)].tobytes()


def template() -> bytes:
    """Give a frame without what the trace has of it."""
    ethernet = ROUTER_MAC + SENDER_MAC + b"\x08\x00"
    ip = struct.pack(">BBHHH", 0x45, 0, _IP_BYTES, 1, 0x4000)
    udp = struct.pack(">HH", _IP_BYTES - 20, 0)
    tcp = struct.pack(">IBBHHH", 0, 5 << 4, 0x02, 0xFFFF, 0, 0)
    return (ethernet + ip + bytes(TRACE_ENTRY) + udp + tcp).ljust(FRAME_BYTES, b"\0")
