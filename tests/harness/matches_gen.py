"""Random match options, as iptables takes them: one function per match, words joined.

Each takes the generator and the address family, and gives the text after
`-m NAME`; values come from pools.py, so that packets often meet them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def ports(rng: random.Random) -> str:
    return span(rng, pools.PORTS, 65535)


def source_and_destination(rng: random.Random) -> list[str]:
    words = []
    if rng.random() < 0.6:
        words.append(f"{maybe_not(rng)}--dport {ports(rng)}")
    if rng.random() < 0.4:
        words.append(f"{maybe_not(rng)}--sport {ports(rng)}")
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
    return f"{maybe_not(rng)}--icmp-type {drawn}"


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
    return f"{maybe_not(rng)}--length {span(rng, pools.LENGTHS, 65535, 0.2)}"


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
            value = ports(rng)
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
    options = ("--physdev-is-in", "--physdev-is-bridged", "--physdev-in eth0", "--physdev-in br+")
    drawn = rng.sample(options, rng.randint(1, 2))
    if sum(option.startswith("--physdev-in ") for option in drawn) == 2:
        drawn.pop()
    return " ".join(f"{maybe_not(rng)}{option}" for option in drawn)


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


def esp(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--espspi {span(rng, pools.SPIS, 0xFFFFFFFF)}"


def ah(rng: random.Random, version: int) -> str:
    words = [f"{maybe_not(rng)}--ahspi {span(rng, pools.SPIS, 0xFFFFFFFF)}"]
    if version == 6 and rng.random() < 0.4:
        words.append(f"{maybe_not(rng)}--ahlen {rng.choice((16, 24, 8))}")
    if version == 6 and rng.random() < 0.3:
        words.append("--ahres")
    return " ".join(words)


def frag(rng: random.Random, version: int) -> str:
    words = []
    if rng.random() < 0.6:
        words.append(f"{maybe_not(rng)}--fragid {span(rng, pools.FRAGMENT_IDS, 0xFFFFFFFF)}")
    if rng.random() < 0.3:
        words.append("--fragres")
    if rng.random() < 0.3:
        words.append("--fragfirst")
    if rng.random() < 0.4:
        words.append(rng.choice(("--fragmore", "--fraglast")))
    return " ".join(words) or "--fraglast"


def rt(rng: random.Random, version: int) -> str:
    words = []
    kind = None
    if rng.random() < 0.6:
        invert, kind = maybe_not(rng), rng.choice((0, 0, 2, 4))
        words.append(f"{invert}--rt-type {kind}")
        kind = None if invert else kind
    if rng.random() < 0.5:
        words.append(f"{maybe_not(rng)}--rt-segsleft {span(rng, (0, 1, 2, 255), 255)}")
    if rng.random() < 0.4 or not words:
        words.append(f"{maybe_not(rng)}--rt-len {rng.choice((8, 24, 40))}")
    return " ".join(words)


def rt_type0(rng: random.Random, version: int) -> str:
    """Ask for the reserved word and addresses of the deprecated type 0 routing header."""
    words = ["--rt-type 0"]
    if rng.random() < 0.5:
        words.append("--rt-0-res")
    if rng.random() < 0.7:
        hosts = rng.sample(("2001:db8:b::9", "2001:db8:1::77"), rng.randint(1, 2))
        words.append(f"--rt-0-addrs {','.join(hosts)}")
        if rng.random() < 0.5:
            words.append("--rt-0-not-strict")
    return " ".join(words)


def hbh(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--hbh-len {rng.choice((8, 16, 24))}"


def dst(rng: random.Random, version: int) -> str:
    return f"{maybe_not(rng)}--dst-len {rng.choice((8, 16, 24))}"


def hbh_options(rng: random.Random, version: int) -> str:
    return f"--hbh-opts {some(rng, ('1', '5:2', '30:4', '30', '62:0', '0', '1:2'))}"


def dst_options(rng: random.Random, version: int) -> str:
    return f"--dst-opts {some(rng, ('1', '5:2', '30:4', '30', '62:0', '0', '1:2'))}"


def ipv6header(rng: random.Random, version: int) -> str:
    names = ("hop", "dst", "route", "frag", "auth", "esp", "none", "prot")
    soft = " --soft" if rng.random() < 0.6 else ""
    return f"{maybe_not(rng)}--header {some(rng, names)}{soft}"


def eui64(rng: random.Random, version: int) -> str:
    return ""


def addrtype(rng: random.Random, version: int) -> str:
    names = ["UNSPEC", "UNICAST", "LOCAL", "ANYCAST", "MULTICAST", "UNREACHABLE"]
    if version == 4:
        names += ["BROADCAST", "BLACKHOLE", "PROHIBIT", "THROW"]
    options = rng.choice((("--src-type",), ("--dst-type",), ("--src-type", "--dst-type")))
    return " ".join(f"{maybe_not(rng)}{option} {some(rng, names)}" for option in options)


def addrtype_in(rng: random.Random, version: int) -> str:
    return f"{addrtype(rng, version)} --limit-iface-in"


def addrtype_out(rng: random.Random, version: int) -> str:
    return f"{addrtype(rng, version)} --limit-iface-out"


INPUT, FORWARD, OUTPUT = "INPUT", "FORWARD", "OUTPUT"
ANYWHERE = frozenset((INPUT, FORWARD, OUTPUT))


@dataclass(frozen=True, slots=True)
class Kind:
    """One match to draw: how often, for which protocol and family, at which hooks it is legal."""

    name: str
    draw: Callable[[random.Random, int], str]
    weight: float = 1.0
    protocols: tuple[str, ...] = ()
    versions: tuple[int, ...] = (4, 6)
    hooks: frozenset[str] = ANYWHERE
    #: What a knob calls it, where that is not the match's own name.
    feature: str = ""

    @property
    def knob(self) -> str:
        return self.feature or self.name


INCOMING = frozenset((INPUT, FORWARD))
PORTED = ("tcp", "udp", "udplite", "sctp", "dccp")
KINDS = (
    Kind("tcp", tcp, 12, ("tcp",)),
    Kind("udp", udp, 10, ("udp",)),
    Kind("sctp", sctp, 10, ("sctp",)),
    Kind("dccp", dccp, 10, ("dccp",)),
    Kind("icmp", icmp, 12, ("icmp",), (4,)),
    Kind("icmp6", icmp6, 12, ("ipv6-icmp",), (6,)),
    Kind("esp", esp, 10, ("esp",)),
    Kind("ah", ah, 10, ("ah",), (4,)),
    Kind("ah", ah, 1, (), (6,)),
    Kind("multiport", multiport, 4, PORTED),
    Kind("ecn", ecn_tcp, 2, ("tcp",)),
    Kind("iprange", iprange),
    Kind("length", length, 1.5),
    Kind("ttl", ttl, 1, (), (4,)),
    Kind("hl", hl, 1, (), (6,)),
    Kind("dscp", dscp, 0.8),
    Kind("tos", tos, 0.8),
    Kind("ecn", ecn, 0.6),
    Kind("mark", mark, 1.2),
    Kind("connmark", mark, 0.4),
    Kind("conntrack", conntrack, 1.2),
    Kind("state", state, 0.6),
    Kind("mac", mac, 0.7, hooks=INCOMING),
    Kind("pkttype", pkttype, 0.8),
    Kind("addrtype", addrtype, 1.2),
    Kind("addrtype", addrtype_in, 0.4, hooks=INCOMING),
    Kind("addrtype", addrtype_out, 0.4, hooks=frozenset((FORWARD, OUTPUT))),
    Kind("owner", owner, 2, hooks=frozenset((OUTPUT,))),
    Kind("owner", owner_groups, 0.7, hooks=frozenset((OUTPUT,)), feature="suppl-groups"),
    Kind("physdev", physdev, 0.4),
    Kind("cpu", cpu, 0.4),
    Kind("comment", comment, 0.8),
    Kind("frag", frag, 1.2, (), (6,)),
    Kind("rt", rt, 1, (), (6,)),
    Kind("rt", rt_type0, 0.3, (), (6,), feature="rt-0"),
    Kind("hbh", hbh, 0.7, (), (6,)),
    Kind("dst", dst, 0.7, (), (6,)),
    Kind("hbh", hbh_options, 0.3, (), (6,), feature="hbh-opts"),
    Kind("dst", dst_options, 0.3, (), (6,), feature="dst-opts"),
    Kind("ipv6header", ipv6header, 1, (), (6,)),
    Kind("eui64", eui64, 0.6, (), (6,), INCOMING),
)
