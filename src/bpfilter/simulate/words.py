"""Names of types within protocols, as the matches of iptables have them."""

from __future__ import annotations

from functools import cache

from bpfilter.ext import icmp, icmp6
from bpfilter.ext.dccp import TYPES
from bpfilter.ext.sctp import CHUNKS

#: Packet types by number, without the one that stands for all others.
DCCP_TYPES = TYPES[:-1]
SCTP_CHUNKS = CHUNKS


def icmp_type(word: str, v6: bool) -> tuple[int, int] | None:
    """Give type and code of a name, `3` or `3/1`; a type without a code has code 0."""
    text = _names(v6).get(word.lower(), word)
    kind, slash, code = text.partition("/")
    if not kind.isdigit() or (slash and not code.isdigit()):
        return None
    found = int(kind), int(code or 0)
    return found if max(found) <= 255 else None


@cache
def icmp_name(kind: int, code: int, v6: bool) -> str:
    """Give the most exact name of a type and code, else `type` or `type/code`."""
    whole = f"{kind}/{code}"
    for name, text in _names(v6).items():
        if text == whole or (code == 0 and text == str(kind)):
            return name
    return whole if code else str(kind)


@cache
def _names(v6: bool) -> dict[str, str]:
    # The first of several names is the one shown; "any" is no type of a packet.
    names = icmp6.NAMES if v6 else icmp.NAMES
    return {name.lower(): text for name, text in names.items() if name != "any"}
