"""A packet as a hook sees it, and what the kernel knows beside its bytes."""

from __future__ import annotations

from enum import StrEnum

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Family

ETHERNET_BYTES = 14


class State(StrEnum):
    """What connection tracking says of a packet: `--ctstate`, before address translation."""

    NEW = "new"
    ESTABLISHED = "established"
    RELATED = "related"
    INVALID = "invalid"
    UNTRACKED = "untracked"


class PacketType(StrEnum):
    """How a packet was addressed on its link: `-m pkttype`."""

    UNICAST = "unicast"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"


@dataclass(frozen=True, slots=True)
class Packet:
    """Bytes from the network header on; `link` is the 14 bytes of Ethernet before them.

    `length` is the packet's real length if the capture holds less of it, else 0.
    `mark` and `kind` are None if the packet's source does not tell.
    """

    data: bytes
    link: bytes = b""
    length: int = 0
    mark: int | None = None
    kind: PacketType | None = None

    def __post_init__(self) -> None:
        assert len(self.link) in (0, ETHERNET_BYTES)

    @property
    def family(self) -> Family | None:
        """Give the family the version field says; None if it says neither."""
        version = self.data[0] >> 4 if self.data else 0
        return {4: Family.IPV4, 6: Family.IPV6}.get(version)


@dataclass(frozen=True, slots=True)
class Connection:
    """The packet's connection: `state`, and what the other matches ask of its entry.

    `status` is enum ip_conntrack_status, None what the state implies.
    """

    state: State = State.NEW
    reply: bool = False
    mark: int = 0
    status: int | None = None
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose socket sent a packet; numbers, as the machine's names are not known here."""

    uid: int
    gid: int
    #: Supplementary groups; None is what was not said.
    groups: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and how a packet is met; None is what was not said, an empty name no device.

    `mark` is for packets which bring none of their own.
    """

    in_interface: str | None = None
    out_interface: str | None = None
    connection: Connection | None = None
    mark: int | None = None
    owner: Owner | None = None
    cpu: int | None = None
