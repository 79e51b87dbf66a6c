"""Large rulesets by theme: each makes it hard for one part of the index. Same seed, same rules."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.harness.large.rules import (
    HOOKS,
    Address,
    Comment,
    Icmp,
    Interface,
    Mark,
    Match,
    Multiport,
    Ports,
    Rule,
    Ruleset,
    Span,
    State,
    bits_of,
    prefix_mask,
)

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
PREFIXES = {4: (8, 12, 16, 20, 24, 26, 28, 30, 31, 32), 6: (32, 40, 48, 52, 56, 64, 96, 127, 128)}
PORTS = (0, 1, 22, 53, 80, 443, 1023, 1024, 8080, 32768, 65534, 65535)
FLAGS = ((0x17, 0x02), (0x12, 0x12), (0x04, 0x04), (0x3F, 0x29), (0x01, 0x01), (0x02, 0))
ICMP_TYPES = {4: (0, 3, 8, 11), 6: (1, 3, 4, 128, 129)}
MARKS = (0, 1, 2, 0x10, 0xFF, 0x80000001)
INTERFACES = ("eth0", "eth1", "eth+", "e+", "lo", "wlan0", "eth12", "eth", "ethernet-islong")
COMMENTS = ("web", "a b", "0123456789" * 20, "-j DROP", "it's", "x")
#: Levels of user chains.
DEPTH = 6
WORDS_OF_STATES = (("NEW",), ("ESTABLISHED", "RELATED"), ("INVALID",), ("RELATED",))


@dataclass(frozen=True, slots=True)
class Space:
    """Networks that addresses are drawn from, as (value, prefix length)."""

    sources: tuple[tuple[int, int], ...]
    destinations: tuple[tuple[int, int], ...]


WIDE = {
    4: Space(
        ((0x0A000000, 8), (0xC0A80000, 16), (0xAC100000, 12)),
        ((0x0A000000, 8), (0xC6336400, 24), (0xCB007100, 24)),
    ),
    6: Space(
        ((0x20010DB8 << 96, 32), (0xFD000000_00000001 << 64, 64)),
        ((0x20010DB8 << 96, 32), (0xFE800000 << 96, 10)),
    ),
}


class Pen:
    """Draws the parts of rules."""

    def __init__(self, rng: random.Random, version: int, space: Space) -> None:
        self.rng = rng
        self.version = version
        self.space = space
        self.known: list[Address] = []

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def network(self, spaces: Sequence[tuple[int, int]], lengths: Sequence[int]) -> Address:
        """Draw a network; often one that lies within or around one drawn before."""
        value, least = self.rng.choice(spaces)
        bits = bits_of(self.version)
        if self.known and self.chance(0.6):
            value = self.rng.choice(self.known).value
        else:
            value |= self.rng.getrandbits(bits - least)
        length = max(least, self.rng.choice(lengths))
        found = Address(value, prefix_mask(length, self.version))
        if len(self.known) < 200:
            self.known.append(found)
        return found

    def source(self, lengths: Sequence[int] = ()) -> Address:
        return self.network(self.space.sources, lengths or PREFIXES[self.version])

    def destination(self, lengths: Sequence[int] = ()) -> Address:
        return self.network(self.space.destinations, lengths or PREFIXES[self.version])

    def like(self, address: Address, source: bool) -> Address:
        """Draw an address that tests as many words as another does."""
        words = -(-address.mask.bit_count() // 32)
        lengths = [n for n in PREFIXES[self.version] if -(-n // 32) == words]
        found = self.source(lengths) if source else self.destination(lengths)
        holed = address.mask != prefix_mask(address.mask.bit_count(), self.version)
        return replace(
            found, mask=address.mask if holed else found.mask, inverted=address.inverted
        )

    def host(self, source: bool) -> Address:
        return (self.source if source else self.destination)((bits_of(self.version),))

    def holed(self, address: Address) -> Address:
        """Give the address under a mask that is no prefix."""
        bits = bits_of(self.version)
        kind = self.rng.randrange(3)
        if kind == 0:
            mask = address.mask & ~(0xFF << self.rng.randrange(0, bits - 8))
        elif kind == 1:
            mask = self.rng.choice((0xFF, 1, 0xF0, 0xFFFF << (bits - 16) | 0xFF))
        else:
            mask = self.rng.getrandbits(bits) & self.rng.getrandbits(bits)
        return Address(address.value, mask or 1)

    def port(self) -> int:
        return self.rng.choice(PORTS) if self.chance(0.2) else self.rng.randrange(0x10000)

    def span(self) -> Span:
        kind = self.rng.randrange(6)
        if kind == 0:
            port = self.port()
            return port, port
        if kind == 1:
            return self.rng.choice(((0, 1023), (1024, 65535), (1, 65534), (32768, 60999)))
        low = self.port()
        width = self.rng.choice((1, 2, 7, 8, 100, 1000, 20000))
        return low, min(low + width, 0xFFFF)

    def spans(self) -> tuple[Span, ...]:
        return tuple(self.span() for _ in range(self.rng.randint(1, 6)))

    def mark(self) -> Mark:
        mask = 0xFFFFFFFF if self.chance(0.6) else self.rng.choice((0xFF, 0x1, 0xF0000000))
        return Mark(self.rng.choice(MARKS) & mask, mask, self.chance(0.15))

    def state(self) -> State:
        return State(self.rng.choice(WORDS_OF_STATES), self.chance(0.15))

    def interface(self) -> Interface:
        return Interface(self.rng.choice(INTERFACES), self.chance(0.15))

    def icmp(self) -> Icmp:
        code = None if self.chance(0.5) else self.rng.choice((0, 1, 3))
        return Icmp(
            self.version, self.rng.choice(ICMP_TYPES[self.version]), code, self.chance(0.1)
        )

    @property
    def icmp_number(self) -> int:
        return ICMP if self.version == 4 else ICMPV6

    def verdict(self) -> str:
        return self.rng.choices(("ACCEPT", "DROP", "RETURN", ""), (5, 4, 1, 2))[0]


def udp_or_tcp(pen: Pen) -> tuple[int, str]:
    return pen.rng.choice(((TCP, "tcp"), (UDP, "udp")))


def hosts(pen: Pen) -> Rule:
    number, name = udp_or_tcp(pen)
    port = pen.port()
    return Rule(
        source=pen.host(True),
        protocol=number,
        matches=(Ports(name, target=(port, port)),),
        target=pen.verdict(),
    )


def nested(pen: Pen) -> Rule:
    """Prefixes of all lengths around few addresses; short ones rarely end the walk."""
    source = pen.source() if pen.chance(0.8) else None
    destination = pen.destination() if pen.chance(0.7) or not source else None
    tested = sum(a.mask.bit_count() for a in (source, destination) if a)
    share = tested / bits_of(pen.version) / 2
    rule = Rule(source, destination, target=pen.verdict() if pen.chance(share) else "")
    if pen.chance(0.3):
        number, name = udp_or_tcp(pen)
        port = pen.port()
        rule = replace(rule, protocol=number, matches=(Ports(name, target=(port, port)),))
    elif pen.chance(0.1):
        rule = replace(rule, protocol=pen.rng.choice((TCP, UDP, pen.icmp_number, 47)))
    return rule


def ranges(pen: Pen) -> Rule:
    """Ranges of one port, and little else; wide ones rarely end the walk."""
    rule = covering(pen)
    span = pen.span()
    narrow = span[1] - span[0] < 20
    ports = Ports("tcp", target=span)
    return replace(rule, matches=(ports,), target=rule.target if narrow else "")


def covering(pen: Pen) -> Rule:
    """Ranges of one port that often hide what is behind them."""
    source = pen.source((16, 24) if pen.version == 4 else (48, 64)) if pen.chance(0.1) else None
    target = pen.verdict() if pen.chance(0.4) else ""
    return Rule(source, protocol=TCP, matches=(Ports("tcp", target=pen.span()),), target=target)


def both_ranges(pen: Pen) -> Rule:
    number, name = udp_or_tcp(pen)
    ports = Ports(name, source=pen.span(), target=pen.span())
    destination = pen.destination() if pen.chance(0.5) else None
    target = pen.verdict() if pen.chance(0.5) else ""
    return Rule(destination=destination, protocol=number, matches=(ports,), target=target)


def equal_keys(pen: Pen) -> Rule:
    """One network and port for all; they differ in what no key has."""
    space, length = pen.space.destinations[0]
    destination = Address(space, prefix_mask(length, pen.version))
    ports: Match = Ports("tcp", target=(443, 443), flags=pen.rng.choice(FLAGS))
    others: list[Match] = [Mark(pen.rng.getrandbits(8), 0xFF, pen.chance(0.02)), ports]
    if pen.chance(0.3):
        others.append(pen.state())
    pen.rng.shuffle(others)
    target = pen.rng.choice(("", "", "ACCEPT", "DROP", "RETURN"))
    return Rule(destination=destination, protocol=TCP, matches=tuple(others), target=target)


def negations(pen: Pen) -> Rule:
    rule = nested(pen)
    kind = pen.rng.randrange(5)
    if kind == 0 and rule.source:
        rule = replace(rule, source=replace(rule.source, inverted=True))
    elif kind == 1 and rule.destination:
        rule = replace(rule, destination=replace(rule.destination, inverted=True))
    elif kind == 2:
        span = pen.span()
        rule = replace(rule, protocol=TCP, matches=(Ports("tcp", None, span, False, True),))
    elif kind == 3:
        rule = replace(rule, protocol=UDP, protocol_inverted=True, matches=())
    else:
        ports = Ports("udp", pen.span(), pen.span(), pen.chance(0.5), pen.chance(0.5))
        rule = replace(rule, protocol=UDP, matches=(ports,))
    return replace(rule, target=rule.target if pen.chance(0.3) else "")


def interfaces(pen: Pen) -> Rule:
    """Every word of a name may be tested, and the whole chain hashed by it."""
    rule = hosts(pen) if pen.chance(0.5) else nested(pen)
    if pen.chance(0.8):
        rule = replace(rule, in_interface=pen.interface())
    if pen.chance(0.3):
        rule = replace(rule, out_interface=pen.interface())
    return rule


def holes(pen: Pen) -> Rule:
    rule = nested(pen)
    if rule.source and pen.chance(0.8):
        rule = replace(rule, source=pen.holed(rule.source))
    if rule.destination and pen.chance(0.8):
        rule = replace(rule, destination=pen.holed(rule.destination))
    return replace(rule, target=rule.target if pen.chance(0.4) else "")


def everything(pen: Pen) -> Rule:
    """Any part, matches in any order: some stand left of the ports, some right."""
    rule = nested(pen)
    number = pen.rng.choice((TCP, UDP, pen.icmp_number, 136, None))
    matches: list[Match] = []
    if number == TCP:
        flags = pen.rng.choice(FLAGS) if pen.chance(0.4) else None
        source = pen.span() if pen.chance(0.3) else None
        span = pen.span() if pen.chance(0.7) else None
        matches.append(Ports("tcp", source, span, False, pen.chance(0.1), flags))
    elif number == UDP and pen.chance(0.7):
        matches.append(Ports("udp", None, pen.span(), False, pen.chance(0.1)))
    elif number == pen.icmp_number:
        matches.append(pen.icmp())
    if number in (TCP, UDP, 136) and pen.chance(0.3):
        which = pen.rng.choice(("sports", "dports", "ports"))
        matches.append(Multiport(which, pen.spans(), pen.chance(0.2)))
    for share, draw in ((0.3, pen.mark), (0.3, pen.state)):
        if pen.chance(share):
            matches.append(draw())
    if pen.chance(0.2):
        matches.append(Comment(pen.rng.choice(COMMENTS)))
    pen.rng.shuffle(matches)
    fragment = pen.chance(0.6) if pen.version == 4 and number is None and pen.chance(0.4) else None
    rule = replace(rule, protocol=number, fragment=fragment, matches=tuple(matches))
    if pen.chance(0.15):
        rule = replace(rule, in_interface=pen.interface())
    return replace(rule, target=pen.verdict() if pen.chance(0.5) else "")


def stateful(pen: Pen) -> Rule:
    """Hosts and ports, with a match that no key has left or right of the ports."""
    rule = hosts(pen)
    others: tuple[Match, ...] = (pen.mark() if pen.chance(0.5) else pen.state(),)
    if pen.chance(0.3):
        others += (Comment("c"),)
    both = (others, rule.matches) if pen.chance(0.5) else (rule.matches, others)
    return replace(rule, matches=both[0] + both[1])


def another(pen: Pen, rule: Rule) -> Rule:
    """Draw a rule with the same tests, of other networks and ports."""
    source = rule.source and pen.like(rule.source, True)
    destination = rule.destination and pen.like(rule.destination, False)
    matches = tuple(_another_match(pen, match) for match in rule.matches)
    return replace(rule, source=source, destination=destination, matches=matches)


def _another_match(pen: Pen, match: Match) -> Match:
    if isinstance(match, Ports):
        return replace(
            match, source=match.source and pen.span(), target=match.target and pen.span()
        )
    return match


@dataclass(frozen=True, slots=True)
class Theme:
    """How rules are drawn, and put together.

    Shares are of all rules: `same` repeats an earlier one, often with another target;
    `any` asks nothing and has no verdict; `calls` jumps to a small chain. `chains` are
    user chains, of which `large` get as many rules as a base chain. With `shapes`, rules
    differ from so many others in networks and ports alone.
    """

    name: str
    rule: Callable[[Pen], Rule]
    same: float = 0.02
    any: float = 0.01
    calls: float = 0.02
    chains: int = 4
    large: int = 1
    shapes: int = 0


THEMES = (
    Theme("hosts", hosts),
    Theme("nested", nested),
    Theme("ranges", ranges),
    Theme("covering", covering),
    Theme("both-ranges", both_ranges),
    Theme("equal-keys", equal_keys, shapes=40),
    Theme("negations", negations, shapes=40),
    Theme("interfaces", interfaces, shapes=40),
    Theme("holes", holes, shapes=60),
    Theme("everything", everything, shapes=60),
    Theme("stateful", stateful, shapes=40),
    Theme("repeated", nested, same=0.6),
    Theme("unconditional", nested, any=0.3),
    Theme("chains", nested, calls=0.3, chains=30, large=3),
    Theme("many-large-chains", everything, calls=0.1, chains=20, large=12, shapes=40),
    Theme("no-two-alike", everything),
)


def draw_ruleset(theme: Theme, version: int, size: int, seed: int, space: Space) -> Ruleset:
    """Draw a ruleset of about so many rules."""
    rng = random.Random(f"{theme.name} {version} {seed}")
    return _Draft(theme, Pen(rng, version, space)).run(size)


class _Draft:
    """Chains are on levels and jump to lower ones only, so there is no loop."""

    def __init__(self, theme: Theme, pen: Pen) -> None:
        self.theme = theme
        self.pen = pen
        self.names = [*HOOKS, *(f"chain{number}" for number in range(theme.chains))]
        deep = min(DEPTH, theme.chains)
        levels = (1 + number * deep // theme.chains for number in range(theme.chains))
        self.level = [0] * len(HOOKS) + [*levels]
        self.palette = [theme.rule(pen) for _ in range(theme.shapes)]

    def run(self, size: int) -> Ruleset:
        rng, theme = self.pen.rng, self.theme
        version = self.pen.version
        policies = {hook: rng.choice(("ACCEPT", "DROP")) for hook in HOOKS}
        made = Ruleset(version, policies)
        large = ["FORWARD", *rng.sample(self.names[len(HOOKS) :], theme.large)]
        for number, name in enumerate(self.names):
            # One in three of the small ones is large enough to be searched.
            count = rng.choice((0, 1, 3, 8, 23, 24, 60))
            if name in large:
                count = max(24, int(size * rng.uniform(0.7, 1.3) / len(large)))
            rules = [self._rule(number) for _ in range(count)]
            for index, rule in enumerate(rules):
                if index and self.pen.chance(theme.same):
                    again = rng.choice(rules[:index])
                    rules[index] = replace(again, target=rule.target, goto=rule.goto)
            made.chains[name] = [fitting(rule, name) for rule in rules]
        self._connect(made)
        self._end_early(made, large)
        return made

    def _rule(self, number: int) -> Rule:
        pen, theme = self.pen, self.theme
        if pen.chance(theme.any):
            return Rule(protocol=TCP if pen.chance(0.2) else None)
        if self.palette:
            rule = another(pen, pen.rng.choice(self.palette))
        else:
            rule = theme.rule(pen)
        later = self._below(self.level[number])
        if later and pen.chance(theme.calls):
            rule = replace(rule, target=pen.rng.choice(later), goto=pen.chance(0.25))
        return rule

    def _below(self, level: int) -> list[str]:
        return [name for name, its in zip(self.names, self.level, strict=True) if its > level]

    def _connect(self, made: Ruleset) -> None:
        # Nearly every chain is jumped to, by a rule that asks little.
        rng = self.pen.rng
        for number, name in enumerate(self.names[len(HOOKS) :], len(HOOKS)):
            if rng.random() < 0.05:
                continue
            above = [n for n in range(number) if self.level[n] == self.level[number] - 1]
            caller = self.names[rng.choice(above)]
            rule = Rule(target=name)
            if rng.random() < 0.5:
                rule = replace(rule, protocol=rng.choice((TCP, UDP)))
            rules = made.chains[caller]
            rules.insert(rng.randint(0, len(rules)), rule)

    def _end_early(self, made: Ruleset, large: list[str]) -> None:
        # What stands behind a verdict without condition is never reached, and counts nothing.
        if self.pen.chance(0.5):
            rules = made.chains[self.pen.rng.choice(large)]
            verdict = self.pen.rng.choice(("ACCEPT", "DROP", "RETURN"))
            rules.insert(len(rules) - len(rules) // 20, Rule(target=verdict))


def fitting(rule: Rule, chain: str) -> Rule:
    """Leave out the device that iptables takes no test of: output at INPUT, input at OUTPUT."""
    if chain == "INPUT" and rule.out_interface:
        return replace(rule, out_interface=None)
    if chain == "OUTPUT" and rule.in_interface:
        return replace(rule, in_interface=None)
    return rule
