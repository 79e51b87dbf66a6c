"""Single calls of the commands of iptables, the whole process: one rule more, listings.

All tables of all peers are there at once, each in a network namespace of its own. Every round
visits all tables, and the peers of each in random order: it appends a rule that no other round
does, looks for it, and deletes it again, so that what is listed then has its size.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench import families
from bench.commands import CommandFailed, Commands
from bench.peers import Peer, write
from bench.plan import Bench
from bench.results import What
from bench.rig import Mismatch
from tests.harness.engines import BpfEngine
from tests.harness.netns import Namespace

#: The table that is no family's: what a small server has.
SERVER = "server"
_SERVER = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT
COMMIT
"""
SERVER_RULES = _SERVER.count("\n-A ")

#: In an order in which each leaves to the next what it needs.
ORDER = (What.APPEND, What.CHECK, What.DELETE, What.RULES, What.LISTING, What.SAVED)
_ONE_RULE = {What.APPEND: "-A", What.CHECK: "-C", What.DELETE: "-D"}


@dataclass(frozen=True, slots=True)
class Table:
    """A filter table as iptables-save writes it, and the chain that grows."""

    name: str
    size: int
    text: str
    chain: str

    @property
    def rules(self) -> int:
        return count_rules(self.text)


@dataclass(frozen=True, slots=True)
class _Called:
    # A table of a peer's, in force in a network namespace.
    peer: Peer
    table: Table
    namespace: Namespace


def measure(bench: Bench, commands: Commands) -> None:
    """Call all commands on all tables. Raises: Mismatch."""
    with contextlib.ExitStack() as stack:
        tables = [list(_load(bench, commands, stack, table)) for table in _tables(bench)]
        order = random.Random(bench.plan.seed)
        for number in range(bench.plan.calls):
            bench.say(f"single commands: round {number + 1} of {bench.plan.calls}")
            for called in tables:
                order.shuffle(called)
                # Who is left out is not tried again.
                called[:] = [each for each in called if _round(bench, commands, each, number)]
        for called in tables:
            for each in called:
                _verify(commands, each)


def make_table(name: str, size: int, seed: int) -> Table:
    """Make SERVER's table or a family's."""
    if name == SERVER:
        return Table(name, SERVER_RULES, _SERVER, "INPUT")
    return Table(name, size, families.make(name, size, seed).text, "FORWARD")


def new_rule(number: int) -> str:
    """Give a rule that no table has, another one for each number up to 65,535."""
    high, low = divmod(number, 256)
    return f"-s 198.19.{high}.{low}/32 -p udp -m udp --dport 9 -j DROP"


def words_of(what: What, iptables: str, table: Table, number: int) -> list[str]:
    """Give the command line of a call; its rule, if it has one, is `new_rule(number)`."""
    if what is What.SAVED:
        return [f"{iptables}-save"]
    if what in _ONE_RULE:
        return [iptables, _ONE_RULE[what], table.chain, *new_rule(number).split()]
    return [iptables, *what.split()[1:]]


def count_rules(saved: str) -> int:
    return saved.count("\n-A ")


def _tables(bench: Bench) -> Iterator[Table]:
    for name, sizes in bench.plan.tables.items():
        for size in sizes:
            yield make_table(name, size, bench.plan.seed)


def _load(
    bench: Bench, commands: Commands, stack: contextlib.ExitStack, table: Table
) -> Iterator[_Called]:
    bench.say(f"{table.name}, {table.rules:,} rules: loading, for single commands")
    path = write(bench.files, table.text)
    for peer in bench.peers:
        if not peer.iptables:
            continue
        namespace = stack.enter_context(Namespace("bc"))
        stack.callback(BpfEngine().clear, namespace)
        called = _Called(peer, table, namespace)
        try:
            restore = [f"{peer.iptables}-restore", str(path)]
            commands.measure(namespace, restore, bench.plan.limit_s)
            _rehearse(bench, commands, called)
        except CommandFailed as error:
            bench.skip(What.APPEND, table.name, table.size, peer.name, str(error))
            continue
        yield called


# What is not done is not measured: the rule is there after -A, and gone after -D.
def _rehearse(bench: Bench, commands: Commands, called: _Called) -> None:
    number = bench.plan.calls
    rule = f"\n-A {called.table.chain} {new_rule(number)}\n"
    for what, times in ((What.APPEND, 1), (What.DELETE, 0)):
        words = words_of(what, called.peer.iptables, called.table, number)
        commands.measure(called.namespace, words, bench.plan.limit_s)
        if _saved(commands, called).count(rule) != times:
            raise Mismatch(f"{called.peer.name}, {called.table.name}: {' '.join(words)}")


def _round(bench: Bench, commands: Commands, called: _Called, number: int) -> bool:
    for what in ORDER:
        key = what, called.table.name, called.table.size, called.peer.name
        words = words_of(what, called.peer.iptables, called.table, number)
        try:
            taken = commands.measure(called.namespace, words, bench.plan.limit_s)
        except CommandFailed as error:
            bench.skip(*key, str(error))
            return False
        bench.note(*key, taken.seconds)
    return True


def _verify(commands: Commands, called: _Called) -> None:
    rules = count_rules(_saved(commands, called))
    if rules != called.table.rules:
        raise Mismatch(
            f"{called.peer.name}, {called.table.name}: {rules} rules of {called.table.rules}"
        )


def _saved(commands: Commands, called: _Called) -> str:
    words = words_of(What.SAVED, called.peer.iptables, called.table, 0)
    return commands.output(called.namespace, words)
