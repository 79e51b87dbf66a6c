"""The machine a client runs on, and what it looks like from step to step.

    client ── eth0 [the sandbox] eth1 ── server

A play is a function that takes a Host and does what an administrator would. It calls `look`
between the steps; what was seen there under iptables-legacy and under the command on trial
must be the same.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.netns import CLIENT, SERVER, Lab, Namespace
from tests.harness.probes import Probe, Servers, ask
from tests.harness.sandbox import FAMILIES, Command, Sandbox
from tests.harness.waiting import wait_until

_COUNTERS = re.compile(r"^(:.*) \[\d+:\d+\]$|^\[\d+:\d+\] ")
_UNTOUCHED = re.compile(r":[A-Z]+ ACCEPT")

#: Addresses of the client's network from which it can ask as well.
NEIGHBOURS = ("192.0.2.10", "192.0.2.11")


@dataclass(slots=True)
class View:
    """What there was to see after a step: saved tables, what ports answered, texts printed."""

    step: str
    tables: dict[str, list[str]]
    traffic: dict[str, str]
    texts: dict[str, str]
    ours: set[str]  # families of which something is pinned as eBPF; not compared

    def lines(self) -> list[str]:
        """Give all of it as text, for comparing and for showing what differs."""
        parts: list[str] = []
        for name, rules in sorted(self.tables.items()):
            parts += [f"*{name}", *rules]
        parts += [f"{probe}: {outcome}" for probe, outcome in self.traffic.items()]
        for words, text in self.texts.items():
            parts += [f"$ {words}", *text.splitlines()]
        return parts


@dataclass(slots=True)
class Host:
    """A sandbox with neighbours, and the views taken of it."""

    box: Sandbox
    lab: Lab
    views: list[View] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    varying: str = r"(?!)"  # what is different in names each time
    others: dict[str, Namespace] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def serve(self, tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> None:
        """Have servers on these ports here and on both neighbours."""
        tcp, udp = list(tcp), list(udp)
        for namespace in (self.lab.firewall, *self.lab.ends):
            self._stack.enter_context(Servers(namespace, tcp, udp))

    def join(self, name: str, path: str, addresses: Sequence[str], tcp: Iterable[int]) -> None:
        """Have servers in a network namespace of the sandbox, and let probes come from it.

        Returns when its addresses have been found: the first question for one may be lost, when
        its link is just coming up, and the next is asked a second later.
        """
        self.others[name] = Namespace.existing(f"/proc/{self.box.pid}/root{path}")
        self._stack.enter_context(Servers(self.others[name], tcp, udp=[53]))
        for address in addresses:
            ping = Probe("host", "icmp", address)
            wait_until(lambda: self._ask([ping])[str(ping)] == "open", str(ping))  # noqa: B023

    def watch(self, *probes: Probe) -> None:
        """Have these sent at each `look` from now on."""
        self.probes = probes

    def run(self, line: str, *, stdin: str | None = None, seconds: float = 180) -> str:
        """Run a shell command line that must succeed."""
        return self.box.run("sh", "-c", line, stdin=stdin, seconds=seconds)

    def tell(self, line: str, hide: str | None = None) -> None:
        """Run a command line whose output, less what `hide` matches, belongs to the next view."""
        said = self.box.run("sh", "-c", line, status=None)
        self.texts[line] = re.sub(hide, "…", said) if hide else said

    def look(self, step: str, *, ordered: bool = True) -> None:
        """Take a view: the tables, what the probes meet, and what was told since the last.

        Not `ordered`: the client does things in no order of its own, and rules are sorted.
        """
        tables = {}
        for family in FAMILIES:
            for name, rules in split_tables(self.box.run(f"{family}-save")).items():
                lines = [re.sub(self.varying, "…", rule) for rule in rules]
                tables[f"{family} {name}"] = lines if ordered else sorted(lines)
        pins = Path(f"/proc/{self.box.pid}/root/run/bpfilter/bpf").glob("*/ip*tables-*")
        ours = {path.name.partition("-")[0] for path in pins}
        self.views.append(View(step, tables, self._ask(self.probes), self.texts, ours))
        self.texts = {}

    def burst(self, probe: Probe, count: int) -> None:
        """Send a probe so many times at once, for rules that count; belongs to the next view."""
        met = [self._ask([probe])[str(probe)] for _ in range(count)]
        self.texts[f"{count} × {probe}"] = "\n".join(met)

    def _ask(self, probes: Sequence[Probe]) -> dict[str, str]:
        lab = {"host": self.lab.firewall, "client": self.lab.client, "server": self.lab.server}
        return ask(probes, lab | self.others)

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def open_host(root: Path, command: Command) -> Iterator[Host]:
    """Give a fresh machine on which `iptables` is a command's."""
    with Lab() as lab:
        lab.client.ip(*(f"address add {address}/32 dev lo" for address in NEIGHBOURS))
        with Sandbox.open(root, lab.firewall, command) as box:
            host = Host(box, lab)
            try:
                yield host
            finally:
                host.close()


def split_tables(saved: str) -> dict[str, list[str]]:
    """Give each table's lines of what iptables-save printed, without counters and comments.

    Which tables the kernel has made so far is left out too: one with no rules and no chains
    of its own whose policies are ACCEPT counts as none.
    """
    tables: dict[str, list[str]] = {}
    rules: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            rules = tables.setdefault(line[1:], [])
        elif line and line != "COMMIT" and not line.startswith("#"):
            rules.append(_COUNTERS.sub(r"\1", line))
    return {
        name: rules
        for name, rules in tables.items()
        if not all(_UNTOUCHED.fullmatch(line) for line in rules)
    }


def to_host(
    *ports: str, at: str = "client", families: str = "46", source: str = ""
) -> tuple[Probe, ...]:
    """Give probes from a neighbour to the machine's own address, of ports such as `tcp/22`."""
    side = {"client": CLIENT, "server": SERVER}[at]
    return tuple(
        Probe(at, kind, {"4": side.v4, "6": side.v6}[family], int(port or 0), source)
        for family in families
        for kind, _, port in (text.partition("/") for text in ports)
    )


def through(*ports: str, at: str = "client", families: str = "46") -> tuple[Probe, ...]:
    """Give probes from one neighbour to the other one."""
    side = {"client": SERVER, "server": CLIENT}[at]
    return tuple(
        Probe(at, kind, {"4": side.v4_peer, "6": side.v6_peer}[family], int(port or 0))
        for family in families
        for kind, _, port in (text.partition("/") for text in ports)
    )


def from_host(*ports: str, families: str = "46") -> tuple[Probe, ...]:
    """Give probes from the machine itself to the server."""
    return tuple(
        Probe("host", kind, {"4": SERVER.v4_peer, "6": SERVER.v6_peer}[family], int(port or 0))
        for family in families
        for kind, _, port in (text.partition("/") for text in ports)
    )


Play = Callable[[Host], None]


def command_on_trial() -> Command:
    """Give what the environment says is to be judged; ours if it says nothing."""
    return Command(os.environ.get("BPFILTER_CLIENTS_COMMAND", Command.BPF.value))
