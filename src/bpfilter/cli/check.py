"""`bpfilter check`: what a ruleset does with packets, without a kernel."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from bpfilter.cli import common
from bpfilter.cli.usage import UsageError
from bpfilter.errors import CaptureError, RefusedError
from bpfilter.rules.model import Hook

if TYPE_CHECKING:
    from bpfilter.cli.verdicts import Report
    from bpfilter.simulate.packet import Packet, Surroundings
    from bpfilter.simulate.run import Result, Simulator

HOOKS = ("INPUT", "FORWARD", "OUTPUT")
MAX_CPUS = 8192  # the most a Linux kernel can be built for
VERDICTS = ("ACCEPT", "DROP")

EPILOG = """\
The rules are compiled as 'bpfilter apply' does, and the instructions run in an interpreter:
no privilege is needed, nor Linux. --in alone means INPUT, --out alone OUTPUT, both FORWARD.
Of FILE, only the filter table is checked. What the rules test and nobody told is assumed,
and said, or asked for. A rule that cannot be enforced is named, and nothing is checked; with
--partial the others are: REJECT then counts as DROP, LOG and its like as no target, and a
packet whose verdict hangs on another such rule is UNDECIDED.

exit status:
  0  all packets were checked, and with --expect have that verdict
  1  with --expect: a packet has another verdict
  2  the rules, the packets or the command line are wrong

examples:
  bpfilter check rules.v4 --in eth0 --packet 'tcp 192.0.2.7:40000 > 198.51.100.9:22 syn'
  bpfilter check rules.v4 --in eth0 --out eth1 --pcap capture.pcap --state established
  bpfilter check rules.v4 --in eth0 --packet 'udp 192.0.2.7:9 > 198.51.100.9:53' --expect DROP

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from bpfilter.simulate.packet import State
    from bpfilter.simulate.text import HELP

    parser.add_argument("file", metavar="FILE", help="a save file, - for stdin")
    common.add_family(parser, "read FILE as")
    what = parser.add_argument_group("packets")
    what.add_argument("--packet", action="append", default=[], metavar="TEXT", help="see below")
    what.add_argument("--pcap", metavar="FILE", help="a pcap or pcapng file, - for stdin")
    where = parser.add_argument_group("where they are met")
    where.add_argument("--in", dest="in_interface", metavar="NAME", help="input interface")
    where.add_argument("--out", dest="out_interface", metavar="NAME", help="output interface")
    where.add_argument("--hook", type=str.upper, choices=HOOKS, help="if not as --in, --out say")
    where.add_argument(
        "--local",
        action="append",
        metavar="ADDRESS[/LENGTH][%DEV]",
        help="an IPv4 address of this machine, for -m addrtype; may be repeated",
    )
    facts = parser.add_argument_group("what else is known of all packets")
    facts.add_argument("--state", choices=list(State), help="of the connection (default: new)")
    facts.add_argument("--reply", action="store_true", help="they go in the reply direction")
    facts.add_argument("--ctmark", type=_number, default=0, metavar="N", help="connection mark")
    facts.add_argument("--ctstatus", type=_status, metavar="WORD,...", help="as -m conntrack")
    facts.add_argument("--ctexpire", type=_number, metavar="SECONDS", help="time left")
    facts.add_argument("--mark", type=_number, metavar="N", help="packet mark")
    facts.add_argument("--uid", type=_number, metavar="N", help="user of the sending socket")
    facts.add_argument("--gid", type=_number, metavar="N", help="group of the sending socket")
    facts.add_argument("--cpu", type=_cpu, metavar="N", help="which CPU takes the packet")
    how = parser.add_argument_group("results")
    how.add_argument("--partial", action="store_true", help="check with rules that are refused")
    how.add_argument("--expect", type=str.upper, choices=VERDICTS, help="exit 1 if one differs")
    how.add_argument("--json", action="store_true", help="a line of JSON for each packet")
    how.add_argument("-v", "--verbose", action="store_true", help="print the rules with counters")
    parser.epilog = EPILOG + HELP


def _number(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 32:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 32 bits")
    return value


def _cpu(text: str) -> int:
    value = _number(text)
    if value >= MAX_CPUS:
        raise argparse.ArgumentTypeError(f"there are at most {MAX_CPUS} CPUs")
    return value


def _status(text: str) -> int:
    from bpfilter.simulate.connection import STATUS

    try:
        return sum({STATUS[word] for word in text.lower().split(",")})
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"some of {', '.join(STATUS)}") from error


