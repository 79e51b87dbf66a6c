"""Random rulesets that iptables accepts: save text for table filter, from a seed.

Who jumps where is drawn first: chains only jump to later ones, so there is no loop,
and which hooks reach a chain is known before its rules are drawn, as some matches
are legal at some hooks only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.harness import pools
from tests.harness.matches_gen import ANYWHERE, FORWARD, INPUT, KINDS, OUTPUT, Kind, maybe_not
from tests.harness.pools import POOLS, weighted

BASE_CHAINS = (INPUT, FORWARD, OUTPUT)


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to draw: features left out, features drawn alone, and sizes."""

    without: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    most_rules: int = 14  # of one chain
    most_chains: int = 8  # besides the base chains
    most_matches: int = 3  # of one rule

    def allows(self, kind: Kind) -> bool:
        return kind.knob not in self.without and (not self.only or kind.knob in self.only)


@dataclass(slots=True)
class _Draft:
    name: str
    policy: str
    hooks: set[str] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)


def random_ruleset(rng: random.Random, version: int, knobs: Knobs | None = None) -> str:
    """Draw a ruleset as save text."""
    knobs = knobs or Knobs()
    drafts = [
        _Draft(name, weighted(rng, [(3, "ACCEPT"), (2, "DROP")]), {name}) for name in BASE_CHAINS
    ]
    drafts += [_Draft(name, "-") for name in chain_names(rng, rng.randint(0, knobs.most_chains))]
    for index, draft in enumerate(drafts):
        later = drafts[max(index + 1, len(BASE_CHAINS)) :]
        for _ in range(rng.choice((0, 1, 3, knobs.most_rules // 2, knobs.most_rules))):
            draft.targets.append(random_target(rng, draft, later))
    lines = ["*filter", *(f":{draft.name} {draft.policy} [0:0]" for draft in drafts)]
    for draft in drafts:
        # A chain nothing reaches is checked for no hook; draw only what is legal at all.
        hooks = frozenset(draft.hooks) or ANYWHERE
        for target in draft.targets:
            parts = random_parts(rng, version, draft.name, hooks, knobs)
            lines.append(" ".join(filter(None, ("-A", draft.name, *parts, target))))
    return "\n".join([*lines, "COMMIT", ""])


def chain_names(rng: random.Random, count: int) -> list[str]:
    """Draw names: plain, odd and of the greatest length (28 characters)."""
    odd = ("a" * 28, "x-y_z", "ÄÖ", "INPUT2", "tcp", "x", "drop", "C:1", "f2b-sshd")
    names = [f"c{number}" for number in range(count)]
    for index in range(count):
        if rng.random() < 0.2:
            names[index] = rng.choice(odd)
    return list(dict.fromkeys(names))


def random_target(rng: random.Random, draft: _Draft, later: list[_Draft]) -> str:
    if later and rng.random() < 0.4:
        to = rng.choice(later)
        to.hooks |= draft.hooks
        return f"-{rng.choice('jjjg')} {to.name}"
    return weighted(rng, [(3, "-j ACCEPT"), (3, "-j DROP"), (1.5, "-j RETURN"), (5, "")])


def random_parts(
    rng: random.Random, version: int, chain: str, hooks: frozenset[str], knobs: Knobs
) -> Iterator[str]:
    """Draw header tests, then matches that fit the protocol drawn."""
    if rng.random() < 0.35:
        yield f"{maybe_not(rng)}-s {random_address(rng, version)}"
    if rng.random() < 0.35:
        yield f"{maybe_not(rng)}-d {random_address(rng, version)}"
    if chain != OUTPUT and rng.random() < 0.2:
        yield f"{maybe_not(rng)}-i {rng.choice(pools.INTERFACES)}"
    if chain != INPUT and rng.random() < 0.2:
        yield f"{maybe_not(rng)}-o {rng.choice(pools.INTERFACES)}"
    protocol, usable = random_protocol(rng, version)
    if protocol:
        yield protocol
    if version == 4 and rng.random() < 0.06:
        yield f"{maybe_not(rng)}-f"
    fitting = [
        kind
        for kind in KINDS
        if version in kind.versions
        and hooks <= kind.hooks
        and (not kind.protocols or usable in kind.protocols)
        and knobs.allows(kind)
    ]
    if not fitting:
        return
    count = weighted(rng, [(2, 0), (5, 1), (2, 2), (1, knobs.most_matches)])
    drawn: set[str] = set()
    for kind in rng.choices(fitting, [kind.weight for kind in fitting], k=count):
        if kind.name in drawn & {"mark", "connmark"}:
            continue  # they share an option's name, and iptables then mistakes one for the other
        drawn.add(kind.name)
        yield f"-m {kind.name} {kind.draw(rng, version)}".rstrip()


def random_protocol(rng: random.Random, version: int) -> tuple[str, str]:
    """Give the `-p` words and the protocol's name where its matches may be used."""
    if rng.random() < 0.4:
        return "", ""
    icmp = "icmp" if version == 4 else "ipv6-icmp"
    name, number = weighted(
        rng,
        [
            (6, ("tcp", 6)),
            (4, ("udp", 17)),
            (3, (icmp, 1 if version == 4 else 58)),
            (2, ("udplite", 136)),
            (2, ("sctp", 132)),
            (2, ("dccp", 33)),
            (1.2, ("esp", 50)),
            (0.8, ("ah", 51) if version == 4 else ("gre", 47)),
            (0.4, ("gre", 47)),
            (0.3, ("", 253)),
            (0.3, ("", 255)),
        ],
    )
    word = name if name and rng.random() < 0.6 else str(number)
    if rng.random() < 0.15:
        return f"! -p {word}", ""
    return f"-p {word}", name


def random_address(rng: random.Random, version: int) -> str:
    """Draw a host, a network, or an address under a mask of any shape."""
    pool = POOLS[version]
    drawn = rng.choice(
        weighted(
            rng,
            [(4, pool.client), (4, pool.server), (3, pool.local), (1, pool.group), (1, pool.odd)],
        )
    )
    top = 32 if version == 4 else 128
    masks = ("255.0.255.0", "0.0.0.255", "255.255.255.254", "0.0.0.1")
    if version == 6:
        masks = ("ffff::ffff", "::ff", "ffff:ffff:0:0:ffff::", "::8000:0")
    return drawn + weighted(
        rng,
        [
            (5, ""),
            (2, f"/{24 if version == 4 else 64}"),
            (2, f"/{rng.randint(0, top)}"),
            (1, f"/{rng.choice(masks)}"),
        ],
    )


def random_surroundings(rng: random.Random, version: int) -> str:
    """Draw what the kernel's other tables do on both sides: marks, connection marks, no tracking.

    Empty tables when nothing is drawn, so that what came before is gone.
    """
    mangle = ["*mangle", *(f":{name} ACCEPT [0:0]" for name in MANGLE_CHAINS)]
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 4)):
            chain = rng.choice(("PREROUTING", "OUTPUT"))
            where = f"{maybe_not(rng)}-s {random_address(rng, version)}"
            mangle.append(f"-A {chain} {where} -j MARK --set-mark {rng.choice(pools.MARKS):#x}")
    if rng.random() < 0.2:
        where = f"-d {random_address(rng, version)}"
        mark = f"{rng.choice(pools.MARKS):#x}"
        mangle.append(f"-A PREROUTING {where} -j CONNMARK --set-mark {mark}")
    raw = ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    if rng.random() < 0.2:
        untracked = f"-d {random_address(rng, version)} -j CT --notrack"
        raw += [f"-A {chain} {untracked}" for chain in ("PREROUTING", "OUTPUT")]
    return "\n".join([*mangle, "COMMIT", *raw, "COMMIT", ""])


MANGLE_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
