"""What guards say of a packet, as one of a few views; each has an index of its own.

A guard is 0 for nearly every packet, and a rule is then found by what stands on both sides of
it. For a packet whose guard fails, its rules never match; for one it drops, they match as soon
as what stands left of the guard does. Which guards a packet fails is the same for all rules:

    view 0…8    3 * ports + specific     ports_guard; the guard of the packet's own protocol
    view 9, 10  8 + walk                 proto_guard (IPv6), which comes before all others

A packet has one transport protocol, so of the specific guards at most one can drop it; others
say "fail", or nothing, to rules that ask for another protocol before.
"""

from __future__ import annotations

from bpfilter.compiler.cells import Place
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.search import Guards
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP, GUARD_FAIL, Field
from bpfilter.rules.model import Family

VIEW_NUMBERS = range(11)

_SPECIFIC = (
    fields.TCP_GUARD,
    fields.UDP_GUARD,
    fields.ICMP_GUARD,
    fields.SCTP_GUARD,
    fields.DCCP_GUARD,
    fields.ESP_GUARD,
)


def specific_guards(family: Family) -> tuple[Field, ...]:
    """Give the guards of transport headers; the IPv6 one for AH belongs to a walk of its own."""
    return (*_SPECIFIC, fields.AH_GUARD) if family is Family.IPV4 else _SPECIFIC


def guard_state(view: int, guard: Field, family: Family) -> int | None:
    """Give what a guard is in a view: 0, GUARD_FAIL or GUARD_DROP; None if no view tells."""
    if guard is fields.PROTO_GUARD:
        return view - 8 if view > 8 else 0
    if guard is fields.PORTS_GUARD:
        return view // 3 if view <= 8 else 0
    if guard in specific_guards(family):
        return view % 3 if view <= 8 else 0
    return None


assert (GUARD_FAIL, GUARD_DROP) == (1, 2)


def place_guards(frame: Frame, family: Family) -> Guards | None:
    """Say where a program finds the guards that select a view; None if no rule has them."""
    wanted = {
        guard: frame.places[guard.name, 0]
        for guard in (fields.PROTO_GUARD, fields.PORTS_GUARD, *specific_guards(family))
        if (guard.name, 0) in frame.places
    }
    if not wanted:
        return None
    walk, ports = wanted.get(fields.PROTO_GUARD), wanted.get(fields.PORTS_GUARD)
    masks = {guard: 3 << place.shift for guard, place in wanted.items()}
    specific = sum(mask for guard, mask in masks.items() if guard in specific_guards(family))
    return Guards(
        slot=next(iter(wanted.values())).slot,
        all=sum(masks.values()),
        walk_shift=_shift(walk),
        ports_shift=_shift(ports),
        specific=specific,
    )


def _shift(place: Place | None) -> int | None:
    return None if place is None else place.shift
