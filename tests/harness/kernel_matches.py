"""Random options of the matches that ask what the kernel keeps beside the packet.

One function per match, as in header_matches.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.harness import pools
from tests.harness.header_matches import maybe_not, ports, some
from tests.harness.pools import POOLS


def mark(rng: random.Random, version: int) -> str:
    mask = rng.choice(("", "", "/0xff", "/0x1", "/0x80000000", "/0x0"))
    return f"{maybe_not(rng)}--mark {rng.choice(pools.MARKS):#x}{mask}"


def state(rng: random.Random, version: int) -> str:
    names = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
    return f"{maybe_not(rng)}--state {some(rng, names)}"


#: Seconds far from every timeout conntrack gives, so that the time a run takes is no matter.
EXPIRY = (0, 20, 45, 80, 150, 250, 400, 1000, 500000)


CT_STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT")
CT_STATUSES = ("EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED")


def conntrack(rng: random.Random, version: int) -> str:
    pool = POOLS[version].everything
    words = []
    options = (
        *("ctstate",) * 6,
        *("ctstatus",) * 2,
        *("ctproto", "ctdir", "ctexpire"),
        *("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"),
        *("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport"),
    )
    for option in dict.fromkeys(rng.choices(options, k=rng.choice((1, 1, 1, 2, 3)))):
        invert = maybe_not(rng)
        if option == "ctstate":
            value = some(rng, CT_STATES)
        elif option == "ctstatus":
            value = "NONE" if rng.random() < 0.15 else some(rng, CT_STATUSES)
        elif option == "ctproto":
            value = str(rng.choice((1, 6, 17, 58, 132)))
        elif option == "ctdir":
            invert, value = "", rng.choice(("ORIGINAL", "REPLY"))
        elif option == "ctexpire":
            low, high = sorted(rng.sample(EXPIRY, 2))
            value = f"{low}:{high}"
        elif option.endswith("port"):
            words.append(ports(rng, f"--{option}"))
            continue
        else:
            value = rng.choice(pool) + rng.choice(("", "/24" if version == 4 else "/64"))
        words.append(f"{invert}--{option} {value}")
    return " ".join(words)


def mac(rng: random.Random, version: int) -> str:
    drawn = rng.choice((*pools.CLIENT_MACS, *pools.SERVER_MACS, *pools.FIREWALL_MACS))
    return f"{maybe_not(rng)}--mac-source {drawn}"


def pkttype(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--pkt-type {rng.choice(('unicast', 'broadcast', 'multicast'))}"


def owner(rng: random.Random, version: int) -> str:
    words = []
    if rng.random() < 0.5:
        words.append(f"{maybe_not(rng)}--uid-owner {people(rng, pools.UIDS)}")
    if rng.random() < 0.4:
        words.append(f"{maybe_not(rng)}--gid-owner {people(rng, pools.GIDS)}")
    if not words or rng.random() < 0.2:
        words.append(f"{maybe_not(rng)}--socket-exists")
    return " ".join(words)


def owner_groups(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--gid-owner {people(rng, pools.GIDS)} --suppl-groups"


def people(rng: random.Random, ids: Sequence[int]) -> str:
    low, high = sorted(rng.choices(ids, k=2))
    return str(low) if rng.random() < 0.6 else f"{low}-{high}"


def physdev(rng: random.Random, version: int) -> str:
    port = rng.choice(("eth0", "eth1", "eth+", "br+"))
    options = ("--physdev-is-in", "--physdev-is-bridged", f"--physdev-in {port}")
    return " ".join(maybe_not(rng) + word for word in rng.sample(options, rng.randint(1, 2)))


def physdev_out(rng: random.Random, version: int) -> str:
    """Ask for the port a packet leaves by, known only of packets that are bridged."""
    word = rng.choice(("--physdev-is-out", f"--physdev-out {rng.choice(('eth0', 'eth1', 'e+'))}"))
    return f"--physdev-is-bridged {maybe_not(rng)}{word}"


def cpu(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--cpu {rng.randrange(2)}"


def comment(rng: random.Random, version: int) -> str:
    return rng.choice(
        (
            '--comment "a b"',
            "--comment plain",
            '--comment "-j DROP"',
            r'--comment "say \"hi\" \\ "',
            '--comment "! --dport 22"',
        )
    )


ADDRESS_TYPES = ("UNSPEC", "UNICAST", "MULTICAST")
ROUTE_TYPES = ("LOCAL", "ANYCAST", "UNREACHABLE")  # what a routing table says of an address
V4_TYPES = ("BROADCAST", "BLACKHOLE", "PROHIBIT", "THROW")


def addrtype(rng: random.Random, version: int) -> str:
    names = ADDRESS_TYPES if version == 6 else (*ADDRESS_TYPES, *ROUTE_TYPES, *V4_TYPES)
    return types(rng, names)


def addrtype_route(rng: random.Random, version: int) -> str:
    return types(rng, (*ADDRESS_TYPES, *ROUTE_TYPES))


def types(rng: random.Random, names: Sequence[str]) -> str:
    options = rng.choice((("--src-type",), ("--dst-type",), ("--src-type", "--dst-type")))
    return " ".join(f"{maybe_not(rng)}{option} {some(rng, names)}" for option in options)


def addrtype_in(rng: random.Random, version: int) -> str:
    return f"{addrtype(rng, version)} --limit-iface-in"


def addrtype_out(rng: random.Random, version: int) -> str:
    return f"{addrtype(rng, version)} --limit-iface-out"
