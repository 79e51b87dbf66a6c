"""What the verifier makes of loops: it must not walk them step by step, whatever bounds them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.build import compile_table
from bpfilter.compiler.target import Target
from bpfilter.firewall.apply import load
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Family
from bpfilter.rules.saved import parse_saved

pytestmark = pytest.mark.usefixtures("no_leaks")

#: Instructions walked for each one of the program. Kernels before 6.15 gave up at 600 when
#: steps differed in registers that nobody reads any more; now it is 2 to 15.
MOST_WALKED = 25

ONE_WORD = "-A INPUT -p icmp -j DROP"
NESTED = """\
:a - [0:0]
:b - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i eth0 -j a
-A a ! -s 192.0.2.0/24 -g b
-A a -p tcp -m multiport --dports 22,80 -j RETURN
-A b -p udp -m udp --sport 53 -j DROP"""
WALKED = """\
-A INPUT -p tcp -m tcp --tcp-option 5 -j ACCEPT
-A INPUT -p sctp -m sctp --chunk-types any INIT -j ACCEPT
-A INPUT -m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT
-A FORWARD -m physdev --physdev-in eth0 -j ACCEPT"""
HEADERS = """\
-A INPUT -m ipv6header --header hop -j ACCEPT
-A INPUT -m hbh --hbh-opts 5 -j ACCEPT
-A INPUT -m frag --fragid 5 -j ACCEPT
-A INPUT -p tcp -m tcp --tcp-option 5 -j ACCEPT"""


def lacks_may_goto(has: Callable[[KernelTypes, str, str], bool]) -> Callable[..., bool]:
    def has_other(types: KernelTypes, struct: str, path: str) -> bool:
        return struct != "bpf_verifier_state" and has(types, struct, path)

    return has_other


@pytest.mark.parametrize("may_goto", [True, False])
@pytest.mark.parametrize(
    ("family", "rules"),
    [
        pytest.param(Family.IPV4, ONE_WORD, id="one word"),
        pytest.param(Family.IPV4, NESTED, id="nested chains"),
        pytest.param(Family.IPV4, WALKED, id="loops over packet and tables"),
        pytest.param(Family.IPV6, HEADERS, id="loops over headers"),
    ],
)
def test_loops_are_walked_a_few_times(
    kernel: LinuxKernel,
    types: KernelTypes,
    monkeypatch: pytest.MonkeyPatch,
    family: Family,
    rules: str,
    may_goto: bool,
) -> None:
    if not may_goto:
        monkeypatch.setattr(KernelTypes, "has", lacks_may_goto(KernelTypes.has))
    target = Target(types, kernel.possible_cpus(), kernel.clock_hz())
    chains = "".join(f":{hook} ACCEPT [0:0]\n" for hook in ("INPUT", "FORWARD", "OUTPUT"))
    table = parse_saved(f"*filter\n{chains}{rules}\nCOMMIT\n", "rules", family).table("filter")
    assert table is not None
    compiled = compile_table(table, family, target, straight=False)
    with ExitStack() as stack:
        for hook, program in load(kernel, stack, compiled, target).programs.items():
            size = len(compiled.programs[hook].insns)
            assert program.info().verified_insns < MOST_WALKED * size, hook.name
