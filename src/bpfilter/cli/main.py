"""The `bpfilter` command: argv → one call → exit code. The only place that exits."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from bpfilter.errors import Error, KernelError, SourceError, VerifierError

#: Command, and what it does in a few words; each is a module of this package.
COMMANDS = {
    "apply": "put a ruleset in force",
    "list": "print the rules in force, with their counters",
    "status": "print what is attached and loaded",
    "zero": "set counters to zero",
    "clear": "take the rules out of force",
    "check": "tell what a ruleset does with a packet, offline",
    "confirm": "confirm an 'apply --confirm' from elsewhere",
}

EPILOG = """\
examples:
  bpfilter check rules.v4 --in eth0 --packet 'tcp 192.0.2.7:40000 > 198.51.100.9:22 syn'
  bpfilter apply --dry-run rules.v4
  bpfilter apply --confirm 60 rules.v4
  bpfilter list -v

exit status: 0 success, 1 other problem, 2 bad rules or arguments, 3 this kernel cannot,
4 somebody else holds the lock. 'bpfilter COMMAND --help' tells more.
"""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of all commands, or just of one (which starts faster)."""
    parser = argparse.ArgumentParser(
        prog="bpfilter",
        description="Run iptables rules as eBPF at the netfilter hooks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if only is None or only == name:
            import_module(f"bpfilter.cli.{name}").add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    only = argv[0] if argv and argv[0] in COMMANDS else None
    parser = build_parser(only)
    args = parser.parse_args(argv)
    if args.version:
        from importlib.metadata import version

        print(f"bpfilter {version('pybpfilter')}")
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    try:
        status: int = import_module(f"bpfilter.cli.{args.command}").run(args)
    except Error as error:
        report(error, verbose=getattr(args, "verbose", False))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def report(error: Error, verbose: bool = False) -> None:
    """Print an error: one sentence, the place in the source, and what else is known."""
    print(f"bpfilter: {error}", file=sys.stderr)
    if isinstance(error, SourceError) and error.span is not None and error.span.text:
        print(error.span.caret(), file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"bpfilter: {note}", file=sys.stderr)
    if verbose and isinstance(error, VerifierError):
        print(error.log, file=sys.stderr)
    if verbose and isinstance(error, KernelError) and error.__cause__ is not None:
        print(f"bpfilter: because of: {error.__cause__}", file=sys.stderr)


def run() -> None:
    """Be the command."""
    sys.exit(main())
