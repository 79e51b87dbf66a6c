"""Random command lines: taken and saved, or refused, as iptables-restore does with them.

`RULES_SEED` and `RULES_LINES` in the environment choose the lines; the seed is in every
failure. Three kinds of lines are left out because we differ on purpose: what older
iptables took and today's does not (`-s ! x`), what it takes for something that was not
meant (`STRICTER`), and lines for the other family, which iptables reads half-way.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest

from bpfilter.errors import SourceError
from bpfilter.rules.model import TABLES, Family
from bpfilter.rules.saved import format_saved, parse_saved
from tests.harness.debian import FetchError
from tests.harness.debian_root import find_root
from tests.harness.netns import Namespace
from tests.harness.sandbox import Command, CommandError, Sandbox

pytestmark = pytest.mark.e2e

T = TypeVar("T")

SEED = int(os.environ.get("RULES_SEED", "1"))
LINES = int(os.environ.get("RULES_LINES", "300"))

#: Refusals of ours, by their words, of lines that iptables takes.
STRICTER = (
    "as a word of its own", "does not resolve", "invalid mask", "Bad line",
    # What iptables 1.8.11 refuses too.
    "is negative", "out of range (9-4294967295)",
)  # fmt: skip
#: Before iptables 1.8.11, a conntrack address with one of these was a whole one.
ODD_MASKS = ("/255.0.255.0", "/0.0.0.255")

ADDRESSES = {
    Family.IPV4: """10.0.0.1 10.1.2.3/8 10.1.2.3/255.0.255.0 10.1 10 0/0 any/0 1.2.3.4,5.6.7.8
        1.2.3.4/33 1.2.3.4/-1 256.1.1.1 0x10.1.1.1 010.1.1.1 1.2.3.4/0xff ::1 1.2.3.4/ /24 +1.2.3.4
        1.2.3.4.5 1..2.3 10.0.0.1/+8 1.2.3.4/08 255.255.255.255/1 1.2.3.4, 1.2.3.4/0.0.0.255""",
    Family.IPV6: """::1 2001:DB8::1/32 fe80::1/ffff:: ::/0 any/0 ::ffff:1.2.3.4 ::1.2.3.4 1::2,3::4
        1::/129 1:2:3:4:5:6:7:8/127 10.0.0.1 1::1/0 1:0:0:2:0:0:0:3 1:0:2:3:4:5:6:7/64 ::1/""",
}
INTERFACES = "eth0 eth+ + lo eth0.1 fifteencharacts sixteencharacter a/b -x +eth"
PROTOCOLS = """tcp udp icmp 6 17 0 all TCP ipv6-icmp icmpv6 gre 47 256 -1 0x6 06 foo any sctp 2 ip
    mh 200 igmp ipencap"""
PORTS = "22 22:80 80:22 :22 22: : ssh http:https 65536 -1 0x16 22,80 +22 tftp 1:2:3 022"
FLAGS = "SYN SYN,ACK ALL NONE syn FOO ,SYN ALL,SYN"
STATES = "NEW new EST N NEW,ESTABLISHED NEW,,INVALID FOO ,NEW NEW, E UNTRACKED DNAT"
RANGES = "0 1 5:9 9:5 0x10: :7 x -1 4294967295 4294967296 1:2:3"
COMMENTS = ['"a b"', "plain", r'"\"x\" \\"', "it's", r"a\b", "-foo", '""', "é", "x" * 256]
TARGETS = "ACCEPT DROP RETURN QUEUE user INPUT LOG REJECT nosuch accept DNAT"
OTHERS = "-f|--frag|-n|-v|-x|-k|--|-|!|bogus|--bogus|-t filter|-c 5 6|-c 5,6|-c 5|-vn|-c"


@dataclass(frozen=True)
class Line:
    family: Family
    table: str
    text: str

    def ruleset(self) -> str:
        return f"*{self.table}\n:user - [0:0]\n:LOG - [0:0]\n{self.text}\nCOMMIT\n"


class Writer:
    """Writes lines that are nearly right."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def lines(self, count: int) -> Iterator[Line]:
        for _ in range(count):
            family = self.one([Family.IPV4, Family.IPV4, Family.IPV6])
            table = self.one(["filter", "filter", "filter", "nat", "mangle", "raw"])
            chain = self.one([*TABLES[table], *TABLES[table], "user", "nosuch"])
            command = self.one(["-A"] * 9 + ["--append", "-I", "--app", "--a"])
            parts = [self.part(family) for _ in range(self.random.randrange(5))]
            counters = self.one([""] * 8 + ["[1:2] ", "[1:2]", "[1:2 "])
            yield Line(family, table, counters + " ".join([f"{command} {chain}", *parts]))

    def one(self, values: Sequence[T]) -> T:
        return self.random.choice(values)

    def option(self, names: str, words: str) -> str:
        joint = "=" if self.random.random() < 0.1 else " "
        sign = self.one([""] * 8 + ["! ", "! ! "])
        return f"{sign}{self.one(names.split())}{joint}{self.one(words.split())}"

    def part(self, family: Family) -> str:
        addresses = ADDRESSES[family]
        ports = self.one(["-m tcp ", ""])
        plain = " ".join(each for each in addresses.split() if not each.endswith(ODD_MASKS))
        parts: list[Callable[[], str]] = [
            lambda: self.option("-s --source --sour -d --dst --s", addresses),
            lambda: self.option("-i --in-interface -o --out", INTERFACES),
            lambda: self.option("-p --protocol --prot", PROTOCOLS),
            lambda: self.option("-p", "tcp 6"),
            lambda: ports + self.option("--dport --sport --source-port --dpo --d", PORTS),
            lambda: (
                ports + self.option("--tcp-flags --tcp-fl", FLAGS) + " " + self.one(FLAGS.split())
            ),
            lambda: ports + self.one(["--syn", "! --syn", "--syn=1"]),
            lambda: "-m state " + self.option("--state", STATES),
            lambda: "-m conntrack " + self.option("--ctstate --ctst", STATES),
            lambda: "-m conntrack " + self.option("--ctorigsrc --ctrepldst", plain),
            lambda: "-m conntrack " + self.option("--ctexpire", RANGES),
            lambda: "-m conntrack " + self.option("--ctrepldstport", PORTS),
            lambda: "-m comment --comment " + self.one(COMMENTS),
            lambda: self.option("-j --jump -g --goto", TARGETS),
            lambda: self.one(OTHERS.split("|")),
        ]
        return self.one(parts)()


