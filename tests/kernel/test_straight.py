"""What the verifier makes of straight-line code: it must not walk parts of it again and again."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.build import compile_table
from bpfilter.compiler.straight import MOST_CELLS
from bpfilter.compiler.target import Target
from bpfilter.firewall.apply import load
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Family, Hook
from bpfilter.rules.saved import parse_saved

pytestmark = pytest.mark.usefixtures("no_leaks")

#: Instructions walked for each one of the program; it is 1 to 2.
MOST_WALKED = 5

PORTS = "-p tcp -m multiport --sports 1:9,20,30:39 -m tcp --dport {n}:2000 -j DROP"
LATE = "-p tcp -m tcp --tcp-option {n} --tcp-flags SYN,ACK SYN -j ACCEPT"
STATE = "-i eth{n} -m conntrack --ctstate NEW -p udp -m udp --dport {n} -j ACCEPT"
JUMPS = "-s 10.0.0.0/{n} -j shared"
HEADERS = "-s 2001:db8::{n:x} -m frag --fragid {n} -p tcp -m tcp --dport {n} -j DROP"


@pytest.mark.parametrize(
    ("family", "rule", "count"),
    [
        pytest.param(Family.IPV4, PORTS, 120, id="ranges"),
        pytest.param(Family.IPV4, LATE, 120, id="late guards"),
        pytest.param(Family.IPV4, STATE, 110, id="connections"),
        pytest.param(Family.IPV4, JUMPS, 30, id="jumps"),
        pytest.param(Family.IPV6, HEADERS, 70, id="IPv6 headers"),
    ],
)
def test_the_largest_tables_load(
    kernel: LinuxKernel, types: KernelTypes, family: Family, rule: str, count: int
) -> None:
    target = Target(types, kernel.possible_cpus(), kernel.clock_hz())
    lines = [f"-A INPUT {rule.format(n=n)}" for n in range(1, count)]
    shared = [f"-A shared -p udp -m udp --sport {n} -j DROP" for n in range(7)]
    text = "\n".join(("*filter", ":INPUT ACCEPT", ":shared -", *lines, *shared, "COMMIT\n"))
    table = parse_saved(text, "rules", family).table("filter")
    assert table is not None
    compiled = compile_table(table, family, target)
    size = len(compiled.programs[Hook.INPUT].insns)
    assert size > 2 * MOST_CELLS
    with ExitStack() as stack:
        program = load(kernel, stack, compiled, target).programs[Hook.INPUT]
        assert program.info().verified_insns < MOST_WALKED * size
