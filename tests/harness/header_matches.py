"""Random options of the matches that read a packet's headers: one function per match.

Each takes the generator and the address family, and gives the text after
`-m NAME`; values come from pools.py, so that packets often meet them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import ip_address

from tests.harness import pools
from tests.harness.pools import POOLS, weighted


def maybe_not(rng: random.Random) -> str:
    return "! " if rng.random() < 0.25 else ""


def span(rng: random.Random, values: Sequence[int], top: int, one: float = 0.6) -> str:
    """Draw `n`, `n:m`, and now and then an open end."""
    first = rng.choice(values)
    if rng.random() < one:
        return str(first)
    second = rng.choice((*values, top))
    low, high = sorted((first, second))
    return weighted(rng, [(6, f"{low}:{high}"), (1, f"{low}:{top}"), (1, f"0:{high}")])


def some(rng: random.Random, values: Sequence[str], most: int = 3) -> str:
    return ",".join(rng.sample(values, rng.randint(1, min(most, len(values)))))


def ranged(
    rng: random.Random, option: str, values: Sequence[int], top: int, one: float = 0.6
) -> str:
    """Draw an option of a number or range, but never all excluded: iptables-save loses that."""
    invert, value = maybe_not(rng), span(rng, values, top, one)
    return f"{'' if value == f'0:{top}' else invert}{option} {value}"


def ports(rng: random.Random, option: str) -> str:
    return ranged(rng, option, pools.PORTS, 65535)


def source_and_destination(rng: random.Random) -> list[str]:
    words = []
    if rng.random() < 0.6:
        words.append(ports(rng, "--dport"))
    if rng.random() < 0.4:
        words.append(ports(rng, "--sport"))
    return words


def tcp(rng: random.Random, version: int) -> str:
    words = source_and_destination(rng)
    if rng.random() < 0.4:
        mask = rng.sample(pools.TCP_FLAGS, rng.randint(1, 6))
        want = rng.sample(mask, rng.randint(0, min(2, len(mask))))
        flags = "ALL" if len(mask) == 6 else ",".join(mask)
        words.append(f"{maybe_not(rng)}--tcp-flags {flags} {','.join(want) or 'NONE'}")
    elif rng.random() < 0.3:
        words.append(f"{maybe_not(rng)}--syn")
    if rng.random() < 0.25:
        kind = rng.choice(pools.TCP_OPTION_KINDS[1:])
        words.append(f"{maybe_not(rng)}--tcp-option {kind}")
    return " ".join(words)


def udp(rng: random.Random, version: int) -> str:
    return " ".join(source_and_destination(rng))


def sctp(rng: random.Random, version: int) -> str:
    words = source_and_destination(rng)
    if rng.random() < 0.6 or not words:
        chunks = rng.sample(tuple(pools.SCTP_CHUNKS), rng.randint(1, 4))
        listed = ",".join(name + chunk_flags(rng, name) for name in chunks)
        if rng.random() < 0.1:
            listed = rng.choice(("ALL", "NONE"))
        words.append(
            f"{maybe_not(rng)}--chunk-types {rng.choice(('all', 'any', 'only'))} {listed}"
        )
    return " ".join(words)


def chunk_flags(rng: random.Random, name: str) -> str:
    """Draw flags asked of a chunk: upper case set, lower case clear."""
    letters = {"DATA": "IUBE", "ABORT": "T", "SHUTDOWN_COMPLETE": "T"}.get(name, "")
    if not letters or rng.random() < 0.5:
        return ""
    chosen = rng.sample(letters, rng.randint(1, len(letters)))
    return ":" + "".join(rng.choice((c.upper(), c.lower())) for c in chosen)


def dccp(rng: random.Random, version: int) -> str:
    words = source_and_destination(rng)
    if rng.random() < 0.5 or not words:
        listed = some(rng, (*pools.DCCP_TYPES, "INVALID"), 4)
        words.append(f"{maybe_not(rng)}--dccp-types {listed}")
    if rng.random() < 0.3:
        words.append(f"{maybe_not(rng)}--dccp-option {rng.choice(pools.DCCP_OPTION_KINDS)}")
    return " ".join(words)


def icmp(rng: random.Random, version: int) -> str:
    kind, code = rng.choice(pools.ICMP_TYPES)
    drawn = rng.choice((f"{kind}", f"{kind}/{code}", "any", "echo-request", "host-unreachable"))
    return f"{'' if drawn == 'any' else maybe_not(rng)}--icmp-type {drawn}"


def icmp6(rng: random.Random, version: int) -> str:
    kind, code = rng.choice(pools.ICMP6_TYPES)
    drawn = rng.choice((f"{kind}", f"{kind}/{code}", "echo-request", "port-unreachable"))
    return f"{maybe_not(rng)}--icmpv6-type {drawn}"


def multiport(rng: random.Random, version: int) -> str:
    option = rng.choice(("--sports", "--dports", "--ports"))
    listed: list[str] = []
    room = rng.randint(1, 15)
    while room > 0:
        if room > 1 and rng.random() < 0.3:
            low, high = sorted(rng.sample(pools.PORTS, 2))
            listed.append(f"{low}:{high}")
            room -= 2
        else:
            listed.append(str(rng.choice(pools.PORTS)))
            room -= 1
    return f"{maybe_not(rng)}{option} {','.join(listed)}"


def iprange(rng: random.Random, version: int) -> str:
    words = []
    for option in rng.choice((("--src-range",), ("--dst-range",), ("--src-range", "--dst-range"))):
        first, last = sorted(map(ip_address, rng.choices(POOLS[version].everything, k=2)), key=int)
        bounds = str(first) if rng.random() < 0.1 else f"{first}-{last}"
        words.append(f"{maybe_not(rng)}{option} {bounds}")
    return " ".join(words)


def length(rng: random.Random, version: int) -> str:
    return ranged(rng, "--length", pools.LENGTHS, 65535, 0.2)


def ttl(rng: random.Random, version: int) -> str:
    value = rng.choice(pools.TTLS)
    word = rng.choice((f"{maybe_not(rng)}--ttl-eq", "--ttl-gt", "--ttl-lt"))
    return f"{word} {value}"


def hl(rng: random.Random, version: int) -> str:
    value = rng.choice(pools.TTLS)
    word = rng.choice((f"{maybe_not(rng)}--hl-eq", "--hl-gt", "--hl-lt"))
    return f"{word} {value}"


def dscp(rng: random.Random, version: int) -> str:
    if rng.random() < 0.3:
        return f"{maybe_not(rng)}--dscp-class {rng.choice(('EF', 'BE', 'CS1', 'AF11', 'AF43'))}"
    return f"{maybe_not(rng)}--dscp {rng.choice(pools.TOS) >> 2}"


def tos(rng: random.Random, version: int) -> str:
    value = rng.choice(pools.TOS)
    mask = rng.choice(("", "", "/0xff", "/0x3f", "/0xfc", "/0x0", "/0x03"))
    return f"{maybe_not(rng)}--tos {value:#x}{mask}"


def ecn(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--ecn-ip-ect {rng.randrange(4)}"


def ecn_tcp(rng: random.Random, version: int) -> str:
    words = rng.sample(("--ecn-tcp-cwr", "--ecn-tcp-ece"), rng.randint(1, 2))
    drawn = [f"{maybe_not(rng)}{word}" for word in words]
    if rng.random() < 0.3:
        drawn.append(ecn(rng, version))
    return " ".join(drawn)


def esp(rng: random.Random, version: int) -> str:
    return ranged(rng, "--espspi", pools.SPIS, 0xFFFFFFFF)


def ah(rng: random.Random, version: int) -> str:
    words = [ranged(rng, "--ahspi", pools.SPIS, 0xFFFFFFFF)]
    if version == 6 and rng.random() < 0.4:
        words.append(f"{maybe_not(rng)}--ahlen {rng.choice((16, 24, 8))}")
    if version == 6 and rng.random() < 0.3:
        words.append("--ahres")
    return " ".join(words)


def frag(rng: random.Random, version: int) -> str:
    words = []
    if rng.random() < 0.6:
        words.append(ranged(rng, "--fragid", pools.FRAGMENT_IDS, 0xFFFFFFFF))
    if rng.random() < 0.3:
        words.append("--fragres")
    if rng.random() < 0.3:
        words.append("--fragfirst")
    if rng.random() < 0.4:
        words.append(rng.choice(("--fragmore", "--fraglast")))
    return " ".join(words) or "--fraglast"


def rt(rng: random.Random, version: int) -> str:
    words = []
    if rng.random() < 0.6:
        invert, kind = maybe_not(rng), rng.choice((0, 0, 2, 4))
        words.append(f"{invert}--rt-type {kind}")
        if kind == 0 and not invert and rng.random() < 0.3:
            words.append("--rt-0-res")
    if rng.random() < 0.5:
        words.append(ranged(rng, "--rt-segsleft", (0, 1, 2, 255), 255))
    if rng.random() < 0.4 or not words:
        words.append(f"{maybe_not(rng)}--rt-len {rng.choice((8, 24, 40))}")
    return " ".join(words)


def rt_addresses(rng: random.Random, version: int) -> str:
    """Ask for the addresses of the deprecated type 0 routing header."""
    hosts = rng.choices(pools.HOPS, k=rng.choice((1, 1, 2, 2, 3)))
    return f"--rt-type 0 --rt-0-addrs {','.join(hosts)}"


def rt_not_strict(rng: random.Random, version: int) -> str:
    return f"{rt_addresses(rng, version)} --rt-0-not-strict"


def hbh(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--hbh-len {rng.choice((8, 16, 24))}"


def dst(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--dst-len {rng.choice((8, 16, 24))}"


def hbh_options(rng: random.Random, version: int) -> str:
    return f"--hbh-opts {options(rng)}"


def dst_options(rng: random.Random, version: int) -> str:
    return f"--dst-opts {options(rng)}"


def options(rng: random.Random) -> str:
    """Draw options as packets6.py puts them into headers, the first few more often."""
    listed = rng.choices(("5:2", "5", "1", "1:2", "1:0", "30:4", "30", "62:0", "0"), k=15)
    return ",".join(listed[: rng.choice((1, 1, 1, 2, 2, 3, 15))])


def ipv6header(rng: random.Random, version: int) -> str:
    names = ("hop", "dst", "route", "frag", "auth", "esp", "none", "prot")
    soft = " --soft" if rng.random() < 0.6 else ""
    return f"{maybe_not(rng)}--header {some(rng, names)}{soft}"


def eui64(rng: random.Random, version: int) -> str:
    return ""