@pytest.fixture
def judge(namespace: Namespace) -> Iterator[Sandbox]:
    try:
        root = find_root()
    except FetchError as error:
        pytest.fail(f"no Debian root with iptables 1.8.11: {error}", pytrace=False)
    with Sandbox.open(root, namespace, Command.LEGACY) as made:
        yield made


def theirs(judge: Sandbox, line: Line) -> str | None:
    command = f"{line.family.command}-legacy"
    try:
        judge.run(f"{command}-restore", "-c", stdin=line.ruleset())
    except CommandError:
        return None
    return rules(judge.run(f"{command}-save", "-c", "-t", line.table))


def ours(line: Line) -> tuple[str | None, str]:
    try:
        ruleset = parse_saved(line.ruleset(), "line", line.family)
    except SourceError as error:
        return None, str(error)
    return rules(format_saved(ruleset, counters=True)), ""


def rules(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if line[:1] == "[")


def test_lines_are_read_as_iptables_reads_them(judge: Sandbox) -> None:
    taken = 0
    for line in Writer(SEED).lines(LINES):
        got, refusal = ours(line)
        if any(words in refusal for words in STRICTER):
            continue
        expected = theirs(judge, line)
        assert got == expected, f"seed {SEED}: {line}: {refusal}"
        taken += expected is not None
    assert taken > LINES // 20
