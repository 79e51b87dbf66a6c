"""Each command: what it asks of the firewall, what it prints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfilter import Counters, Family
from bpfilter.cli import common
from bpfilter.firewall.given import LARGE
from bpfilter.rules.saved import parse_saved
from tests.harness.waiting import wait_until
from tests.unit.cli.conftest import RULES, RULES6, FakeFirewall, Outcome
from tests.unit.cli.test_main import Terminal

Run = Callable[..., Outcome]


def rules(family: Family = Family.IPV4) -> object:
    return parse_saved(RULES if family is Family.IPV4 else RULES6, "rules", family)


# apply


def test_apply_passes_everything_on(run: Run, firewall: FakeFirewall, rules_file: str) -> None:
    shown = run("apply", "--netns", "lab", "-w", "3", "-c", rules_file)
    assert shown == Outcome(0, "", "")
    assert firewall.calls == [("Firewall", "lab", 3.0), ("apply", rules(), rules_file, True)]


def test_apply_reads_standard_input(run: Run, firewall: FakeFirewall) -> None:
    assert run("apply", "-4", "-", stdin=RULES.encode()).status == 0
    assert firewall.calls[-1] == ("apply", rules(), "-", False)


def test_apply_takes_a_file_of_each_family(
    run: Run, firewall: FakeFirewall, rules_file: str, tmp_path: Path
) -> None:
    (tmp_path / "rules.v6").write_text(RULES6)
    assert run("apply", rules_file, str(tmp_path / "rules.v6")).status == 0
    assert [call[1] for call in firewall.calls[1:]] == [rules(), rules(Family.IPV6)]
    again = run("apply", rules_file, rules_file)
    assert again.status == 2
    assert "two files of the same family" in again.err


def test_apply_reads_all_before_it_applies_any(
    run: Run, firewall: FakeFirewall, rules_file: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.v6"
    broken.write_text(RULES6.replace("DROP", "DORP"))
    assert run("apply", rules_file, str(broken)).status == 2
    assert not firewall.calls


def test_apply_says_what_it_did_when_asked(
    run: Run, firewall: FakeFirewall, rules_file: str
) -> None:
    shown = run("apply", "-v", rules_file)
    assert "IPv4 rules in force after" in shown.out
    assert "9 cells" in shown.out


def test_apply_warns_of_other_rules(run: Run, firewall: FakeFirewall, rules_file: str) -> None:
    firewall.warned = ("iptables-legacy also has rules",)
    shown = run("apply", rules_file)
    assert shown.status == 0
    assert shown.err == "bpfilter: warning: iptables-legacy also has rules\n"


def test_dry_run_attaches_nothing(run: Run, firewall: FakeFirewall, rules_file: str) -> None:
    shown = run("apply", "--dry-run", rules_file)
    assert shown.status == 0
    assert firewall.calls[1:] == [("verify", rules())]
    assert shown.out == (
        f"{rules_file}: IPv4, 2 rules verified by the kernel in 12 ms "
        "(INPUT 100 instructions, OUTPUT 90 instructions); nothing attached\n"
    )


def test_progress_on_a_terminal_leaves_nothing(
    run: Run, firewall: FakeFirewall, rules_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes longer than a second shows a bar; what does not, or nobody sees, shows none."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("bpfilter.cli.progress.DELAY_S", 3600.0)
    assert run("apply", rules_file).status == 0
    assert terminal.getvalue() == ""

    def slowly(progress: Callable[[str], None]) -> None:
        progress("loading")
        said = f"loading {rules_file}"[:20]
        wait_until(lambda: said in terminal.getvalue().replace("\n", ""), said, seconds=10)

    monkeypatch.setattr("bpfilter.cli.progress.DELAY_S", 0.0)
    firewall.told = slowly
    assert run("apply", rules_file).status == 0
    assert terminal.getvalue().endswith("\x1b[2K"), "the bar is wiped off"
    quiet = io.StringIO()
    monkeypatch.setattr("sys.stderr", quiet)
    firewall.told = lambda progress: progress("loading")
    assert run("apply", rules_file).status == 0
    assert quiet.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("gone", None, "No such file or directory"),
        ("binary", bytes(range(256)) * 4, ":1:"),
        ("no-commit.v4", RULES.replace("COMMIT\n", "").encode(), "COMMIT"),
        ("option.v4", RULES.replace("--dport", "--dprot").encode(), ":6:32: unknown option"),
        ("long.v4", RULES.replace("22", "2" * 10_000_000).encode(), ":6:"),
    ],
)
def test_bad_files_are_named_with_the_place(
    run: Run,
    firewall: FakeFirewall,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    sentence: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    shown = run("apply", str(path))
    assert shown.status == 2
    assert shown.err.startswith(f"bpfilter: {path}:")
    assert sentence in shown.err
    assert len(shown.err) < 1000
    assert not firewall.calls


def test_input_that_never_ends_is_refused(
    run: Run, firewall: FakeFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "LARGEST_BYTES", 1 << 20)
    shown = run("apply", "/dev/zero")
    assert shown.status == 2
    assert shown.err == "bpfilter: /dev/zero: is larger than 1 MB\n"


def test_closed_standard_input(firewall: FakeFirewall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(common.FileError, match="standard input is closed"):
        common.read_input("-")


@pytest.mark.parametrize(
    ("name", "head", "family"),
    [
        ("rules.v4", "", Family.IPV4),
        ("rules.v6", "", Family.IPV6),
        ("x", "# Generated by iptables-save v1.8.9 on …\n", Family.IPV4),
        ("x", "# Generated by ip6tables-save v1.8.9 on …\n", Family.IPV6),
        # The first line, which a program wrote, counts for more than the name.
        ("rules.v4", "# Generated by ip6tables-save v1.8.9 on …\n", Family.IPV6),
        ("x", "", None),
        ("x", "*filter\n-A INPUT -i lo\n-A INPUT ! -s 192.0.2.0/24 -j DROP\n", Family.IPV4),
        ("x", "*filter\n[1:2] -A INPUT -d 2001:db8::/32\n", Family.IPV6),
        ("x", "*filter\n-A INPUT -s ::1 -j DROP\n", Family.IPV6),
        ("x", "*filter\n-A INPUT -s a.example -j DROP\n", None),
        ("x", '*filter\n-A INPUT -m comment --comment "-A a -s ::1 " -j DROP\n', None),
    ],
)
def test_family_of_a_file(name: str, head: str, family: Family | None) -> None:
    assert common.guess_family(name, head.encode()) is family


def test_rules_of_a_large_file_are_read_when_they_have_to_be(
    run: Run, firewall: FakeFirewall, tmp_path: Path
) -> None:
    path = tmp_path / "large.v4"
    path.write_text(RULES.replace("COMMIT", "-A INPUT -j nowhere\n" + LARGE * "\n" + "COMMIT"))
    given = common.read_given(str(path), None)
    assert given.is_large
    (tmp_path / "rules.v6").write_text(RULES6)
    assert run("apply", str(tmp_path / "rules.v6"), str(path)).status == 2
    assert not firewall.calls, "all are read before any is put in force"


def test_family_told_by_the_addresses(run: Run, firewall: FakeFirewall, tmp_path: Path) -> None:
    path = tmp_path / "unnamed"
    path.write_text(RULES6)
    assert run("apply", str(path)).status == 0
    assert firewall.calls[-1][1] == rules(Family.IPV6)


# list


def test_list_prints_what_iptables_s_prints(run: Run, in_force: FakeFirewall) -> None:
    assert run("list", "-4").out == (
        "-P INPUT DROP\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N ssh\n"
        "-A INPUT -p tcp -m tcp --dport 22 -j ssh\n"
        "-A ssh -s 192.0.2.0/24 -j ACCEPT\n"
    )
    both = run("list").out
    assert both == run("list", "-4").out + "\n" + run("list", "-6").out


def test_list_of_one_chain(run: Run, in_force: FakeFirewall) -> None:
    assert run("list", "-4", "ssh").out == "-N ssh\n-A ssh -s 192.0.2.0/24 -j ACCEPT\n"
    missing = run("list", "-4", "shs")
    assert missing.status == 2
    assert missing.err == "bpfilter: no chain shs in table filter\n"


def test_list_as_a_table(run: Run, in_force: FakeFirewall) -> None:
    lines = run("list", "-4", "-v", "--line-numbers").out.splitlines()
    assert lines[0] == "Chain INPUT (policy DROP 7 packets, 700 bytes)"
    assert lines[1].split() == [
        *("num", "pkts", "bytes", "target", "prot"),
        *("opt", "in", "out", "source", "destination"),
    ]
    assert lines[2].split()[:4] == ["1", "3", "180", "ssh"]


def test_list_to_save(run: Run, in_force: FakeFirewall) -> None:
    assert run("list", "--save", "-4").out == RULES
    assert run("list", "--save").out == RULES + RULES6


def test_list_as_json(run: Run, in_force: FakeFirewall) -> None:
    families = json.loads(run("list", "--json").out)
    assert [family["family"] for family in families] == ["ipv4", "ipv6"]
    inputs = families[0]["chains"][0]
    assert (inputs["name"], inputs["policy"], inputs["packets"]) == ("INPUT", "DROP", 7)
    assert inputs["rules"] == [
        {
            "number": 1,
            "rule": "-A INPUT -p tcp -m tcp --dport 22 -j ssh",
            "packets": 3,
            "bytes": 180,
        }
    ]


def test_list_of_nothing(run: Run, firewall: FakeFirewall) -> None:
    assert run("list") == Outcome(0, "", "bpfilter: no rules are in force\n")
    assert run("list", "--json") == Outcome(0, "[]\n", "")


# status, zero, clear


def test_status_in_words(run: Run, in_force: FakeFirewall) -> None:
    shown = run("status")
    assert shown.status == 0
    for words in (
        "network namespace 4026531840",
        "IPv4: rules of rules.v4 in force since 2023-11-14",
        "2 rules in 9 cells",
        "connection tracking used",
        "nothing delegated",
    ):
        assert words in shown.out
    table = [line.split() for line in shown.out.splitlines() if line.startswith("INPUT")]
    assert table == [["INPUT", "-1", "5", "11", "100", "400"]] * 2
    assert "\x1b" not in shown.out


def test_status_that_needs_attention(run: Run, in_force: FakeFirewall) -> None:
    in_force.problems = ("the link at INPUT is gone [sic]",)
    shown = run("status")
    assert shown.status == 1
    assert "warning: the link at INPUT is gone [sic]\n" in shown.out


def test_status_as_json(run: Run, in_force: FakeFirewall) -> None:
    data = json.loads(run("status", "--json").out)
    assert data["pins"] == "/run/bpfilter/bpf/4026531840"
    first = data["families"][0]
    assert first["family"] == "ipv4"
    assert first["hooks"] == [{"hook": "INPUT", "priority": -1, "link_id": 5, "program_id": 10}]
    assert first["generation"]["programs"][0]["jited_bytes"] == 400
    assert "text" not in first["generation"]


def test_status_of_nothing(run: Run, firewall: FakeFirewall) -> None:
    shown = run("status")
    assert shown.status == 0
    assert "IPv4: no rules in force\nIPv6: no rules in force\n" in shown.out


@pytest.mark.parametrize("command", ["zero", "clear"])
@pytest.mark.parametrize(
    ("options", "families"),
    [([], list(Family)), (["-4"], [Family.IPV4]), (["--ipv6"], [Family.IPV6])],
)
def test_zero_and_clear_choose_families(
    run: Run, in_force: FakeFirewall, command: str, options: list[str], families: list[Family]
) -> None:
    assert run(command, "--netns", "lab", *options) == Outcome(0, "", "")
    assert in_force.calls == [("Firewall", "lab", 10.0), *((command, f) for f in families)]


def test_clear_of_nothing(run: Run, firewall: FakeFirewall) -> None:
    assert run("clear") == Outcome(0, "", "bpfilter: nothing was in force\n")


def test_clear_of_forgotten_namespaces(run: Run, firewall: FakeFirewall) -> None:
    shown = run("clear", "--stale")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.splitlines() == [
        "took down the rules of network namespace 4026532001",
        "took down the rules of network namespace 4026532002",
    ]
    assert firewall.calls[1:] == [("clear_stale",)]
    for other in (["-4"], ["--netns", "lab"]):
        assert run("clear", "--stale", *other).status == 2


# confirm


def test_nothing_to_confirm(run: Run, firewall: FakeFirewall) -> None:
    assert run("confirm") == Outcome(1, "", "bpfilter: nothing waits to be confirmed\n")


def test_counters_come_with_the_table(in_force: FakeFirewall) -> None:
    # The tests above lean on this.
    assert in_force.tables[Family.IPV4].chain("INPUT").rules[0].counters == Counters(3, 180)
