"""Tables as `iptables -S` and `iptables -nL` show them, column for column.

The columns are those of iptables-legacy 1.8.9 (print_header, print_rule_details and
print_firewall in iptables/xshared.c and iptables.c). Addresses and ports are always
numbers, as with `-n`: nothing is looked up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bpfilter.rules.address import format_listed
from bpfilter.rules.model import (
    Address,
    Chain,
    Counters,
    Family,
    Interface,
    Jump,
    Rule,
    Table,
    Target,
    Verdict,
)
from bpfilter.rules.written import Written

#: Targets that are saved under an alias and listed under their kernel name.
_KERNEL_NAMES = {"NOTRACK": "CT"}


def list_rules(chains: Sequence[Written], counters: bool = False) -> str:
    """Give what `iptables -S` prints of chains; with `counters`, `iptables -vS`."""
    lines = [_chain_line(each.chain, counters) for each in chains]
    for each in chains:
        lines += each.lines
    return "".join(f"{line}\n" for line in lines)


def list_table(
    table: Table,
    family: Family,
    chain: str | None = None,
    *,
    verbose: bool = True,
    exact: bool = False,
    line_numbers: bool = False,
) -> str:
    """Give what `iptables -nL [CHAIN]` prints with `-v`, `-x` and `--line-numbers`.

    Raises: KeyError if there is no such chain.
    """
    chains = table.chains if chain is None else (table.chain(chain),)
    references = Counter(
        rule.target.chain
        for other in table.chains
        for rule in other.rules
        if isinstance(rule.target, Jump)
    )
    columns = _Columns(family, verbose, exact, line_numbers)
    parts = []
    for shown in chains:
        lines = [_title(shown, references[shown.name], verbose, exact), columns.header()]
        lines += [columns.rule(rule, number) for number, rule in enumerate(shown.rules, 1)]
        parts.append("".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


def format_count(number: int, exact: bool) -> str:
    """Give a counter as xtables_print_num does: with K, M, G or T unless `exact`; no padding."""
    if exact or number <= 99999:
        return str(number)
    for unit in "KMG":
        number = (number + 500) // 1000
        if number <= 9999:
            return f"{number}{unit}"
    return f"{(number + 500) // 1000}T"


def describe_rule(rule: Rule, family: Family) -> str:
    """Give what stands after the columns: `[goto]`, then each match and target after a blank."""
    text = "[goto] " if isinstance(rule.target, Jump) and rule.target.goto else ""
    return text + "".join(_described(rule, family))


# A match without a text of its own shows its name, with the blank behind it (print_match).
def _described(rule: Rule, family: Family) -> Iterator[str]:
    for match in rule.matches:
        described = match.describe(family)
        yield f" {described}" if described else f"{match.NAME} "
    if rule.target is not None and not isinstance(rule.target, Verdict | Jump):
        described = rule.target.describe(family)
        yield f" {described}" if described else ""


def _chain_line(chain: Chain, counters: bool) -> str:
    if chain.policy is None:
        return f"-N {chain.name}"
    count = chain.counters
    tail = f" -c {count.packets} {count.bytes}" if counters else ""
    return f"-P {chain.name} {chain.policy}{tail}"


def _title(chain: Chain, references: int, verbose: bool, exact: bool) -> str:
    if chain.policy is None:
        return f"Chain {chain.name} ({references} references)"
    counted = ""
    if verbose:
        packets = format_count(chain.counters.packets, exact)
        size = format_count(chain.counters.bytes, exact)
        counted = f" {packets} packets, {size} bytes"
    return f"Chain {chain.name} (policy {chain.policy}{counted})"


class _Columns:
    def __init__(self, family: Family, verbose: bool, exact: bool, numbered: bool) -> None:
        self.family = family
        self.verbose = verbose
        self.exact = exact
        self.numbered = numbered

    def header(self) -> str:
        text = f"{'num':<4s} " if self.numbered else ""
        if self.verbose:
            text += (
                f"{'pkts':>8s} {'bytes':>10s} " if self.exact else f"{'pkts':>5s} {'bytes':>5s} "
            )
        text += f"{'target':<9s}  prot opt"
        if self.verbose:
            text += f" {'in':<6s} {'out':<6s} "
        return text + f" {'source':<19s}  {'destination':<19s} "

    def rule(self, rule: Rule, number: int) -> str:
        text = f"{number:<4d} " if self.numbered else ""
        if self.verbose:
            text += self._counters(rule.counters)
        protocol = rule.protocol
        text += f"{_target_name(rule.target):<9s} "
        text += "!" if protocol is not None and protocol.inverted else " "
        text += f"{protocol.number if protocol is not None else 0:<4d} "
        text += self._fragment(rule.fragment)
        if self.verbose:
            text += f" {_interface(rule.in_interface):<6s} {_interface(rule.out_interface):<6s} "
        text += self._address(rule.source) + self._address(rule.destination)
        return text + describe_rule(rule, self.family)

    def _counters(self, counters: Counters) -> str:
        packets = format_count(counters.packets, self.exact)
        size = format_count(counters.bytes, self.exact)
        width = 8 if self.exact else 5
        return f"{packets:>{width}s} {size:>{width}s} "

    def _fragment(self, fragment: bool | None) -> str:
        if fragment is None or self.family is Family.IPV6:
            return "-- "
        return "-f " if fragment else "!f "

    def _address(self, address: Address | None) -> str:
        if address is None:
            return f" {'0.0.0.0/0' if self.family is Family.IPV4 else '::/0':<19s} "
        sign = "!" if address.inverted else " "
        return f"{sign}{format_listed(address.value, address.mask):<19s} "


def _target_name(target: Target | None) -> str:
    if target is None:
        return ""
    if isinstance(target, Jump):
        return target.chain
    if isinstance(target, Verdict):
        return target.name
    return _KERNEL_NAMES.get(target.NAME, target.NAME)


def _interface(interface: Interface | None) -> str:
    if interface is None:
        return "*"
    return ("!" if interface.inverted else "") + interface.name
