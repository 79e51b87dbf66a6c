"""Random rulesets that iptables accepts: save text for table filter, from a seed.

Who jumps where is drawn first: chains only jump to later ones, so there is no loop,
and which hooks reach a chain is known before its rules are drawn, as some matches
are legal at some hooks only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.harness import pools
from tests.harness.header_matches import maybe_not
from tests.harness.match_kinds import ANYWHERE, FORWARD, INPUT, KINDS, OUTPUT, Kind
from tests.harness.pools import POOLS, weighted

FINAL = ("-j ACCEPT", "-j DROP", "-j RETURN")
BASE_CHAINS = (INPUT, FORWARD, OUTPUT)


PROTOCOL_NAMES = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    132: "sctp",
    136: "udplite",
}
COMMON = [(6.0, 6), (4.0, 17), (2.0, 136), (2.0, 132), (2.0, 33), (1.2, 50)]
RARE = [(0.4, 47), (0.3, 253), (0.3, 255)]
PROTOCOLS = {4: [*COMMON, *RARE, (3.0, 1), (0.8, 51)], 6: [*COMMON, *RARE, (3.0, 58)]}


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to draw: features left out, drawn alone, or drawn often, and sizes."""

    often: frozenset[str] = frozenset()
    protocol: int | None = None  # most rules with a protocol have this one
    without: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    most_rules: int = 14  # of one chain
    most_chains: int = 8  # besides the base chains
    most_matches: int = 3  # of one rule

    def allows(self, kind: Kind) -> bool:
        return kind.knob not in self.without and (not self.only or kind.knob in self.only)

    def weight(self, kind: Kind) -> float:
        return kind.weight * (8 if kind.knob in self.often else 1)

    def themed(self, rng: random.Random, version: int) -> Knobs:
        """Draw what one case is mostly about.

        Connection tracking reassembles fragments, so half of the cases go without.
        """
        names = sorted({kind.knob for kind in KINDS if self.allows(kind)})
        protocol = None if rng.random() < 0.4 else weighted(rng, PROTOCOLS[version])
        return replace(
            self,
            often=frozenset(rng.sample(names, min(6, len(names)))),
            protocol=protocol,
            without=self.without | (TRACKING if rng.random() < 0.5 else frozenset()),
        )


@dataclass(slots=True)
class _Draft:
    name: str
    policy: str
    hooks: set[str] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)


TRACKING = frozenset(("conntrack", "state", "connmark"))


def random_ruleset(rng: random.Random, version: int, knobs: Knobs) -> str:
    """Draw a ruleset as save text."""
    drafts = [
        _Draft(name, weighted(rng, [(3, "ACCEPT"), (2, "DROP")]), {name}) for name in BASE_CHAINS
    ]
    drafts += [_Draft(name, "-") for name in chain_names(rng, rng.randint(0, knobs.most_chains))]
    for index, draft in enumerate(drafts):
        later = drafts[max(index + 1, len(BASE_CHAINS)) :]
        if not draft.hooks and rng.random() < 0.9:  # few chains are left where nothing goes
            caller = rng.choice([earlier for earlier in drafts[:index] if earlier.hooks])
            caller.targets.insert(rng.randint(0, len(caller.targets)), f"-j {draft.name}")
            draft.hooks |= caller.hooks
        for _ in range(rng.choice((0, 1, 3, knobs.most_rules // 2, knobs.most_rules))):
            draft.targets.append(random_target(rng, draft, later))
    lines = ["*filter", *(f":{draft.name} {draft.policy} [0:0]" for draft in drafts)]
    for draft in drafts:
        # A chain nothing reaches is checked for no hook; draw only what is legal at all.
        hooks = frozenset(draft.hooks) or ANYWHERE
        for target in draft.targets:
            parts = [*random_parts(rng, version, draft.name, hooks, knobs)]
            if target in FINAL and len(parts) < 2 and rng.random() < 0.8:
                target = ""  # it would hide most of what is behind it
            if target.startswith("-j") and target not in FINAL and rng.random() < 0.5:
                parts = []
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
    if later and rng.random() < 0.25:
        to = rng.choice(later)
        to.hooks |= draft.hooks
        return f"-{rng.choice('jjjg')} {to.name}"
    return weighted(rng, [(1, "-j ACCEPT"), (1, "-j DROP"), (0.6, "-j RETURN"), (6, "")])


def random_parts(
    rng: random.Random, version: int, chain: str, hooks: frozenset[str], knobs: Knobs
) -> Iterator[str]:
    """Draw header tests, then matches that fit the protocol drawn."""
    if rng.random() < 0.18:
        yield f"{maybe_not(rng)}-s {random_address(rng, version)}"
    if rng.random() < 0.18:
        yield f"{maybe_not(rng)}-d {random_address(rng, version)}"
    if chain != OUTPUT and rng.random() < 0.1:
        yield random_interface(rng, "-i")
    if chain != INPUT and rng.random() < 0.1:
        yield random_interface(rng, "-o")
    protocol, usable = random_protocol(rng, version, knobs.protocol)
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
    for kind in rng.choices(fitting, [knobs.weight(kind) for kind in fitting], k=count):
        if kind.name in drawn & {"mark", "connmark"}:
            continue  # they share an option's name, and iptables then mistakes one for the other
        drawn.add(kind.name)
        yield f"-m {kind.name} {kind.draw(rng, version)}".rstrip()


def random_protocol(rng: random.Random, version: int, favourite: int | None) -> tuple[str, str]:
    """Give the `-p` words and the protocol's name where its matches may be used."""
    if rng.random() < 0.45:
        return "", ""
    number = favourite
    if number is None or rng.random() < 0.25:
        number = weighted(rng, PROTOCOLS[version])
    name = PROTOCOL_NAMES.get(number, "")
    word = name if name and rng.random() < 0.6 else str(number)
    if rng.random() < 0.15:
        return f"! -p {word}", ""
    return f"-p {word}", name


def random_interface(rng: random.Random, option: str) -> str:
    """Draw an interface; not `! +`, which excludes all and iptables-save does not print."""
    name = rng.choice(pools.INTERFACES)
    return f"{'' if name == '+' else maybe_not(rng)}{option} {name}"


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


def random_surroundings(rng: random.Random, version: int, knobs: Knobs) -> str:
    """Draw what the kernel's other tables do on both sides: marks, connection marks, no tracking.

    Empty tables when nothing is drawn, so that what came before is gone.
    """
    mangle = ["*mangle", *(f":{name} ACCEPT [0:0]" for name in MANGLE_CHAINS)]
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 4)):
            chain = rng.choice(("PREROUTING", "OUTPUT"))
            where = f"{maybe_not(rng)}-s {random_address(rng, version)}"
            mangle.append(f"-A {chain} {where} -j MARK --set-mark {rng.choice(pools.MARKS):#x}")
    tracked = "conntrack" not in knobs.without
    if tracked and rng.random() < 0.4:
        where = f"-d {random_address(rng, version)}"
        mark = f"{rng.choice(pools.MARKS):#x}"
        mangle.append(f"-A PREROUTING {where} -j CONNMARK --set-mark {mark}")
    raw = ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    if tracked and rng.random() < 0.4:
        untracked = f"-d {random_address(rng, version)} -j CT --notrack"
        raw += [f"-A {chain} {untracked}" for chain in ("PREROUTING", "OUTPUT")]
    return "\n".join([*mangle, "COMMIT", *raw, "COMMIT", ""])


MANGLE_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
