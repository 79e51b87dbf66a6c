"""Run iptables rules as eBPF at the netfilter hooks.

    from bpfilter import Family, Firewall, parse_saved

    ruleset = parse_saved(open("rules.v4").read(), "rules.v4", Family.IPV4)
    firewall = Firewall(netns="lab")
    firewall.apply(ruleset)
    table = firewall.table(Family.IPV4)     # with counters

    Simulator(ruleset).run("tcp 192.0.2.7:40000 > 198.51.100.9:22 syn", in_interface="eth0")

Names are imported when first used: most commands need few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfilter.errors import Error as Error
    from bpfilter.errors import RefusedError as RefusedError
    from bpfilter.errors import RuleError as RuleError
    from bpfilter.errors import RuleSyntaxError as RuleSyntaxError
    from bpfilter.errors import UnsupportedError as UnsupportedError
    from bpfilter.firewall.live import Firewall as Firewall
    from bpfilter.rules.check import check_ruleset as check_ruleset
    from bpfilter.rules.model import Chain as Chain
    from bpfilter.rules.model import Counters as Counters
    from bpfilter.rules.model import Family as Family
    from bpfilter.rules.model import Rule as Rule
    from bpfilter.rules.model import Ruleset as Ruleset
    from bpfilter.rules.model import Table as Table
    from bpfilter.rules.saved import format_saved as format_saved
    from bpfilter.rules.saved import parse_saved as parse_saved
    from bpfilter.simulate.run import Simulator as Simulator

__version__ = "0.1.0"

_HOME = {
    "Chain": "rules.model",
    "Counters": "rules.model",
    "Error": "errors",
    "Family": "rules.model",
    "Firewall": "firewall.live",
    "RefusedError": "errors",
    "Rule": "rules.model",
    "RuleError": "errors",
    "RuleSyntaxError": "errors",
    "Ruleset": "rules.model",
    "Simulator": "simulate.run",
    "Table": "rules.model",
    "UnsupportedError": "errors",
    "check_ruleset": "rules.check",
    "format_saved": "rules.saved",
    "parse_saved": "rules.saved",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'bpfilter' has no attribute {name!r}")
    return getattr(import_module(f"bpfilter.{_HOME[name]}"), name)
