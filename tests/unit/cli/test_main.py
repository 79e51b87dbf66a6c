"""The command itself: help, version, mistakes, exit status, errors on a terminal and off it."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import bpfilter
from bpfilter.cli.main import COMMANDS, main, report
from bpfilter.errors import (
    BusyError,
    Error,
    KernelError,
    RefusedError,
    RestrictedError,
    RuleSyntaxError,
    StateError,
    UnsupportedError,
    VerifierError,
)
from bpfilter.source import Span
from tests.unit.cli.conftest import FakeFirewall, Outcome

Run = Callable[..., Outcome]


def test_help_names_every_command_and_exit_status(run: Run) -> None:
    shown = run("--help")
    assert shown.status == 0
    assert not shown.err
    for name, summary in COMMANDS.items():
        assert f"{name} " in shown.out
        assert summary in shown.out
    for status in range(5):
        assert f"\n  {status}  " in shown.out


def test_no_arguments_print_help_and_fail(run: Run) -> None:
    shown = run()
    assert shown.status == 2
    assert shown.out == run("--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_has_examples(run: Run, name: str) -> None:
    shown = run(name, "--help")
    assert shown.status == 0
    assert "\nexamples:\n" in shown.out
    assert f"  bpfilter {name}" in shown.out
    assert shown.out.startswith(f"usage: bpfilter {name} ")
    # A terminal of the usual width of code shows it unbroken.
    assert max(map(len, shown.out.splitlines())) <= 99


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(run: Run, option: str) -> None:
    assert run(option).out == f"bpfilter {bpfilter.__version__}\n"


def test_version_is_that_of_the_distribution_and_has_an_entry_of_changes() -> None:
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert f"\n## {bpfilter.__version__}" in (root / "CHANGES.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["aply"], "there is no command aply (did you mean apply?); see 'bpfilter --help'"),
        (["frobnicate"], "there is no command frobnicate; see 'bpfilter --help'"),
        (["-L"], "there is no option -L; for that, use 'bpfilter list -v'"),
        (["-F"], "there is no option -F; for that, use 'bpfilter clear'"),
        (["-A", "INPUT"], "there is no option -A; for that, use 'bpfilter apply FILE'"),
        (["--netns", "x", "list"], "no command before --netns: options follow it"),
        (["apply", "--dryrun", "x"], "there is no option --dryrun (did you mean --dry-run?)"),
        (["apply", "--dry", "x"], "there is no option --dry (did you mean"),
        (["list", "INPUT", "FORWARD"], "one argument too many: 'FORWARD'"),
        (["apply"], "the following arguments are required: FILE; see 'bpfilter apply --help'"),
        (["apply", "-4", "-6", "x"], "argument -6/--ipv6: not allowed with argument -4/--ipv4"),
        (["apply", "--confirm", "soon", "x"], "argument --confirm: 'soon' is not a number of"),
        (["apply", "--confirm", "0", "x"], "argument --confirm: must be at least 1 second"),
        (["apply", "--confirm", "nan", "x"], "argument --confirm: must be between 0 and 86400"),
        (["zero", "--wait=-1"], "argument -w/--wait: must be between 0 and 86400 seconds"),
        (["zero", "--wait"], "argument -w/--wait: expected one argument"),
        (["list", "--json", "-v"], "not allowed with argument --json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_with_a_hint(
    run: Run, firewall: FakeFirewall, words: list[str], sentence: str
) -> None:
    shown = run(*words)
    assert shown.status == 2
    assert not shown.out
    assert shown.err.startswith("bpfilter: ")
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
    assert not firewall.calls


SPAN = Span("rules.v4", 7, 4, 9, "-A INPTU -j DROP")


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (Error("broken"), 1, "bpfilter: broken\n"),
        (
            RuleSyntaxError("what is this", SPAN),
            2,
            "bpfilter: rules.v4:7:4: what is this\n    -A INPTU -j DROP\n       ^^^^^\n",
        ),
        (RefusedError("target REJECT is not enforced"), 2, "bpfilter: target REJECT is not"),
        (
            UnsupportedError("netfilter links", "6.4", "use a newer one"),
            3,
            "bpfilter: this kernel has no netfilter links (it came with Linux 6.4); use a newer",
        ),
        (BusyError("somebody else writes"), 4, "bpfilter: somebody else writes\n"),
        (StateError("the state file is gone"), 1, "bpfilter: the state file is gone\n"),
        (KernelError("make map", errno.ENOMEM), 1, "bpfilter: make map: Cannot allocate memory\n"),
        (
            RestrictedError("load", errno.EPERM, "CAP_BPF", "run it as root"),
            1,
            "bpfilter: load: Operation not permitted; run it as root\n",
        ),
        (
            VerifierError("load", errno.EACCES, "bad", "the\nlog", "rules.v4:7"),
            1,
            "bpfilter: load: the kernel refused the program at rules.v4:7: bad\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Error) else "",
)
def test_errors_and_their_exit_status(
    run: Run, firewall: FakeFirewall, error: Error, status: int, shown: str
) -> None:
    firewall.error = error
    seen = run("list")
    assert seen.status == status
    assert seen.err.startswith(shown)
    assert not seen.out


def test_notes_follow_the_error(run: Run, firewall: FakeFirewall) -> None:
    firewall.error = Error("first")
    firewall.error.add_note("second")
    assert run("list").err == "bpfilter: first\nbpfilter: second\n"


def test_a_fault_all_over_is_told_once(run: Run, firewall: FakeFirewall) -> None:
    firewall.error = RuleSyntaxError("no table is open", Span("x", 1))
    for line in (2, 3, 4):
        firewall.error.add_note(f"x:{line}:1: no table is open")
    firewall.error.add_note("x:5:1: unknown option")
    assert run("list").err == (
        "bpfilter: x:1:1: no table is open\n"
        "bpfilter: x:5:1: unknown option\n"
        "bpfilter: and 3 more like these; -v shows all\n"
    )
    assert "x:4:1" in run("list", "-v").err


def test_refused_rules_are_told_one_by_one(run: Run, firewall: FakeFirewall) -> None:
    firewall.error = RefusedError("REJECT cannot be enforced", Span("x", 1))
    for line in range(2, 100):
        firewall.error.add_note(f"x:{line}:1: REJECT cannot be enforced")
    lines = run("list").err.splitlines()
    assert [line.split(": ")[1] for line in lines[:-1]] == [f"x:{n}:1" for n in range(1, 6)]
    assert lines[-1] == "bpfilter: and 94 more like these; -v shows all"
    assert len(run("list", "-v").err.splitlines()) == 99


def test_the_verifier_log_is_shown_when_asked(
    run: Run, firewall: FakeFirewall, rules_file: str
) -> None:
    firewall.error = VerifierError("load", errno.EACCES, "bad", "0: R1=ctx()\n1: …")
    assert "R1=ctx" not in run("apply", rules_file).err
    assert "0: R1=ctx()\n1: …" in run("apply", "-v", rules_file).err


def test_failing_output_is_an_error_of_one_line(
    run: Run, in_force: FakeFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    assert main(["list"]) == 1
    assert stderr.getvalue() == "bpfilter: [Errno 28] No space left on device\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "from bpfilter.cli.main import run; run()"
    command = f'{sys.executable} -c "{code}" --help | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert not done.stderr


def test_our_own_bugs_are_one_line_too() -> None:
    code = (
        "import bpfilter.cli.list as m, bpfilter.cli.main as c\n"
        "def broken(args): raise AssertionError('impossible')\n"
        "m.run = broken\n"
        "c.run()\n"
    )
    command = [sys.executable, "-c", code, "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("bpfilter: a bug in bpfilter: AssertionError: impossible at ")
    assert done.stderr.count("\n") == 1
    whole = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"BPFILTER_TRACEBACK": "1"}
    )
    assert "Traceback" in whole.stderr


def test_rules_go_out_byte_for_byte_in_any_locale() -> None:
    code = (
        "import sys, bpfilter.cli.list as m, bpfilter.cli.main as c\n"
        "m.run = lambda args: print('caf\\u00e9 \\udcff') or 0\n"
        "c.run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    )
    assert done.stdout == "café ".encode() + b"\xff\n"


def test_a_listing_that_was_stopped_goes_on_to_its_end() -> None:
    code = (
        "import sys, bpfilter.cli.list as m, bpfilter.cli.main as c\n"
        "m.run = lambda args: sys.stdout.write('x' * 200_000) and 0\n"
        "c.run()\n"
    )
    command = [sys.executable, "-c", code, "list"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)  # it writes; now it waits for us
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        process.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert len(first + process.stdout.read()) == 200_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_colour_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for stream, expected in ((Terminal(), coloured), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        report(Error("broken"))
        assert ("\x1b[" in stream.getvalue()) is expected
        assert "broken" in stream.getvalue()
