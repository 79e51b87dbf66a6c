"""What the rules of a hook ask that a packet's bytes do not tell: given, assumed, or missing.

A verdict is only worth something if it is known what it stands on. Where one value is the
natural one it is assumed, and said; where there is none, the simulation asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bpfilter.compiler.extract.owner import FIELDS as OWNER
from bpfilter.errors import Error
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Hook
from bpfilter.simulate.packet import Packet, State, Surroundings
from bpfilter.simulate.routes import LocalAddress
from bpfilter.simulate.upper import upper_layer

LIMITED = (fields.SRC_TYPE_IN, fields.DST_TYPE_IN, fields.SRC_TYPE_OUT, fields.DST_TYPE_OUT)
ADDRESS_TYPES = (fields.SRC_TYPE, fields.DST_TYPE, *LIMITED)
BRIDGE = (fields.PHYS_BRIDGED, fields.PHYS_IN_SET, fields.PHYS_OUT_SET)
INCOMING = (Hook.INPUT, Hook.FORWARD)
OUTGOING = (Hook.FORWARD, Hook.OUTPUT)


class MissingFactError(Error):
    """The rules ask something about the packet that nobody told."""

    exit_code = 2


class Asked:
    """The fields that the rules reachable from one hook ask for."""

    def __init__(self, hook: Hook, words: frozenset[tuple[str, int]]) -> None:
        self.hook = hook
        self.names = frozenset(name for name, _ in words)

    def any(self, asked: Sequence[Field]) -> bool:
        return any(field.name in self.names for field in asked)

    def connection(self) -> bool:
        return any(name.startswith("ct_") for name in self.names)

    def require(self, around: Surroundings, local: Sequence[LocalAddress] | None) -> None:
        """Raises: MissingFactError, saying what to add."""
        for reason in self._missing(around, local):
            raise MissingFactError(reason)

    def _missing(
        self, around: Surroundings, local: Sequence[LocalAddress] | None
    ) -> Iterator[str]:
        chain = self.hook.name
        for asked, hooks, name, which in (
            (fields.IIF, INCOMING, around.in_interface, "in"),
            (fields.OIF, OUTGOING, around.out_interface, "out"),
        ):
            if self.hook in hooks and name is None and asked.name in self.names:
                yield f"the rules of {chain} test the {which}put interface: say --{which} NAME"
        if local is None and self.any(ADDRESS_TYPES):
            yield (
                f"the rules of {chain} ask what type an address has: say which addresses this "
                "machine has, --local ADDRESS/LENGTH for each (--local 127.0.0.1 for no others)"
            )
        if local is not None and self.any(LIMITED) and any(not one.device for one in local):
            yield (
                f"the rules of {chain} ask what type an address has on one interface: say where "
                "this machine's addresses are, --local ADDRESS/LENGTH%DEVICE"
            )

    def assumed(self, packet: Packet, around: Surroundings) -> tuple[str, ...]:
        """Say what a verdict for this packet stands on besides what was given."""
        return tuple(self._assumed(packet, around))

    def _assumed(self, packet: Packet, around: Surroundings) -> Iterator[str]:
        connection = around.connection
        if connection is None and self.connection():
            yield f"state {State.NEW}"
        if self.connection() and upper_layer(packet.data).is_fragment:
            yield "not put together, as connection tracking does before"
        if connection is None or connection.state not in (State.INVALID, State.UNTRACKED):
            if fields.CT_STATUS.name in self.names and (
                connection is None or connection.status is None
            ):
                yield "connection status as usual for its state"
            if fields.CT_EXPIRE.name in self.names and (
                connection is None or connection.expires_s is None
            ):
                yield "connection expires at once"
        if around.mark is None and packet.mark is None and fields.MARK.name in self.names:
            yield "mark 0"
        if around.owner is None and self.hook is Hook.OUTPUT and self.any(OWNER):
            yield "sent by no socket"
        untold = around.owner is not None and around.owner.groups is None
        if untold and fields.OWNER_GROUPS.name in self.names:
            yield "no supplementary groups"
        if around.cpu is None and fields.CPU.name in self.names:
            yield "CPU 0"
        if self.any(BRIDGE):
            yield "not bridged"
        if packet.kind is None and fields.PKTTYPE.name in self.names:
            yield "packet type as its destination address has it"
        if not packet.link and self.any((fields.MAC, fields.MAC_OK, fields.EUI64)):
            yield "no Ethernet header"
