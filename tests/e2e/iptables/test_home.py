"""A filter table goes to the kernel and comes back: with its counters, and never none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfilter import Firewall
from bpfilter.errors import ToolError
from bpfilter.firewall.given import GivenText
from bpfilter.firewall.revision import LinesDraft
from bpfilter.iptables import program
from bpfilter.iptables.home import FilterTable, empty, give, has_rules, saved
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.rules.model import Family
from bpfilter.rules.options import RuleParser
from bpfilter.rules.words import split_words
from tests.e2e.test_apply import reached
from tests.harness import faults
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

LOG = "-A INPUT -j LOG"
DROPPED, REACHED = "127.0.0.2", "127.0.0.3"


@pytest.fixture(params=["nft", "legacy"])
def tool(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> KernelTool:
    path = f"{tmp_path}/bpfilter.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"kernel-tool = {request.param}  # for this test\n")
    monkeypatch.setenv("BPFILTER_CONF", path)
    return KernelTool(request.param)


def command(line: str) -> Callable[[LinesDraft], None]:
    """Give a change that does what a command says."""

    def change(lines: LinesDraft) -> None:
        parser = RuleParser(lines.family, lines.name, lines.chains)
        made = parser.parse_words(split_words(line))
        assert made is not None
        lines.apply(made)

    return change


def do(table: FilterTable, *lines: str) -> None:
    for line in lines:
        table.revise(command(line), "test")


def text(table: FilterTable) -> str:
    found = table.firewall.text(table.family)
    return "" if found is None else found.decode()


def test_there_and_back_with_counters(namespace: Namespace, tool: KernelTool) -> None:
    with namespace.entered():
        table = FilterTable(Family.IPV4)
        do(table, "-P FORWARD DROP", "-N own", f"-A INPUT -d {DROPPED} -j DROP", "-A INPUT -j own")
        assert reached(namespace, DROPPED, REACHED) == {REACHED}
        before = text(table)
        assert "[1:" in before
        do(table, LOG)
        assert table.owner() == tool
        assert text(table) == ""
        assert reached(namespace, DROPPED) == set()
        _, counted, _ = tool.run(Family.IPV4, "save", ["-c", "-t", "filter"])
        assert f"[2:58] -A INPUT -d {DROPPED}/32 -j DROP".encode() in counted
        assert b":FORWARD DROP" in counted
        tool.run(Family.IPV4, "", ["-D", "INPUT", "-j", "LOG"])
        table.retake(tool)
        assert table.owner() is None
        assert f"[2:58] -A INPUT -d {DROPPED}/32 -j DROP" in text(table)
        assert ":FORWARD DROP" in text(table)
        assert not has_rules(saved(tool, Family.IPV4))
        assert reached(namespace, DROPPED, REACHED) == {REACHED}


def test_rules_of_others_are_not_overwritten(namespace: Namespace, tool: KernelTool) -> None:
    with namespace.entered():
        theirs = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d {REACHED}/32 -j DROP\nCOMMIT\n"
        table = FilterTable(Family.IPV4)
        do(table, f"-A INPUT -d {DROPPED} -j DROP")
        give(tool, Family.IPV4, theirs.encode())
        with pytest.raises(ToolError, match="bpfilter adopt"):
            do(table, LOG)
        assert table.owner() is None
        assert has_rules(saved(tool, Family.IPV4))
        assert DROPPED in text(table)


def test_nothing_begins_beside_rules_of_others(namespace: Namespace, tool: KernelTool) -> None:
    with namespace.entered():
        theirs = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d {REACHED}/32 -j DROP\nCOMMIT\n"
        give(tool, Family.IPV4, theirs.encode())
        table = FilterTable(Family.IPV4)
        with pytest.raises(ToolError, match=f"iptables-{tool.kind} has filter rules"):
            do(table, f"-A INPUT -d {DROPPED} -j DROP")
        assert text(table) == ""
        empty(tool, Family.IPV4)
        do(table, f"-A INPUT -d {DROPPED} -j DROP")


def killed_at(step: int, action: Callable[[FilterTable], None]) -> bool:
    """Do something in a process that dies at a step; False if it was done before that."""
    child = os.fork()
    if child == 0:
        try:
            action(FilterTable(Family.IPV4, Firewall(kernel=faults.killing(step))))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def consistent(namespace: Namespace, tool: KernelTool) -> None:
    """Look at what is in force, have another command mend it, and look again."""
    assert DROPPED not in reached(namespace, DROPPED)
    table = FilterTable(Family.IPV4)
    owner = table.owner()
    if owner is not None:
        owner = table.settle(owner)
    assert DROPPED not in reached(namespace, DROPPED)
    theirs = has_rules(saved(tool, Family.IPV4))
    assert theirs == (owner is not None)
    assert (text(table) == "") == (owner is not None)


@pytest.mark.slow
def test_killed_at_any_step_of_going(namespace: Namespace, tool: KernelTool) -> None:
    with namespace.entered():
        step, died = 0, True
        while died:
            empty(tool, Family.IPV4)
            table = FilterTable(Family.IPV4)
            if table.owner() is not None:
                table.settle(tool)
                table.firewall.settle(Family.IPV4, lambda: None)
                take_down(table)
            table.firewall.clear(Family.IPV4)
            do(table, f"-A INPUT -d {DROPPED} -j DROP")
            died = killed_at(step, lambda each: do(each, LOG))
            consistent(namespace, tool)
            step += 1
        assert step > 5
        take_down(FilterTable(Family.IPV4))
        empty(tool, Family.IPV4)


@pytest.mark.slow
def test_killed_at_any_step_of_coming_back(namespace: Namespace, tool: KernelTool) -> None:
    with namespace.entered():
        step, died = 0, True
        while died:
            table = FilterTable(Family.IPV4)
            if table.owner() is None:
                table.firewall.clear(Family.IPV4)
                empty(tool, Family.IPV4)
                do(table, f"-A INPUT -d {DROPPED} -j DROP", LOG)
            else:
                tool.run(Family.IPV4, "", ["-A", "INPUT", "-j", "LOG"])
            tool.run(Family.IPV4, "", ["-D", "INPUT", "-j", "LOG"])
            died = killed_at(step, lambda each: each.retake(tool))
            consistent(namespace, tool)
            step += 1
        assert step > 5
        assert FilterTable(Family.IPV4).owner() is None


def take_down(table: FilterTable) -> None:
    """Have nobody own the table, whoever does."""
    with table.firewall._writing() as store:
        from bpfilter.firewall import delegated

        delegated.remove(store, table.family)


def test_names_that_are_no_text(namespace: Namespace, tool: KernelTool) -> None:
    with namespace.entered():
        table = FilterTable(Family.IPV4)
        no_text = "\udcff"
        do(table, f"-N {no_text}", f"-A INPUT -i {no_text} -j ACCEPT")
        do(table, f'-A INPUT -m comment --comment "{no_text}" -j LOG')
        assert table.owner() == tool
        table.retake(tool)
        assert table.owner() == tool
        refused = GivenText(f"*filter\n:INPUT ACCEPT\n{LOG}\nCOMMIT\n", "test", Family.IPV4)
        table.restore(refused, counters=False, owner=tool)
        assert table.owner() == tool
        tool.run(Family.IPV4, "", ["-F"])
        table.retake(tool)
        assert table.owner() is None


def test_what_is_done_is_told_once(
    namespace: Namespace,
    tool: KernelTool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "lock"))
    with namespace.entered():
        assert program.main(["iptables", "-v", "-A", "INPUT", "-s", "1.1.1.1"]) == 0
        assert FilterTable(Family.IPV4).owner() is None
        before = capsys.readouterr().out
        assert program.main(["iptables", "-v", "-A", "INPUT", "-s", "1.1.1.1", "-j", "LOG"]) == 0
        assert FilterTable(Family.IPV4).owner() == tool
        assert capsys.readouterr().out.count("\n") == before.count("\n") == 1


@pytest.mark.parametrize("suffix", ["json", "rules", "base"])
def test_a_whole_text_replaces_rules_that_lost_their_state(
    namespace: Namespace, tool: KernelTool, suffix: str
) -> None:
    with namespace.entered():
        table = FilterTable(Family.IPV4)
        do(table, "-A INPUT -s 192.0.2.1")
        for path in table.firewall.state_directory().glob(f"*.{suffix}"):
            path.write_text("garbage")
        declared = "".join(f":{chain} ACCEPT\n" for chain in ("INPUT", "FORWARD", "OUTPUT"))
        whole = f"*filter\n{declared}-A INPUT -s 192.0.2.2\nCOMMIT\n"
        table.restore(GivenText(whole, "test", Family.IPV4), counters=False, owner=None)
        assert text(table).count("-A") == 1
        assert "192.0.2.2" in text(table)
        do(table, "-D INPUT 1")
        assert table.owner() != tool
