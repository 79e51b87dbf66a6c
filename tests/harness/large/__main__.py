"""Compare large rulesets with the reference over and over.

python -m tests.harness.large [--seed N] [--rounds N] [--packets N] [--themes NAME,…]
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from tests.harness.large.compare import compare
from tests.harness.large.themes import THEMES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--rounds", type=int, default=0, help="how many; 0: until stopped")
    parser.add_argument("--packets", type=int, default=20_000, help="for each ruleset")
    parser.add_argument("--themes", default="", help="their names, by commas; all if not given")
    args = parser.parse_args()
    names = args.themes.split(",") if args.themes else [theme.name for theme in THEMES]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    kernel = LinuxKernel()
    target = Target(KernelTypes.of_kernel(kernel), kernel.possible_cpus(), kernel.clock_hz())
    failed = 0
    rounds = range(args.rounds) if args.rounds else itertools.count()
    for seed in (args.seed + number for number in rounds):
        for theme, version in itertools.product(THEMES, (4, 6)):
            if theme.name in names:
                found = compare(kernel, target, theme, version, seed, args.packets)
                failed += bool(found)
                print(f"seed {seed}, {theme.name}, IPv{version}:", *found or ["same"], sep="\n  ")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
