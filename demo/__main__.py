"""`python -m demo`: see the package."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from bpfilter import Error, Family, Ruleset
from bpfilter.cli.common import read_ruleset
from bpfilter.cli.main import report as report_error
from demo import report
from demo.measure import ebpf, iptables, measure
from tests.harness.engines import remove_leftovers

RULESETS = Path(__file__).with_name("rulesets")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    args = _parse()
    if os.geteuid():
        print("demo: needs root, to make network namespaces and load programs", file=sys.stderr)
        return 1
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        return demonstrate(args.files)
    except Error as error:
        report_error(error)
        return error.exit_code
    except subprocess.CalledProcessError as error:
        print(f"demo: {error.__cause__ or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; everything it made is gone", file=sys.stderr)
        return 130
    finally:
        _ignore_signals()
        remove_leftovers(os.getpid())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Run rules as eBPF and under the kernel's iptables; compare every counter.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        default=[str(RULESETS / "office.v4"), str(RULESETS / "office.v6")],
        help="save files, one of each family at most; default: the office's in demo/rulesets",
    )
    return parser.parse_args()


def demonstrate(files: list[str]) -> int:
    """Measure twice, compare, print; the exit status is 0 if everything agrees."""
    started = time.monotonic()
    rulesets = [_filter_only(path, read_ruleset(path, None)) for path in files]
    remove_leftovers()  # of runs that were killed
    used = ", ".join(map(_short, files))
    _say(f"Linux {platform.release()}, Python {platform.python_version()}; {used}")
    _say("the rules as eBPF, in a lab of three network namespaces …")
    ours = measure(ebpf, rulesets, _say)
    for note in ours.notes:
        _say(f"  {note}")
    _say("the same rules and traffic under iptables-legacy, in a second lab …\n")
    theirs = measure(iptables, rulesets, _say)
    lines, score = report.compare(ours, theirs)
    report.show(ours, theirs, lines, score)
    took = time.monotonic() - started
    print(f"{'everything agrees' if score.is_perfect else 'THERE ARE DIFFERENCES'} ({took:.0f} s)")
    return 0 if score.is_perfect else 1


def _filter_only(path: str, ruleset: Ruleset) -> Ruleset:
    others = [table.name for table in ruleset.tables if table.name != "filter"]
    if others:
        _say(f"{path}: only the filter table is used, not {', '.join(others)}")
    return Ruleset(Family(ruleset.family), tuple(t for t in ruleset.tables if t.name == "filter"))


def _short(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(*_: object) -> None:
    _ignore_signals()  # what follows is tidying up
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    # Not SIG_IGN: one that has come and was not handled yet would be complained about.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)


if __name__ == "__main__":
    sys.exit(main())
