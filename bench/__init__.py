"""The measurements behind docs/performance.md: `make bench`, or `bench/run --help`.

families/   rules and packets to measure with, deterministic by seed
"""
