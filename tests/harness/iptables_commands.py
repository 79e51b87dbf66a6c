"""Commands of iptables, done by iptables-bpf and by iptables-legacy 1.8.11 alike.

Both have their rules in one namespace, where packets meet ours first. The rules drawn here
drop nothing, so that both count the same packets.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bpfilter.iptables import program
from tests.harness.netns import Namespace
from tests.harness.sandbox import ENVIRONMENT, Sandbox

CHAINS = ("INPUT", "OUTPUT", "FORWARD")
OWN = ("one", "two", "three", "a-longer-name")
PORTS = range(1000, 1006)


@dataclass(frozen=True)
class Said:
    """What a command did: exit status, output, messages."""

    status: int
    output: str
    messages: str


class Commands:
    """`name` is iptables or ip6tables; `judge` is a sandbox in the same namespace, or in
    `other`, to which the same packets are sent."""

    def __init__(
        self,
        namespace: Namespace,
        name: str,
        judge: Sandbox,
        lock: Path,
        other: Namespace | None = None,
    ) -> None:
        self.namespace = namespace
        self.other = other
        self.name = name
        self.judge = judge
        self.lock = lock

    def ours(self, *words: str, verb: str = "", stdin: str = "") -> Said:
        """Do it by iptables-bpf, in this process."""
        name = f"{self.name}-{verb}" if verb else self.name
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        before = os.environ.get("XTABLES_LOCKFILE")
        os.environ["XTABLES_LOCKFILE"] = str(self.lock)
        feeding = contextlib.nullcontext() if verb != "restore" else _stdin(stdin)
        try:
            with (
                self.namespace.entered(),
                feeding,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                status = program.main([name, *words])
        finally:
            if before is None:
                del os.environ["XTABLES_LOCKFILE"]
            else:
                os.environ["XTABLES_LOCKFILE"] = before
        out.seek(0)
        return Said(status, out.read(), err.getvalue())

    def theirs(self, *words: str, verb: str = "", stdin: str = "") -> Said:
        """Do it by iptables-legacy."""
        name = "-".join([self.name, "legacy", *([verb] if verb else [])])
        done = subprocess.run(
            self.judge.words(name, *words),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def saved(self) -> tuple[str, str]:
        """Give what iptables-save -c prints of the filter table, less comments: ours, theirs."""
        both = (side("-c", "-t", "filter", verb="save") for side in (self.ours, self.theirs))
        first, second = (
            "\n".join(line for line in said.output.split("\n") if line[:1] != "#") for said in both
        )
        return first, second

    def send(self, seed: int, packets: int = 20) -> None:
        """Send datagrams to a few ports of this host."""
        for namespace in filter(None, (self.namespace, self.other)):
            self._send(namespace, seed, packets)

    def _send(self, namespace: Namespace, seed: int, packets: int) -> None:
        rng = random.Random(seed)
        family = socket.AF_INET if self.name == "iptables" else socket.AF_INET6
        host = "127.0.0.1" if self.name == "iptables" else "::1"
        with namespace.entered(), socket.socket(family, socket.SOCK_DGRAM) as sender:
            for _ in range(packets):
                # What OUTPUT drops is not permitted.
                with contextlib.suppress(ConnectionRefusedError, PermissionError):
                    sender.sendto(bytes(rng.randrange(40)), (host, rng.choice(PORTS)))


@contextlib.contextmanager
def _stdin(text: str) -> Iterator[None]:
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    try:
        yield
    finally:
        sys.stdin = before


class Drawn:
    """Commands drawn at random, many of which are wrong in some way."""

    def __init__(self, seed: int, name: str) -> None:
        self.rng = random.Random(seed)
        self.host = "127.0.0.1" if name == "iptables" else "::1"

    def command(self) -> list[str]:
        """Give the words of one command."""
        letter = self.rng.choice("AAAAAAIIIIDDDRNNXEPFZCC")
        chain = self.chain()
        match letter:
            case "A" | "C":
                return [f"-{letter}", chain, *self.rule()]
            case "I":
                return ["-I", chain, *self.number(0.5), *self.rule()]
            case "D":
                return ["-D", chain, *(self.number(1) if self.rng.random() < 0.5 else self.rule())]
            case "R":
                return ["-R", chain, *self.number(1), *self.rule()]
            case "N":
                return ["-N", self.rng.choice(OWN)]
            case "X":
                return ["-X", *([self.chain()] if self.rng.random() < 0.8 else [])]
            case "E":
                return ["-E", self.rng.choice(OWN), self.chain()]
            case "P":
                counters = ["-c", "7", "99"] if self.rng.random() < 0.4 else []
                return ["-P", chain, "ACCEPT", *counters]
            case "F":
                return ["-F", chain] if self.rng.random() < 0.9 else ["-F"]
            case _:
                named = [chain, *self.number(0.4)] if self.rng.random() < 0.8 else []
                return ["-Z", *named]

    def text(self) -> tuple[list[str], str]:
        """Give options and text for iptables-restore."""
        options = [each for each in ("-n", "-c") if self.rng.random() < 0.6]
        lines = ["*filter"]
        for chain in self.rng.sample([*CHAINS, *OWN], 3):
            policy = "ACCEPT" if chain in CHAINS else "-"
            lines.append(f":{chain} {policy} [{self.rng.randrange(9)}:{self.rng.randrange(99)}]")
        for _ in range(self.rng.randrange(6)):
            counted = f"[{self.rng.randrange(9)}:{self.rng.randrange(99)}] "
            before = counted if self.rng.random() < 0.4 else ""
            words = ["-A", self.chain(), *self.rule(counters=False)]
            lines.append(before + " ".join(words))
        return options, "\n".join([*lines, "COMMIT", ""])

    def chain(self) -> str:
        return self.rng.choice([*CHAINS[:2], *CHAINS, *OWN])

    def number(self, often: float) -> list[str]:
        return [str(self.rng.choice([1, 1, 2, 3, 5]))] if self.rng.random() < often else []

    def rule(self, counters: bool = True) -> list[str]:
        rng, words = self.rng, []
        if rng.random() < 0.3:
            words += [*(["!"] if rng.random() < 0.3 else []), "-s", self.host]
        if rng.random() < 0.2:
            words += ["-i" if rng.random() < 0.7 else "-o", "lo"]
        if rng.random() < 0.6:
            words += ["-p", "udp", "--dport", str(rng.choice(PORTS))]
        if rng.random() < 0.15:
            words += ["-m", "comment", "--comment", f"what {rng.randrange(3)}"]
        if counters and rng.random() < 0.15:
            words += ["-c", str(rng.randrange(9)), str(rng.randrange(99))]
        target = rng.choice(["ACCEPT", "RETURN", None, *OWN])
        if target is not None:
            words += ["-g" if target in OWN and rng.random() < 0.2 else "-j", target]
        return words


class Varied(Drawn):
    """Of larger tables, to which `table` gives the first text: with rules that drop, of many
    matches, comments of all kinds, several addresses, and numbers at the ends of chains."""

    NAMES = ("one", "two", "on", "one2", "Z", "1", "a.b", "\u00fcn\u00ef", "x" * 28)
    COMMENTS = (
        "what",
        "a b",
        'a"b',
        "a\\b",
        "x -j one",
        "-j one",
        "it's",
        "#",
        "",
        "\u00e9 \u00fc",
    )
    SOME: ClassVar = {
        "iptables": ("127.0.0.1", "127.0.0.0/8", "10.0.0.0/255.0.255.0", "0/0", "10.1.2.3"),
        "ip6tables": ("::1", "::/0", "2001:db8::7", "fe80::/10", "::1/127"),
    }

    def __init__(self, seed: int, name: str, rules: int) -> None:
        super().__init__(seed, name)
        self.addresses = self.SOME[name]
        self.rules = rules
        self.longest = max(rules // len(self.NAMES), 1)

    def table(self) -> str:
        """Give a whole table without loops: chains lead to later ones only."""
        order = (*CHAINS, *self.NAMES)
        declared = [f":{name} {'ACCEPT' if name in CHAINS else '-'} [0:0]" for name in order]
        lines = []
        for _ in range(self.rules):
            chain = self.chain()
            words = self.rule(counters=False, interface=False)
            target = words[-1] if words[-2:-1] in (["-j"], ["-g"]) else ""
            if target in self.NAMES and order.index(target) <= order.index(chain):
                words = words[:-2]
            lines.append(f"[{self.rng.randrange(9)}:7] -A {chain} {' '.join(map(_quoted, words))}")
        return "\n".join(["*filter", *declared, *lines, "COMMIT", ""])

    def command(self) -> list[str]:
        rng = self.rng
        if rng.random() < 0.1:
            return ["-E", rng.choice(self.NAMES), rng.choice(self.NAMES)]
        if rng.random() < 0.05:
            return ["-F", rng.choice(self.NAMES)]
        words = super().command()
        while words[0] == "-R" and "," in " ".join(words).partition(" -p ")[0]:
            words = super().command()  # several addresses: docs/iptables.md says how they differ
        if words[0] == "-N":
            return ["-N", rng.choice(self.NAMES)]
        return ["-L"] if words in (["-F"], ["-X"]) else words

    def text(self) -> tuple[list[str], str]:
        """Give lines of many rules for iptables-restore, on top of what is there."""
        rng = self.rng
        lines = [f":{name} - [0:0]" for name in rng.sample(self.NAMES, rng.randrange(3))]
        for _ in range(rng.choice((3, 9, 80))):
            words = ["-A", self.chain(), *self.rule(counters=False)]
            lines.append(f"[{rng.randrange(9)}:7] {' '.join(map(_quoted, words))}")
        options = ["-n", "-c"] if rng.random() < 0.5 else ["-n"]
        return options, "\n".join(["*filter", *lines, "COMMIT", ""])

    def chain(self) -> str:
        return self.rng.choice([*CHAINS[:2], *CHAINS, *self.NAMES])

    def number(self, often: float) -> list[str]:
        last = self.longest
        places = (1, 2, last - 1 or 1, last, last + 1, self.rng.randrange(1, last + 2))
        return [str(self.rng.choice(places))] if self.rng.random() < often else []

    def rule(self, counters: bool = True, interface: bool = True) -> list[str]:
        rng = self.rng
        words: list[str] = []
        for option in ("-s", "-d"):
            if rng.random() < 0.3:
                found = [rng.choice(self.addresses) for _ in range(rng.choice((1, 1, 1, 2)))]
                inverted = ["!"] if len(found) == 1 and "!" not in words[:1] else []
                words += [*(inverted if rng.random() < 0.2 else []), option, ",".join(found)]
        if "!" in words and any("," in word for word in words):  # which fault is told first
            words = []
        if interface and rng.random() < 0.15:
            words += [rng.choice(("-i", "-o")), rng.choice(("lo", "l+"))]
        if rng.random() < 0.6:
            ports = rng.choice([str(rng.choice(PORTS)), "1000:1003", ":1002", "1002:"])
            words += ["-p", "udp", *(["!"] if rng.random() < 0.1 else []), "--dport", ports]
            if rng.random() < 0.2:
                words += ["-m", "multiport", "--dports", "1000,1003:1004", "--sport", "1:"]
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            words += ["-m", "comment", "--comment", rng.choice(self.COMMENTS)]
        if rng.random() < 0.1:
            words += ["-m", "length", "--length", rng.choice(("28:60", "50", ":30"))]
        if counters and rng.random() < 0.15:
            words += ["-c", str(rng.randrange(9)), str(rng.randrange(99))]
        target = rng.choice(["ACCEPT", "RETURN", "DROP", None, None, *self.NAMES])
        if target is not None:
            words += ["-g" if target in self.NAMES and rng.random() < 0.2 else "-j", target]
        return words


def _quoted(word: str) -> str:
    if word and not set(' "\\').intersection(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
