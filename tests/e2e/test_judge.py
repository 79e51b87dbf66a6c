"""The rules layer against iptables-legacy, which reads the same text.

Each real ruleset is loaded into a network namespace, and what iptables-save,
iptables -S and iptables -nL print is compared to the letter, with counters. Lines that
iptables refuses are left out on both sides: `tests/unit/test_rulesets.py` has them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpfilter.rules import saved
from bpfilter.rules.listing import Form, list_rules, list_table
from bpfilter.rules.model import Family, Ruleset, Table
from bpfilter.rules.saved import format_saved, parse_saved, read_saved
from bpfilter.rules.written import write_table
from tests.harness.legacy import legacy
from tests.harness.netns import Namespace
from tests.unit.rulesets import RealRuleset, rulesets

pytestmark = pytest.mark.e2e

SPELLINGS = {
    Family.IPV4: """\
*filter
:user - [0:0]
[1:2] -A INPUT --sour 10.1.2.3/8 ! --dest 10.1/255.255.0.0 --in-interface eth+ -j user
[123456:9999999] -A INPUT -p 6 --destination-port ssh --tcp-fl ALL SYN
-A FORWARD -s 1.1.1.1,2.2.2.2 ! -f -g user
-I FORWARD 2 -m conntrack --ctstate EST ! --ctorigsrc 10.1/8 --ctexpire 5:
-A OUTPUT -m comment --comment "it's \\"so\\"" -m state ! --state N,I -c 7 8
COMMIT
""",
    Family.IPV6: """\
*filter
:user - [0:0]
[1:2] -A INPUT -s 2001:DB8::1/32 ! -d fe80::1/ffff:: -p icmpv6 -j user
-A FORWARD -s ::1,::2 -p mh -g user
-A OUTPUT -p tcp --syn -m conntrack --ctrepldst 2001:db8::1/64
COMMIT
""",
}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace("judge") as made:
        yield made


class Judge:
    """iptables-legacy of one family in one namespace."""

    def __init__(self, namespace: Namespace, family: Family) -> None:
        self.namespace = namespace
        self.command = family.command

    def load(self, text: str) -> None:
        self.namespace.run(*legacy(f"{self.command}-restore"), "-c", stdin=text)

    def saved(self, table: str) -> str:
        text = self.namespace.run(*legacy(f"{self.command}-save"), "-c", "-t", table)
        return "".join(line for line in text.splitlines(keepends=True) if line[0] != "#")

    def shown(self, table: str, *options: str) -> str:
        return self.namespace.run(*legacy(self.command), "-t", table, *options)


def agree(judge: Judge, table: Table, family: Family) -> None:
    one = Ruleset(family, (table,))
    assert format_saved(one, counters=True) == judge.saved(table.name)
    plain = list_rules(write_table(table, family))
    assert plain == judge.shown(table.name, "-S")
    counted = list_rules(write_table(table, family, counters=True), counters=True)
    assert counted == judge.shown(table.name, "-vS")
    for form, *options in (
        (Form(exact=True), "-nvxL"),
        (Form(), "-nvL"),
        (Form(verbose=False, line_numbers=True), "-nL", "--line-numbers"),
    ):
        assert list_table(table, family, form=form) == judge.shown(table.name, *options)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_rule(number: int, namespace: Namespace) -> None:
    text = SPELLINGS[Family.IPV4]
    judge = Judge(namespace, Family.IPV4)
    judge.load(text)
    (table,) = parse_saved(text, "file", Family.IPV4).tables
    written = write_table(table, Family.IPV4)
    shown = judge.shown("filter", "-S", "INPUT", str(number))
    assert list_rules(written, "INPUT", number) == shown
    form = Form(exact=True, line_numbers=True)
    listed = list_table(table, Family.IPV4, "INPUT", number, form=form)
    assert listed == judge.shown("filter", "-nvxL", "INPUT", str(number), "--line-numbers")


@pytest.mark.parametrize("ruleset", rulesets(), ids=str)
def test_real_ruleset(
    ruleset: object, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(ruleset, RealRuleset)
    monkeypatch.setattr(saved, "MAX_ERRORS", 10_000)
    text = ruleset.path.read_text()
    _, errors = read_saved(text, "file", ruleset.family)
    wrong = {error.span.line for error in errors if error.span is not None}
    kept = [line for at, line in enumerate(text.split("\n"), 1) if at not in wrong]
    if "COMMIT" not in kept:
        kept.append("COMMIT")
    read = parse_saved("\n".join([*kept, ""]), "kept", ruleset.family)
    judge = Judge(namespace, ruleset.family)
    # Spelled anew, as some files have no counters and some negate as iptables once did.
    judge.load(format_saved(read, counters=True))
    for table in read.tables:
        agree(judge, table, ruleset.family)


@pytest.mark.parametrize("family", Family)
def test_spellings(family: Family, namespace: Namespace) -> None:
    text = SPELLINGS[family]
    judge = Judge(namespace, family)
    judge.load(text)
    for table in parse_saved(text, "file", family).tables:
        agree(judge, table, family)
