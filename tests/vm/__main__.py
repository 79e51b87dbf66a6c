"""Run the tests that depend on the kernel on other kernels: `python -m tests.vm [KERNEL...]`.

For each one it prints what passed, what failed and why, and what was skipped and why. Exit
status 1 if anything failed, or if a kernel could not be had or booted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.harness.debian import FetchError, cache_directory
from tests.vm.fetch import find_image
from tests.vm.guest import run_tests
from tests.vm.kernels import BY_NAME, KERNELS, VmKernel
from tests.vm.report import Outcome


def main() -> int:
    args = _parse()
    # As an exception, so that no guest outlives us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    total = Outcome()
    for kernel in [BY_NAME[name] for name in args.kernels] or KERNELS:
        total += _try(kernel, args)
    print(total)
    return 1 if total.failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm", description=(__doc__ or "").split(":")[0] + "."
    )
    parser.add_argument("kernels", metavar="KERNEL", nargs="*", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--cache", type=Path, default=cache_directory("vm"), metavar="DIR")
    parser.add_argument("--update", action="store_true", help="look for newer packages")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="the most a kernel may take (default: 30)"
    )
    parser.add_argument("--quick", action="store_true", help="only what says most")
    args = parser.parse_args()
    for name in args.kernels:
        if name not in BY_NAME:
            parser.error(f"no kernel is called {name}; there are {', '.join(BY_NAME)}")
    return args


def _try(kernel: VmKernel, args: argparse.Namespace) -> Outcome:
    started = time.monotonic()
    try:
        image = find_image(kernel, args.cache, update=args.update)
    except FetchError as error:
        return _trouble(kernel, f"cannot be had: {error}")
    visit = run_tests(kernel, image, args.cache / "work", args.minutes * 60, args.quick)
    if visit.trouble:
        return _trouble(kernel, f"{visit.release} {visit.trouble}".strip())
    took = time.monotonic() - started
    does = "enforces" if kernel.enforces else "lacks netfilter links"
    print(f"{kernel.name} ({visit.release}, {does}): {visit.outcome}, {took:.0f} s")
    for word, lines in (("failed", visit.outcome.failures), ("skipped", visit.outcome.skips)):
        for line in lines:
            print(f"  {word}: {line}")
    sys.stdout.flush()
    return visit.outcome


def _trouble(kernel: VmKernel, what: str) -> Outcome:
    print(f"{kernel.name}: {what}", flush=True)
    return Outcome(failures=[what])


if __name__ == "__main__":
    sys.exit(main())