def run(args: argparse.Namespace) -> int:
    from bpfilter.cli.verdicts import JsonReport, TextReport
    from bpfilter.simulate.routes import parse_local
    from bpfilter.simulate.run import Simulator, infer_hook

    if not args.packet and args.pcap is None:
        raise UsageError("say what to check: --packet TEXT or --pcap FILE")
    around = _surroundings(args)
    hook = Hook[args.hook] if args.hook else infer_hook(around)
    local = None if args.local is None else [parse_local(text) for text in args.local]
    ruleset = common.read_ruleset(args.file, args.family)
    cpus = (around.cpu or 0) + 1
    try:
        simulator = Simulator(ruleset, local=local, partial=args.partial, cpus=cpus)
    except RefusedError as error:
        error.add_note("nothing was checked; --partial checks as far as that goes")
        raise
    if simulator.other_tables:
        names = ", ".join(simulator.other_tables)
        print(f"bpfilter: warning: the rules of table {names} are not checked", file=sys.stderr)
    check = _Check(simulator, hook, around, JsonReport() if args.json else TextReport())
    for text in args.packet:
        check.text(text)
    if args.pcap is not None:
        check.capture(args.pcap)
    if args.verbose and not args.json:
        _print_rules(simulator)
    return int(args.expect is not None and check.seen - {args.expect} != set())


def _surroundings(args: argparse.Namespace) -> Surroundings:
    from bpfilter.simulate.packet import Connection, Owner, State, Surroundings

    connection = None
    if args.state or args.reply or args.ctmark or args.ctstatus or args.ctexpire is not None:
        state = State(args.state or State.NEW)
        connection = Connection(state, args.reply, args.ctmark, args.ctstatus, args.ctexpire)
    if (args.uid is None) != (args.gid is None):
        raise UsageError("a socket has a user and a group: give --uid and --gid")
    owner = None if args.uid is None else Owner(args.uid, args.gid)
    return Surroundings(
        args.in_interface, args.out_interface, connection, args.mark, owner, args.cpu
    )


class _Check:
    """Packets, checked one after the other; `seen` has all verdicts there were."""

    def __init__(
        self, simulator: Simulator, hook: Hook, around: Surroundings, report: Report
    ) -> None:
        self.simulator = simulator
        self.hook = hook
        self.around = around
        self.report = report
        self.seen: set[str] = set()

    def result(self, packet: Packet) -> tuple[Result, tuple[str, ...]]:
        result = self.simulator.run(packet, self.hook, around=self.around)
        self.seen.add(result.verdict)
        assumed = self.simulator.asked_at(self.hook).assumed(packet, self.around)
        last = result.path[-1] if result.path else None
        if last is not None and last.number == 0:
            chain = self.simulator.table.chain(last.chain)
            if not chain.declared:  # then the one in force would stay
                assumed += (f"policy {chain.policy}",)
        return result, assumed

    def text(self, text: str) -> None:
        from bpfilter.simulate.text import parse_packet

        packet = parse_packet(text, self.simulator.family)
        self.report.packet(text, *self.result(packet))

    def capture(self, path: str) -> None:
        from bpfilter.simulate.link import Skipped, unwrap
        from bpfilter.simulate.pcap import Capture

        with _opened(path) as file:
            capture = Capture(file)
            for number, frame in enumerate(capture, 1):
                packet = unwrap(frame)
                if isinstance(packet, Skipped):
                    self.report.skipped(number, packet.reason)
                elif packet.family is not self.simulator.family:
                    self.report.skipped(number, "of the other family")
                else:
                    self.report.captured(number, packet, *self.result(packet))
        self.report.summary()
        if capture.truncated:
            print(f"bpfilter: warning: {path} ends within a packet", file=sys.stderr)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - an error of what reads it is no error of ours
    except OSError as error:
        raise common.FileError(f"{path}: {error.strerror}") from error
    with file:
        try:
            yield file
        except CaptureError as error:
            raise CaptureError(f"{path}: {error}") from error


def _print_rules(simulator: Simulator) -> None:
    from bpfilter.firewall.counters import with_counters
    from bpfilter.rules.listing import Form, list_table

    table = with_counters(simulator.table, simulator.totals())
    print()
    form = Form(exact=True, line_numbers=True)
    sys.stdout.write(list_table(table, simulator.family, form=form))
    unsure = [f"{key.chain} {key.number}" for key in simulator.partial.open]
    if unsure:
        print(f"\ncounters that may be too high: {', '.join(unsure)}")
