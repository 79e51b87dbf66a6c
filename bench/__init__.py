"""The measurements behind docs/performance.md: `make bench`, or `bench/run --help`.

    families/      rules and packets to measure with, deterministic by seed
    lab.py         sender and router, network namespaces
    traffic.py     the XDP program that sends a trace's packets
    peers.py       who is measured: how they take rules, change one, and count
    rig.py         a peer in a lab, traffic into it, and whether the counts agree
    throughput.py  loading.py  testrun.py  memory.py  calls.py    what is measured
    commands.py    launch.py                                      whole processes
    results.py     figures  →  bars.py  report.py  plot.py

Figures of a run that does not add up are not believed: it ends with an error.
"""
