"""`bench/run`, `python -m bench`: see the package."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from bench import calls, families, loading, report, testrun, throughput
from bench.commands import Commands, installed
from bench.machine import describe
from bench.peers import EmptyHookPeer, IptablesPeer, NftSetPeer, OurPeer, Peer
from bench.plan import Bench, Plan
from bench.results import EMPTY_HOOK, LEGACY, NFT, NFT_SET, OURS, Results
from bench.rig import Mismatch
from bench.tidy import tidying
from bpfilter import Error, Firewall
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.linux import LinuxKernel

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
PEERS = (OURS, LEGACY, NFT, NFT_SET, EMPTY_HOOK)
PARTS = ("throughput", "loads", "test-run", "commands")
SIZES = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
#: The largest size is for hosts alone, unless sizes are asked for.
LARGEST = SIZES[-1]
#: Rules that peers which walk them one by one are given at most.
MOST_WALKED = 100_000

#: Of the tables that commands are called on, unless families or sizes are asked for.
CALLED_FAMILIES = ("hosts", "acl")
CALLED_SIZES = (100, 10_000)

QUICK_FAMILIES = ("hosts", "acl", "kube")
QUICK_SIZES = (1, 10, 10_000, 100_000)
QUICK_WALKED = 10_000

EPILOG = """\
Peers, families and sizes are measured in one run, in turn, several rounds of all; tables have
the median. Everything happens in network namespaces that are gone at the end.

examples:
  bench/run --quick
  bench/run --families hosts,acl --sizes 10,100000 --parts test-run
  bench/run --parts commands --peers bpfilter,iptables-nft
  bench/run --write --json results.json         all of it, into docs/performance.md
  bench/run --read results.json --write         the document again, from what was measured
"""

T = TypeVar("T")


def main() -> int:
    args = _parse()
    if args.read:
        results = Results.read(args.read)
    elif os.geteuid():
        print("bench: needs root, to make network namespaces and load programs", file=sys.stderr)
        return 1
    else:
        results = Results(describe())
        status = _guarded(args, results)
        if args.json:
            results.write(args.json)  # of an interrupted run as well
        if status:
            return status
    print(f"\n{report.markdown(results)}")
    if args.write:
        _write(results, args.write)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measure bpfilter beside iptables, nft and an empty hook.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = "%s; default: %s"
    parser.add_argument("--quick", action="store_true", help="less of all, in about two minutes")
    parser.add_argument(
        "--families",
        type=_words(families.NAMES),
        help=words % (",".join(families.NAMES), "all"),
    )
    parser.add_argument(
        "--sizes", type=_numbers, help="numbers of rules; default: 1 to 1000000 in powers of ten"
    )
    parser.add_argument(
        "--peers", type=_words(PEERS), default=PEERS, help=words % (",".join(PEERS), "all")
    )
    parser.add_argument(
        "--parts", type=_words(PARTS), default=PARTS, help=words % (",".join(PARTS), "all")
    )
    parser.add_argument("--rounds", type=int, help="how often each is measured; default: 7")
    parser.add_argument("--seed", type=int, default=1, help="of rules and packets; default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures there")
    parser.add_argument("--read", type=Path, metavar="FILE", help="take figures kept before")
    parser.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=DOCUMENT,
        metavar="FILE",
        help="put tables and plots into a document, docs/performance.md if none is named",
    )
    return parser.parse_args()


def _words(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        asked = tuple(text.split(","))
        for word in asked:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return asked

    return read


def _numbers(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted({int(word) for word in text.split(",")}))
    if sizes[0] < 1:
        raise argparse.ArgumentTypeError("sizes begin at 1")
    return sizes


def _guarded(args: argparse.Namespace, results: Results) -> int:
    try:
        with tidying(), installed() as commands, tempfile.TemporaryDirectory() as files:
            kernel = LinuxKernel()
            peers = _peers(args, kernel, commands)
            plan = _quick_plan(args) if args.quick else _plan(args)
            bench = Bench(kernel, peers, plan, results, Path(files), _say)
            _measure(args.parts, bench, commands)
    except Error as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except Mismatch as error:
        print(f"bench: counted otherwise than sent: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"bench: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything it made is gone", file=sys.stderr)
        return 130
    return 0


def _peers(args: argparse.Namespace, kernel: Kernel, commands: Commands) -> list[Peer]:
    walked = QUICK_WALKED if args.quick else MOST_WALKED
    every: dict[str, Peer] = {
        OURS: OurPeer(commands),
        LEGACY: IptablesPeer(commands, LEGACY, walked),
        NFT: IptablesPeer(commands, NFT, walked),
        NFT_SET: NftSetPeer(commands),
        EMPTY_HOOK: EmptyHookPeer(kernel),
    }
    return [every[name] for name in args.peers]


def _plan(args: argparse.Namespace) -> Plan:
    names = args.families or families.NAMES
    sizes = {
        name: args.sizes or [s for s in SIZES if s < LARGEST or name == "hosts"] for name in names
    }
    rounds = args.rounds or 7
    return Plan(
        sizes,
        rounds,
        seconds=0.5,
        loads=4,
        changes=5,
        limit_s=120,
        seed=args.seed,
        calls=15,
        tables=_tables(args),
    )


def _quick_plan(args: argparse.Namespace) -> Plan:
    names = args.families or QUICK_FAMILIES
    sizes = dict.fromkeys(names, args.sizes or QUICK_SIZES)
    rounds = args.rounds or 3
    return Plan(
        sizes,
        rounds,
        seconds=0.15,
        loads=0,
        changes=1,
        limit_s=30,
        seed=args.seed,
        calls=3,
        tables=_tables(args),
    )


def _tables(args: argparse.Namespace) -> dict[str, Sequence[int]]:
    names = args.families or (calls.SERVER, *CALLED_FAMILIES)
    return {
        name: (calls.SERVER_RULES,) if name == calls.SERVER else args.sizes or CALLED_SIZES
        for name in names
    }


def _measure(parts: Iterable[str], bench: Bench, commands: Commands) -> None:
    if "test-run" in parts:
        testrun.measure(bench, Firewall(kernel=bench.kernel).target())
    for name in bench.plan.sizes:
        if "throughput" in parts:
            throughput.measure(bench, name)
        if "loads" in parts:
            loading.measure(bench, name)
    if "commands" in parts:
        calls.measure(bench, commands)


def _write(results: Results, document: Path) -> None:
    from bench import plot  # matplotlib takes its time

    plots = plot.draw(results, document.with_suffix(""))
    relative = [path.relative_to(document.parent) for path in plots]
    text = report.put_into(document.read_text(), report.markdown(results, relative))
    document.write_text(text)


_STARTED = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
