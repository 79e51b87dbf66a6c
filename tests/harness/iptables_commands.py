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
    """`name` is iptables or ip6tables; `judge` is a sandbox in the same namespace."""

    def __init__(self, namespace: Namespace, name: str, judge: Sandbox, lock: Path) -> None:
        self.namespace = namespace
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
        rng = random.Random(seed)
        family = socket.AF_INET if self.name == "iptables" else socket.AF_INET6
        host = "127.0.0.1" if self.name == "iptables" else "::1"
        with self.namespace.entered(), socket.socket(family, socket.SOCK_DGRAM) as sender:
            for _ in range(packets):
                with contextlib.suppress(ConnectionRefusedError):
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
