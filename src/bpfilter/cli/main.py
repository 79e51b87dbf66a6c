"""The `bpfilter` command: argv → one call → exit code. The only place that exits."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from bpfilter import __version__, process
from bpfilter.errors import Error, KernelError, RuleSyntaxError, SourceError, VerifierError

if TYPE_CHECKING:
    from bpfilter.cli.usage import Parser

#: Command, and what it does in a few words; each is a module of this package.
COMMANDS = {
    "apply": "put a ruleset in force",
    "list": "print the rules in force, with their counters",
    "status": "print what is attached and loaded",
    "zero": "set counters to zero",
    "clear": "take the rules out of force",
    "check": "tell what a ruleset does with a packet, offline",
    "confirm": "confirm an 'apply --confirm' from elsewhere",
    "save": "write the rules of all tables to files",
    "restore": "put saved rules back, as at boot",
    "adopt": "take rules over from the kernel's own iptables",
    "release": "give rules back to the kernel's own iptables",
    "install": "register iptables-bpf, and a boot service",
    "uninstall": "take that away again",
}

_PLACE = r"^.*?:\d+:\d+: "

EPILOG = """\
exit status:
  0  success
  1  anything else, such as a missing privilege
  2  the rules, the packet or the command line are wrong
  3  this kernel cannot do what is asked
  4  somebody else holds the lock, ours or that of iptables

examples:
  bpfilter check rules.v4 --in eth0 --packet 'tcp 192.0.2.7:40000 > 198.51.100.9:22 syn'
  bpfilter apply --dry-run rules.v4
  bpfilter apply --confirm 60 rules.v4
  bpfilter list -v
  bpfilter install --set && bpfilter adopt && bpfilter save
  bpfilter COMMAND --help
"""


#: Further faults shown after the first without -v.
MAX_NOTES = 4


def build_parser() -> Parser:
    """Make the parser of the command itself, which knows the names of the others."""
    from bpfilter.cli.usage import Parser

    parser = Parser(
        prog="bpfilter",
        description="Run iptables rules as eBPF at the netfilter hooks.",
        epilog=EPILOG,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def command_parser(name: str) -> Parser:
    """Make the parser of one command alone."""
    from bpfilter.cli.usage import Parser

    parser = Parser(prog=f"bpfilter {name}", description=_sentence(COMMANDS[name]))
    import_module(f"bpfilter.cli.{name}").add_arguments(parser)
    return parser


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _dispatch(argv)
        sys.stdout.flush()
    except Error as error:
        report(error, verbose=bool({"-v", "--verbose"} & set(argv)))
        return error.exit_code
    except SystemExit as done:  # argparse, after printing help
        return int(done.code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        process.no_more_output()
        return 0
    except OSError as error:
        process.no_more_output()
        print(f"{_name()}: {error}", file=sys.stderr)
        return 1
    return status


def _dispatch(argv: list[str]) -> int:
    if not argv:
        build_parser().print_help()
        return 2
    if argv[0] in ("-h", "--help"):
        build_parser().print_help()
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"bpfilter {__version__}")
        return 0
    from bpfilter.cli.usage import unknown_command, unknown_option

    if argv[0] not in COMMANDS:
        raise unknown_command(argv[0], COMMANDS)
    parser = command_parser(argv[0])
    args, left_over = parser.parse_known_args(argv[1:])
    if left_over:
        raise unknown_option(left_over[0], parser)
    status: int = import_module(f"bpfilter.cli.{argv[0]}").run(args)
    return status


def report(error: Error, verbose: bool = False) -> None:
    """Print an error: one sentence, the place in the source, and what else is known."""
    name = _name()
    print(f"{name}: {error}", file=sys.stderr)
    if isinstance(error, SourceError) and error.span is not None and error.span.text:
        print(error.span.caret(), file=sys.stderr)
    notes = getattr(error, "__notes__", [])
    shown = notes if verbose else _telling(error, notes)[:MAX_NOTES]
    for note in shown:
        print(f"{name}: {note}", file=sys.stderr)
    if len(shown) < len(notes):
        more = len(notes) - len(shown)
        print(f"{name}: and {more} more like these; -v shows all", file=sys.stderr)
    if verbose and isinstance(error, VerifierError):
        print(error.log, file=sys.stderr)
    if verbose and isinstance(error, KernelError) and error.__cause__ is not None:
        print(f"{name}: because of: {error.__cause__}", file=sys.stderr)


def _name() -> str:
    from bpfilter.cli.common import name_on

    return name_on(sys.stderr)


def _telling(error: Error, notes: list[str]) -> list[str]:
    """Leave out what says nothing new: a file that is no ruleset has the same fault all over."""
    if not isinstance(error, RuleSyntaxError):
        return notes
    by_message = {re.sub(_PLACE, "", note): note for note in reversed(notes)}
    by_message.pop(re.sub(_PLACE, "", str(error)), None)
    return list(reversed(by_message.values()))


def run() -> None:
    """Be the command."""
    process.begin()
    process.end(main())
