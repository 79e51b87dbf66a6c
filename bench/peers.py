"""Who is measured side by side: the kernel's tables, an nft set, an empty hook, and bpfilter.

Each takes a family's rules in a lab's router, and tells how long that took. What they have
counted is read in one form, that of iptables-save -c.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from bench.commands import Commands, Taken
from bench.families import Family
from bench.lab import Lab
from bench.results import EMPTY_HOOK, NFT_SET, OURS
from bpfilter.abi.bpf import ProgramType
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0
from bpfilter.bpf.link import NetfilterLink
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.firewall.dispatch import NF_DROP, PRIORITY
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Hook

NFPROTO_IPV4 = 2
#: A rule that no packet of a family matches, for the change of one rule.
PROBE = "-s 198.18.2.1/32 -p udp -m udp --dport 9 -j DROP"
SAVED_RULE = re.compile(r"^\[(\d+):\d+\] -A (\S+) (?:.*-[jg] (\S+))?", re.MULTILINE)
_HOST_RULE = re.compile(r"^-A FORWARD -s (\S+)/32 -p udp -m udp --dport (\d+) -j (\w+)$", re.M)


class NotMeasured(Exception):
    """A peer does not take a family at a size; says why."""


class Peer:
    """One of those measured; what it does not say is as here."""

    name: str
    #: Its `iptables`, which has a -save and a -restore beside it; empty if it has none.
    iptables = ""

    def knows(self, family: str) -> bool:
        """Whether it can do such rules at all."""
        return True

    def takes(self, family: Family) -> None:
        """Say no to what it could not do in sensible time. Raises: NotMeasured."""

    def loaded(
        self, lab: Lab, family: Family, files: Path, limit_s: float
    ) -> contextlib.AbstractContextManager[Taken | None]:
        """Have the rules in force for a `with` block; gives what loading them took.

        Raises: CommandFailed.
        """
        raise NotImplementedError

    def change(self, lab: Lab, family: Family, files: Path, limit_s: float) -> Taken | None:
        """Change one rule of those in force, and undo that; gives what the change took.

        Raises: CommandFailed.
        """
        return None

    def counts(self, lab: Lab) -> list[tuple[int, str]] | None:
        """Give what each rule has counted, and its target, in order; None if it does not."""
        return None


class IptablesPeer(Peer):
    """The kernel's tables by iptables-legacy or iptables-nft."""

    def __init__(self, commands: Commands, name: str, most: int) -> None:
        self.name = self.iptables = name
        self._commands = commands
        self._most = most

    def takes(self, family: Family) -> None:
        if family.rules > self._most:
            raise NotMeasured(
                f"{self.name} walks {family.rules:,} rules for each packet; "
                f"measured up to {self._most:,}"
            )

    @contextlib.contextmanager
    def loaded(
        self, lab: Lab, family: Family, files: Path, limit_s: float
    ) -> Iterator[Taken | None]:
        path = write(files, family.text)
        words = [f"{self.name}-restore", str(path)]
        yield self._commands.measure(lab.router, words, limit_s)

    def change(self, lab: Lab, family: Family, files: Path, limit_s: float) -> Taken | None:
        rule = ["FORWARD", *PROBE.split()]
        taken = self._commands.measure(lab.router, [self.name, "-A", *rule], limit_s)
        self._commands.measure(lab.router, [self.name, "-D", *rule], limit_s)
        return taken

    def counts(self, lab: Lab) -> list[tuple[int, str]] | None:
        return parse_counts(lab.router.run(f"{self.name}-save", "-c", "-t", "filter"))


class NftSetPeer(Peer):
    """Rules of hosts and ports as one map of nf_tables, as an expert writes it by hand."""

    name = NFT_SET

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def knows(self, family: str) -> bool:
        return family == "hosts"  # first match among overlapping rules is no set

    @contextlib.contextmanager
    def loaded(
        self, lab: Lab, family: Family, files: Path, limit_s: float
    ) -> Iterator[Taken | None]:
        path = write(files, nft_map(family.text))
        yield self._commands.measure(lab.router, ["nft", "-f", str(path)], limit_s)

    def change(self, lab: Lab, family: Family, files: Path, limit_s: float) -> Taken | None:
        element = "{ 198.18.2.1 . 9 %s}"
        add = ["nft", "add", "element", "ip", "bench", "rules", element % ": drop "]
        taken = self._commands.measure(lab.router, add, limit_s)
        delete = ["nft", "delete", "element", "ip", "bench", "rules", element % ""]
        self._commands.measure(lab.router, delete, limit_s)
        return taken


class EmptyHookPeer(Peer):
    """A program at the hook that drops, and reads nothing: what a verdict costs at least."""

    name = EMPTY_HOOK

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @contextlib.contextmanager
    def loaded(
        self,
        lab: Lab,
        family: Family,
        files: Path,
        limit_s: float,
    ) -> Iterator[Taken | None]:
        with Program.load(self._kernel, empty_program()) as program, lab.router.entered():
            link = NetfilterLink.attach(
                self._kernel, program, NFPROTO_IPV4, Hook.FORWARD, PRIORITY
            )
        with link:
            yield None


class OurPeer(Peer):
    """`bpfilter apply`, the whole process; a change of one rule is another such command."""

    name = OURS

    def __init__(self, commands: Commands) -> None:
        self.iptables = commands.script("iptables-bpf")
        self._commands = commands

    @contextlib.contextmanager
    def loaded(
        self, lab: Lab, family: Family, files: Path, limit_s: float
    ) -> Iterator[Taken | None]:
        yield self._apply(lab, family.text, files, limit_s)

    def change(self, lab: Lab, family: Family, files: Path, limit_s: float) -> Taken | None:
        taken = self._apply(lab, with_one_changed(family.text), files, limit_s)
        self._apply(lab, family.text, files, limit_s)
        return taken

    def counts(self, lab: Lab) -> list[tuple[int, str]] | None:
        words = [self._commands.ours, "list", "--save", "-4"]
        return parse_counts(self._commands.output(lab.router, words))

    def _apply(self, lab: Lab, text: str, files: Path, limit_s: float) -> Taken:
        words = [self._commands.ours, "apply", "-4", str(write(files, text))]
        return self._commands.measure(lab.router, words, limit_s)


def empty_program() -> ProgramSpec:
    """Give a netfilter program that drops every packet."""
    b = Builder("bench_empty")
    b.mov(R0, NF_DROP)
    b.exit()
    return ProgramSpec("bench_empty", ProgramType.NETFILTER, b.build())


def write(files: Path, text: str) -> Path:
    path = files / "rules.v4"
    path.write_text(text)
    return path


def with_one_changed(text: str) -> str:
    """Put another rule in the place of one in the middle that drops."""
    start = text.rindex("\n-A ", 0, text.index("-j DROP\n", len(text) // 2)) + 1
    end = text.index("\n", start)
    chain = text[start:end].split(" ", 2)[1]
    return f"{text[:start]}-A {chain} {PROBE}{text[end:]}"


def nft_map(text: str) -> str:
    """Write host rules as nft takes them: a map of address and port to verdict."""
    elements = ", ".join(
        f"{address} . {port} : {target.lower()}"
        for address, port, target in _HOST_RULE.findall(text)
    )
    return f"""\
table ip bench {{
  map rules {{
    type ipv4_addr . inet_service : verdict
    elements = {{ {elements} }}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip saddr . udp dport vmap @rules
  }}
}}
"""


def parse_counts(saved: str) -> list[tuple[int, str]]:
    return [(int(packets), target) for packets, _, target in SAVED_RULE.findall(saved)]
