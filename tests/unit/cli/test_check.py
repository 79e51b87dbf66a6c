"""`bpfilter check` as a command: what it prints, and how it exits."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bpfilter.cli.main import main
from tests.unit.simulate import captures
from tests.unit.simulate.test_link import MACS, V4, V6

RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ssh - [0:0]
-A INPUT -m state --state ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ssh
-A ssh -s 192.0.2.0/24 -j ACCEPT
COMMIT
"""
SSH = "tcp 192.0.2.7:40000 > 198.51.100.9:22 syn"
DNS = "udp 192.0.2.7:4000 > 198.51.100.9:53"


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.v4"
    path.write_text(RULES)
    return str(path)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "capture.pcap"
    frames = [MACS + b"\x08\x00" + V4, MACS + b"\x08\x06" + bytes(28), MACS + b"\x86\xdd" + V6]
    path.write_bytes(captures.pcap(frames))
    return path


class Command:
    """Run `check`; `out` and `err` are what it printed last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        status = main(["check", *argv])
        self.out, self.err = self.capsys.readouterr()
        return status


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_path_and_verdict(check: Command, rules: str) -> None:
    assert check(rules, "--in", "eth0", "--packet", SSH) == 0
    assert check.out == (
        f"ACCEPT  {SSH}\n"
        "    INPUT 2  -A INPUT -p tcp -m tcp --dport 22 -j ssh\n"
        "    ssh 1    -A ssh -s 192.0.2.0/24 -j ACCEPT\n"
        "    (assumed: state new)\n"
    )
    assert check.err == ""


def test_policies_that_are_not_declared_are_assumed(check: Command, tmp_path: Path) -> None:
    path = tmp_path / "rules.v4"
    path.write_text("*filter\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n")
    assert check(str(path), "--in", "eth0", "--packet", "udp 192.0.2.7:9 > 192.0.2.9:9") == 0
    assert check.out.endswith("    INPUT policy  -P INPUT ACCEPT\n    (assumed: policy ACCEPT)\n")
    assert check(str(path), "--in", "eth0", "--packet", SSH) == 0
    assert "assumed: policy" not in check.out, "it was not asked for"
    assert check(str(path), "--out", "eth0", "--packet", SSH) == 0
    assert "assumed: policy" not in check.out, "it is declared"


def test_several_packets(check: Command, rules: str) -> None:
    argv = (rules, "--in", "eth0", "--state", "new", "--packet", DNS, "--packet", SSH)
    assert check(*argv) == 0
    assert [line.split()[0] for line in check.out.splitlines()] == [
        *("DROP", "INPUT"),
        *("ACCEPT", "INPUT", "ssh"),
    ]


def test_states(check: Command, rules: str) -> None:
    assert check(rules, "--in", "eth0", "--packet", DNS, "--state", "established") == 0
    assert check.out.startswith("ACCEPT")
    assert "assumed" not in check.out


@pytest.mark.parametrize(
    ("expected", "packets", "status"),
    [
        ("ACCEPT", [SSH], 0),
        ("accept", [SSH], 0),
        ("DROP", [SSH], 1),
        ("DROP", [DNS], 0),
        ("DROP", [DNS, SSH], 1),
    ],
)
def test_expectations(
    check: Command, rules: str, expected: str, packets: list[str], status: int
) -> None:
    words = [word for packet in packets for word in ("--packet", packet)]
    assert check(rules, "--in", "eth0", "--expect", expected, *words) == status


def test_json(check: Command, rules: str) -> None:
    assert check(rules, "--in", "eth0", "--packet", SSH, "--json") == 0
    assert json.loads(check.out) == {
        "packet": SSH,
        "hook": "INPUT",
        "verdict": "ACCEPT",
        "reason": "",
        "path": [
            {
                "chain": "INPUT",
                "number": 2,
                "rule": "-A INPUT -p tcp -m tcp --dport 22 -j ssh",
                "doubt": "",
            },
            {
                "chain": "ssh",
                "number": 1,
                "rule": "-A ssh -s 192.0.2.0/24 -j ACCEPT",
                "doubt": "",
            },
        ],
        "assumed": ["state new"],
    }


def test_captures(check: Command, rules: str, capture: Path) -> None:
    assert check(rules, "--in", "eth0", "--pcap", str(capture)) == 0
    assert check.out == (
        "     1  DROP       udp 192.0.2.7:4000 > 198.51.100.9:53  (INPUT policy)\n"
        "1 packets: 1 DROP\n"
        "1 frames not checked: no IP packet\n"
        "1 frames not checked: of the other family\n"
        "assumed: state new\n"
    )


def test_captures_as_json(check: Command, rules: str, capture: Path) -> None:
    assert check(rules, "--out", "eth0", "--pcap", str(capture), "--json") == 0
    lines = [json.loads(line) for line in check.out.splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert (lines[0]["verdict"], lines[0]["hook"]) == ("ACCEPT", "OUTPUT")
    assert [line.get("skipped") for line in lines] == [None, "no IP packet", "of the other family"]


def test_capture_on_standard_input(
    check: Command, rules: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(capture.read_bytes())))
    assert check(rules, "--in", "eth0", "--pcap", "-") == 0
    assert "1 packets: 1 DROP" in check.out


def test_truncated_capture(check: Command, rules: str, capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-3])
    assert check(rules, "--in", "eth0", "--pcap", str(capture)) == 0
    assert check.err == f"bpfilter: warning: {capture} ends within a packet\n"
    assert "1 packets: 1 DROP" in check.out


def test_expectations_of_captures(check: Command, rules: str, capture: Path) -> None:
    argv = (rules, "--in", "eth0", "--pcap", str(capture), "--expect")
    assert check(*argv, "DROP") == 0
    assert check(*argv, "ACCEPT") == 1


def test_rules_with_counters(check: Command, rules: str) -> None:
    assert check(rules, "--in", "eth0", "-v", "--packet", SSH, "--packet", SSH) == 0
    assert "\n1           2       80 ACCEPT " in check.out


def test_ipv6_rules(check: Command, tmp_path: Path) -> None:
    path = tmp_path / "rules.v6"
    path.write_text(RULES.replace("192.0.2.0/24", "2001:db8::/32"))
    packet = "tcp [2001:db8::1]:40000 > [2001:db8::2]:22 syn"
    assert check(str(path), "--in", "eth0", "--packet", packet) == 0
    assert "ssh 1    -A ssh -s 2001:db8::/32 -j ACCEPT" in check.out


def test_all_facts_have_an_option(check: Command, tmp_path: Path) -> None:
    facts = {
        "-m state --state RELATED": "--state related",
        "-m conntrack --ctdir REPLY": "--reply",
        "-m connmark --mark 7": "--ctmark 7",
        "-m conntrack --ctstatus ASSURED,EXPECTED": "--ctstatus assured",
        "-m conntrack --ctexpire 60": "--ctexpire 60",
        "-m mark --mark 0x10": "--mark 0x10",
        "-m owner --uid-owner 5 --gid-owner 6": "--uid 5 --gid 6",
        "-m cpu --cpu 3": "--cpu 3",
        "-m addrtype --dst-type LOCAL": "--local 198.51.100.9/24",
    }
    for match, words in facts.items():
        path = tmp_path / "fact.v4"
        path.write_text(f"*filter\n:OUTPUT DROP [0:0]\n-A OUTPUT {match} -j ACCEPT\nCOMMIT\n")
        argv = (str(path), "--out", "eth0", "--packet", SSH, "--expect")
        assert check(*argv, "ACCEPT", *words.split()) == 0, match
        other = ("--local", "127.0.0.1") if "addrtype" in match else ()
        assert check(*argv, "DROP", *other) == 0, match


def test_refused_rules(check: Command, tmp_path: Path) -> None:
    path = tmp_path / "rules.v4"
    limited = "-A INPUT -p udp -m limit --limit 9/hour -j ACCEPT\n-A INPUT -m limit -j LOG\n"
    path.write_text(RULES.replace("-A ssh", f"{limited}-A ssh", 1))
    assert check(str(path), "--in", "eth0", "--packet", SSH) == 2
    assert check.out == ""
    assert f"{path}:8:" in check.err
    assert "nothing was checked; --partial checks as far as that goes" in check.err
    argv = (str(path), "--in", "eth0", "--state", "new", "--partial", "--packet")
    assert check(*argv, DNS) == 0
    assert check.out == (
        f"UNDECIDED  {DNS}\n"
        "    INPUT 3  -A INPUT -p udp -m limit --limit 9/hour -j ACCEPT  (perhaps)\n"
        "    (match 'limit' cannot be enforced as eBPF yet)\n"
    )
    assert check(*argv, DNS, "--expect", "DROP") == 1
    assert check(*argv, SSH, "--expect", "ACCEPT") == 0
    ping = "icmp 192.0.2.7 > 198.51.100.9"
    assert check(*argv, ping, "--expect", "DROP", "-v") == 0
    assert "    INPUT 4       -A INPUT -m limit --limit 3/hour -j LOG  (perhaps)\n" in check.out
    assert check.out.endswith("\ncounters that may be too high: INPUT 4\n")


def test_other_tables_are_named(check: Command, rules: str) -> None:
    nat = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    Path(rules).write_text(RULES + nat)
    assert check(rules, "--in", "eth0", "--packet", SSH) == 0
    assert check.err == "bpfilter: warning: the rules of table nat are not checked\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--in", "eth0"], "say what to check: --packet TEXT or --pcap FILE"),
        (["--packet", SSH], "say where the packet is met"),
        (["--in", "eth0", "--packet", "tcp 1.2.3.4"], "packet:1:12: '>' is missing"),
        (["--in", "eth0", "--pcap", "/nowhere/x"], "/nowhere/x: No such file"),
        (["--in", "eth0", "--pcap", "/dev/null"], "/dev/null: the file is too short"),
        (["--in", "eth0", "--packet", SSH, "--uid", "1"], "give --uid and --gid"),
        (["--in", "eth0", "--packet", SSH, "--mark", "x"], "'x' is not a number of 32 bits"),
        (["--in", "eth0", "--packet", SSH, "--cpu", "99999"], "at most 8192 CPUs"),
        (["--in", "eth0", "--packet", SSH, "--ctstatus", "x"], "some of expected"),
        (["--in", "eth0", "--packet", SSH, "--state", "old"], "invalid choice"),
        (["--in", "eth0", "--packet", SSH, "--local", "x"], "--local:1:1: not an IPv4 ADDRESS"),
        (["--in", "eth0" * 5, "--packet", SSH], "longer than 15 bytes"),
        (["--in", "eth0", "--packet", "udp [::1]:1 > [::2]:2"], "an IPv4 packet is needed"),
    ],
)
def test_wrong_command_lines(check: Command, rules: str, words: list[str], message: str) -> None:
    assert check(rules, *words) == 2
    assert message in check.err
    assert check.out == ""


def test_nothing_but_python_is_needed(rules: str, tmp_path: Path) -> None:
    """No system call of Linux alone, no library, not even the modules that would make one."""
    code = f"""
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"ctypes", "_ctypes", "fcntl", "mmap", "pwd", "grp", "resource",
                "termios", "numpy", "rich", "pyroute2", "subprocess"}}:
            raise ImportError(f"{{name}} is not there")
        if name.startswith(("bpfilter.kernel", "bpfilter.firewall", "bpfilter.bpf.maps")):
            raise ImportError(f"{{name}} is not pure")
sys.meta_path.insert(0, Guard())
for name in ("pwd", "grp", "fcntl"):
    sys.modules.pop(name, None)
from bpfilter.cli.main import main
sys.exit(main(["check", {rules!r}, "--in", "eth0", "--packet", {SSH!r}, "--packet", {DNS!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ACCEPT" in done.stdout
