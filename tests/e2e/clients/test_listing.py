"""What is listed, with names and without, is what iptables-legacy of a Debian root lists."""

from __future__ import annotations

import grp
import pwd
import random
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bpfilter.dataclass import replace
from bpfilter.firewall import names
from bpfilter.firewall.names import MachineNames
from bpfilter.rules.framed import FramedTable
from bpfilter.rules.listing import Form, list_rules
from bpfilter.rules.model import Family
from bpfilter.rules.saved import parse_saved
from tests.harness.netns import Namespace
from tests.harness.rules_gen import Knobs, random_ruleset
from tests.harness.sandbox import Command, Sandbox

RULESETS = 25

#: What we are asked for, by the options that ask iptables for it.
FORMS = {
    "-nvL": Form(),
    "-nvxL --line-numbers": Form(exact=True, line_numbers=True),
    "-nL": Form(verbose=False),
    "-vL": Form(names=MachineNames()),
    "-L": Form(verbose=False, names=MachineNames()),
}
_PARTED = "=====\n"


@pytest.fixture
def box(root: Path) -> Iterator[Sandbox]:
    with Namespace("listing") as namespace, Sandbox.open(root, namespace, Command.LEGACY) as made:
        yield made


@pytest.fixture(autouse=True)
def _names_of_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look up in the root's files, as what runs there does."""
    hosts = {word: line[1] for line in fields(root, "hosts") for word in line[:1]}
    services = {line[1]: line[0] for line in reversed(fields(root, "services"))}

    def getnameinfo(address: tuple[str, int], flags: int) -> tuple[str, str]:
        if address[0] in hosts:
            return hosts[address[0]], "0"
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def getservbyport(port: int, protocol: str) -> str:
        if f"{port}/{protocol}" in services:
            return services[f"{port}/{protocol}"]
        raise OSError("port/proto not found")

    def name_in(file: str, field: str) -> Callable[[int], object]:
        lines = [line.split(":") for line in (root / "etc" / file).read_text().splitlines()]
        known = {int(words[2]): SimpleNamespace(**{field: words[0]}) for words in lines}
        return known.__getitem__

    names.forget()
    monkeypatch.setattr(pwd, "getpwuid", name_in("passwd", "pw_name"))
    monkeypatch.setattr(grp, "getgrgid", name_in("group", "gr_name"))
    monkeypatch.setattr(names, "NETWORKS", root / "etc/networks")
    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
    monkeypatch.setattr(socket, "getservbyport", getservbyport)
    yield
    names.forget()


def fields(root: Path, name: str) -> list[list[str]]:
    """Give the words of a file's lines, none if there is no such file."""
    file = root / "etc" / name
    lines = file.read_text().splitlines() if file.exists() else []
    return [words for line in lines if len(words := line.partition("#")[0].split()) > 1]


def framed(text: str, family: Family) -> FramedTable:
    table = parse_saved(text, "file", family).table("filter")
    assert table is not None
    lines, counts = [], []
    for found in re.finditer(r"(?m)^(?:\[(\d+):(\d+)\] )?(-A .*)$", text):
        lines.append(found[3])
        counts += [int(found[1] or 0), int(found[2] or 0)]
    chains = [replace(chain, rules=()) for chain in table.chains]
    return FramedTable("filter", family, chains, lines, counts)


@pytest.mark.parametrize("seed", random.SystemRandom().sample(range(1 << 30), RULESETS))
def test_random_rulesets(box: Sandbox, seed: int) -> None:
    rng = random.Random(seed)
    version = rng.choice((4, 6))
    family = Family.IPV4 if version == 4 else Family.IPV6
    knobs = Knobs(most_rules=30).themed(rng, version)
    text = random_ruleset(rng, version, knobs)
    box.write("/tmp/rules", text)
    command = f"{family.command}-legacy"
    asked = ["-S", "-vS", *FORMS]
    script = "".join(f"{command} {options}; printf {_PARTED!r}\n" for options in asked)
    said = box.shell(f"{command}-restore -c < /tmp/rules >&2 2>/dev/null\n{script}")
    theirs = dict(zip(asked, said.split(_PARTED), strict=False))
    table = framed(text, family)
    assert list_rules(table.written()) == theirs["-S"]
    assert list_rules(table.written(counters=True), counters=True) == theirs["-vS"]
    for options, form in FORMS.items():
        assert table.listed(form) == theirs[options], (seed, options)
