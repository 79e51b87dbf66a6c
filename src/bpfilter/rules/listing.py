"""Tables as `iptables -S` and `iptables -L` show them, column for column.

The columns are those of iptables-legacy 1.8.11 (print_header, print_rule_details and
print_firewall in iptables/xshared.c and iptables.c); what numbers are called is for `Names`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import (
    Address,
    Chain,
    Family,
    Interface,
    Jump,
    Rule,
    Table,
    Target,
    Verdict,
)
from bpfilter.rules.names import NUMBERS, Names
from bpfilter.rules.words import byte_length
from bpfilter.rules.written import Written

#: Targets that are saved under an alias and listed under their kernel name.
_KERNEL_NAMES = {"NOTRACK": "CT"}


@dataclass(frozen=True, slots=True)
class Form:
    """How a listing looks: `-v`, `-x`, `--line-numbers`, and without `-n` other names."""

    verbose: bool = True
    exact: bool = False
    line_numbers: bool = False
    names: Names = NUMBERS


def list_rules(
    chains: Sequence[Written], chain: str | None = None, number: int = 0, *, counters: bool = False
) -> str:
    """Give what `iptables -S [CHAIN [NUMBER]]` prints; with `counters`, the chains' as well.

    The rules' are for who writes them (`iptables -vS`). Raises: KeyError if there is no such
    chain.
    """
    shown = chains if chain is None else [_named(chains, chain)]
    lines = [] if number else [_chain_line(each.chain, counters) for each in shown]
    for each in shown:
        lines += each.lines[number - 1 : number] if number else each.lines
    return "".join([f"{line}\n" for line in lines])


def list_table(
    table: Table, family: Family, chain: str | None = None, number: int = 0, *, form: Form
) -> str:
    """Give what `iptables -L [CHAIN [NUMBER]]` prints.

    Raises: KeyError if there is no such chain.
    """
    chains = table.chains if chain is None else (table.chain(chain),)
    references = Counter(
        rule.target.chain
        for other in table.chains
        for rule in other.rules
        if isinstance(rule.target, Jump)
    )
    columns = Columns(family, form)
    return "\n".join(
        [
            columns.chain(each, references[each.name], _rows(each, columns), number)
            for each in chains
        ]
    )


def format_count(number: int, exact: bool) -> str:
    """Give a counter as xtables_print_num does: with K, M, G or T unless `exact`; no padding."""
    if exact or number <= 99999:
        return str(number)
    for unit in "KMG":
        number = (number + 500) // 1000
        if number <= 9999:
            return f"{number}{unit}"
    return f"{(number + 500) // 1000}T"


class Columns:
    """The columns of one listing."""

    def __init__(self, family: Family, form: Form) -> None:
        self.family = family
        self.form = form
        self.names = form.names
        # As wide as no counter that is 0 can be.
        self._nothing = f"{0:>8d} {0:>8d} " if form.exact else f"{0:>5d} {0:>5d} "

    def chain(self, chain: Chain, references: int, rows: Sequence[str], number: int = 0) -> str:
        """Give a chain whose rules are `rows`; with `number`, that rule alone, if there is one."""
        if number:
            return "".join([f"{row}\n" for row in rows[number - 1 : number]])
        return "\n".join([self._title(chain, references), self._header(), *rows, ""])

    def count(self, number: int, packets: int, octets: int) -> str:
        """Give the first columns of a rule: its number, and what it has counted."""
        text = f"{number:<4d} " if self.form.line_numbers else ""
        if not self.form.verbose:
            return text
        if not packets and not octets:
            return text + self._nothing
        exact = self.form.exact
        width = 8 if exact else 5
        shown = format_count(packets, exact), format_count(octets, exact)
        return text + "".join([f"{each:>{width}s} " for each in shown])

    def rule(self, rule: Rule) -> str:
        """Give all other columns, and what stands behind them."""
        addresses = self.address(rule.source) + self.address(rule.destination)
        return self.front(rule) + addresses + self.description(rule)

    def front(self, rule: Rule) -> str:
        """Give the columns before the addresses."""
        protocol = rule.protocol
        text = _padded(target_name(rule.target), 9) + " "
        text += "!" if protocol is not None and protocol.inverted else " "
        number = 0 if protocol is None else protocol.number
        text += f"{self.names.protocol(number):<4s} {self._fragment(rule.fragment)} "
        if self.form.verbose:
            interfaces = (rule.in_interface, rule.out_interface)
            text += "".join([" " + _padded(self._interface(each), 6) for each in interfaces]) + " "
        return text

    def address(self, address: Address | None) -> str:
        """Give the column of an address."""
        sign = "!" if address is not None and address.inverted else " "
        return f"{sign}{self.address_text(address or _ANYWHERE[self.family]):<19s} "

    def address_text(self, address: Address) -> str:
        """Give what stands in it: `anywhere` for IPv4's empty mask and IPv6's address of zeros."""
        if not self.names.numeric:
            telling = address.mask if self.family is Family.IPV4 else address.value
            if not any(telling):
                return "anywhere"
        return self.names.address(address.value, address.mask)

    def description(self, rule: Rule) -> str:
        """Give what stands behind the columns: `[goto]`, each match and target after a blank."""
        text = "[goto] " if isinstance(rule.target, Jump) and rule.target.goto else ""
        return text + "".join(_described(rule, self.family, self.names))

    def _title(self, chain: Chain, references: int) -> str:
        if chain.policy is None:
            return f"Chain {chain.name} ({references} references)"
        counted = ""
        if self.form.verbose:
            packets = format_count(chain.counters.packets, self.form.exact)
            size = format_count(chain.counters.bytes, self.form.exact)
            counted = f" {packets} packets, {size} bytes"
        return f"Chain {chain.name} (policy {chain.policy}{counted})"

    def _header(self) -> str:
        text = f"{'num':<4s} " if self.form.line_numbers else ""
        if self.form.verbose:
            pkts, size = (8, 10) if self.form.exact else (5, 5)
            text += f"{'pkts':>{pkts}s} {'bytes':>{size}s} "
        text += f"{'target':<9s}  prot opt"
        if self.form.verbose:
            text += f" {'in':<6s} {'out':<6s} "
        return text + f" {'source':<19s}  {'destination':<19s} "

    def _fragment(self, fragment: bool | None) -> str:
        if fragment is None or self.family is Family.IPV6:
            return "--"
        return "-f" if fragment else "!f"

    def _interface(self, interface: Interface | None) -> str:
        if interface is None:
            return self.names.any_interface
        return ("!" if interface.inverted else "") + interface.name


_ANYWHERE = {
    family: Address(bytes(family.address_bytes), bytes(family.address_bytes)) for family in Family
}


def _rows(chain: Chain, columns: Columns) -> list[str]:
    return [
        columns.count(at, rule.counters.packets, rule.counters.bytes) + columns.rule(rule)
        for at, rule in enumerate(chain.rules, 1)
    ]


def _named(chains: Sequence[Written], name: str) -> Written:
    for each in chains:
        if each.chain.name == name:
            return each
    raise KeyError(name)


def _chain_line(chain: Chain, counters: bool) -> str:
    if chain.policy is None:
        return f"-N {chain.name}"
    count = chain.counters
    tail = f" -c {count.packets} {count.bytes}" if counters else ""
    return f"-P {chain.name} {chain.policy}{tail}"


# A match without a text of its own shows its name, with the blank behind it (print_match).
def _described(rule: Rule, family: Family, names: Names) -> Iterator[str]:
    for match in rule.matches:
        described = match.describe_named(family, names, rule)
        yield f" {described}" if described else f"{match.NAME} "
    if rule.target is not None and not isinstance(rule.target, Verdict | Jump):
        described = rule.target.describe_named(family, names, rule)
        yield f" {described}" if described else ""


# printf counts bytes.
def _padded(text: str, width: int) -> str:
    return text.ljust(width if text.isascii() else width - byte_length(text) + len(text))


def target_name(target: Target | None) -> str:
    """Give what stands in the column of targets: a verdict, a chain, or the kernel's name."""
    if target is None:
        return ""
    if isinstance(target, Jump):
        return target.chain
    if isinstance(target, Verdict):
        return target.name
    return _KERNEL_NAMES.get(target.NAME, target.NAME)
