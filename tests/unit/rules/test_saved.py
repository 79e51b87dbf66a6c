"""iptables-save text: its lines, its faults, and that no input takes long or ends badly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter.errors import RuleError, RuleSyntaxError, SourceError
from bpfilter.rules.model import Counters, Family, Jump
from bpfilter.rules.saved import MAX_ERRORS, MAX_LINE_BYTES, format_saved, parse_saved, read_saved

V4 = Family.IPV4


def filter_table(*lines: str) -> str:
    return "\n".join(("*filter", *lines, "COMMIT", ""))


def fault(text: str | bytes) -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse_saved(text, "file", V4)
    return caught.value


def test_tables_chains_policies_and_counters() -> None:
    ruleset = parse_saved(
        "# a comment\n"
        "\n"
        "*nat ignored words\n"
        "COMMIT\n"
        "*filter\n"
        ":INPUT DROP [1:2]\n"
        ":b - [3:4]\n"
        ":B\t-\n"
        ":OUTPUT ACCEPT\n"
        "[5:6] -A INPUT -j b\n"
        "-A b\n"
        "# inside\n"
        "\n"
        "COMMIT\n",
        "file",
        V4,
    )
    assert [table.name for table in ruleset.tables] == ["nat", "filter"]
    table = ruleset.table("filter")
    assert table is not None
    assert [chain.name for chain in table.chains] == ["INPUT", "FORWARD", "OUTPUT", "B", "b"]
    assert table.chain("INPUT").policy == "DROP"
    assert table.chain("INPUT").counters == Counters(1, 2)
    assert table.chain("FORWARD").policy == "ACCEPT"
    assert table.chain("b").policy is None
    rule = table.chain("INPUT").rules[0]
    assert rule.counters == Counters(5, 6)
    assert rule.target == Jump("b")
    assert str(rule.span) == "file:10:1"
    assert format_saved(ruleset) == (
        "*nat\n"
        ":PREROUTING ACCEPT [0:0]\n"
        ":INPUT ACCEPT [0:0]\n"
        ":OUTPUT ACCEPT [0:0]\n"
        ":POSTROUTING ACCEPT [0:0]\n"
        "COMMIT\n"
        "*filter\n"
        ":INPUT DROP [1:2]\n"
        ":FORWARD ACCEPT [0:0]\n"
        ":OUTPUT ACCEPT [0:0]\n"
        ":B - [0:0]\n"
        ":b - [0:0]\n"
        "-A INPUT -j b\n"
        "-A b\n"
        "COMMIT\n"
    )
    assert "\n[5:6] -A INPUT -j b\n[0:0] -A b\n" in format_saved(ruleset, counters=True)


def test_a_second_table_of_the_name_replaces_the_first() -> None:
    text = filter_table("-A INPUT -j DROP") + filter_table("-A INPUT -j ACCEPT")
    assert format_saved(parse_saved(text, "file", V4)).count("-A") == 1


def test_last_line_needs_no_newline() -> None:
    assert parse_saved(filter_table("-A INPUT").rstrip("\n"), "file", V4).tables


def test_commands_other_than_append() -> None:
    table = parse_saved(
        filter_table("-N new", "-A INPUT -j new", "-I INPUT -j DROP", "-P FORWARD DROP"), "f", V4
    ).table("filter")
    assert table is not None
    assert len(table.chain("INPUT").rules) == 2
    assert table.chain("FORWARD").policy == "DROP"


# (text, message, line:column)
@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("-A INPUT\n", "no table is open here", "1:1"),
        ("COMMIT\n", "no table is open here", "1:1"),
        ("*\n", "table name invalid", "1:1"),
        ("*nosuch\n-A x\nCOMMIT\n", "unable to initialize table 'nosuch'", "1:2"),
        ("*filter\r\nCOMMIT\r\n", "DOS line ends", "1:2"),
        ("*filter\n", "COMMIT expected at line 2", "2:1"),
        ("*filter", "COMMIT expected at line 2", "2:1"),
        ("*filter\n*nat\nCOMMIT\n", "Bad argument `*nat'", "2:1"),
        ("*filter\nCOMMIT \n", "Bad argument `COMMIT' (blanks around COMMIT", "2:1"),
        ("*filter\n  \nCOMMIT\n", "no command specified", "2:1"),
        ("*filter\n # x\nCOMMIT\n", "Bad argument `#'", "2:2"),
        ("*filter\n:\nCOMMIT\n", "chain name invalid", "2:1"),
        ("*filter\n:INPUT\nCOMMIT\n", "policy invalid", "2:1"),
        ("*filter\n:INPUT ACCEPT x\nCOMMIT\n", "invalid policy counters for chain 'INPUT'", "2:1"),
        ("*filter\n:INPUT REJECT\nCOMMIT\n", "Can't set policy `REJECT' on `INPUT'", "2:1"),
        ("*filter\n:x DROP [0:0]\nCOMMIT\n", "Can't set policy `DROP' on `x'", "2:1"),
        ("*filter\n:x -\n:x -\nCOMMIT\n", "Chain already exists", "3:1"),
        ("*filter\n:DROP -\nCOMMIT\n", "Chain already exists", "2:1"),
        (f"*filter\n:{'x' * 29} -\nCOMMIT\n", "28 chars max", "2:1"),
        ("*filter\n[1 -A INPUT\nCOMMIT\n", "Bad line 2: need ]", "2:1"),
        ("*filter\n[1] -A INPUT\nCOMMIT\n", "Bad line 2: need :", "2:1"),
        ("*filter\n-A nosuch\nCOMMIT\n", "No chain/target/match by that name: `nosuch'", "2:1"),
        ("*filter\n-A INPUT -j later\n:later -\nCOMMIT\n", "Couldn't load target `later'", "2:13"),
        ("*filter\n-A INPUT -j FORWARD\nCOMMIT\n", "`FORWARD' is a built-in chain", "2:1"),
        ("*filter\n[1:2] -A INPUT -x\nCOMMIT\n", "Illegal option", "2:16"),
        ("*filter\n[1:2] -A INPUT -c 1 2\nCOMMIT\n", "multiple --set-counters options", "2:16"),
        ("*filter\n-L\nCOMMIT\n", "-L cannot be used in a ruleset", "2:1"),
        ('*filter\n-A INPUT -m comment --comment "\nCOMMIT\n', "never closed", "2:31"),
        ("*filter\n-A INPUT \0\nCOMMIT\n", "this is not text", "2:10"),
        ("*filter\n-A INPUT \ud800\nCOMMIT\n", "this is not text", "2:10"),
        (b"*filter\n-A INPUT -i \xff\xfe \x01\nCOMMIT\n", "Bad argument", "2:16"),
        (b"\x7fELF\x02\x01\x01\0\0", "this is not text", "1:8"),
        ("x" * (MAX_LINE_BYTES + 1), "a line may have 10238 bytes", "1:1"),
        ("#" * (MAX_LINE_BYTES + 1), "a line may have 10238 bytes", "1:1"),
    ],
)
def test_faults(text: str | bytes, message: str, place: str) -> None:
    error = fault(text)
    assert message in str(error)
    assert str(error.span) == f"file:{place}"
    assert "\n" not in str(error)


def test_loops_are_refused_where_a_hook_reaches_them() -> None:
    lines = (":a -", ":b -", "-A a -j b", "-A b -g a")
    parse_saved(filter_table(*lines), "file", V4)
    error = fault(filter_table(*lines, "-A INPUT -j a"))
    assert isinstance(error, RuleError)
    assert "this jump makes a loop: a → b → a" in str(error)
    assert str(error.span) == "file:5:1"


def test_faults_are_collected() -> None:
    text = filter_table("-A INPUT -x", "-A INPUT -j ACCEPT", "-A nosuch", "-A INPUT -s x")
    ruleset, errors = read_saved(text, "file", V4)
    assert [error.span.line for error in errors if error.span] == [2, 4, 5]
    assert len(list(ruleset.rules())) == 1
    assert len(fault(text).__notes__) == 2


def test_many_faults_end_the_reading() -> None:
    text = filter_table(*["-A INPUT -x"] * 10_000)
    assert len(read_saved(text, "file", V4)[1]) == MAX_ERRORS


def test_bytes_that_are_not_utf8_are_kept() -> None:
    data = b'*filter\n-A INPUT -m comment --comment "caf\xe9"\nCOMMIT\n'
    saved = format_saved(parse_saved(data, "file", V4))
    assert b'--comment "caf\xe9"' in saved.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 10_000_000, id="one long line"),
        pytest.param("*filter\n-A INPUT -s " + "1.1.1.1," * 1_250_000, id="a long rule"),
        pytest.param("\0" * 10_000_000, id="zeros"),
        pytest.param(b"\xff" * 10_000_000, id="not UTF-8"),
        pytest.param("\n" * 1_000_000, id="empty lines"),
        pytest.param('"' * 10_000_000, id="quotes"),
        pytest.param("*filter\n" + "-A INPUT ! ! \n" * 100_000, id="a fault on each line"),
        pytest.param(
            filter_table(*(f":c{i} -" for i in range(10_000)), "-A INPUT -j c0",
                *(f"-A c{i} -j c{i + 1}" for i in range(9_999))),
            id="ten thousand chains deep",
        ),
    ],
)  # fmt: skip
def test_nothing_takes_long(text: str | bytes) -> None:
    start = time.process_time()
    _, errors = read_saved(text, "file", V4)
    assert time.process_time() - start < 5
    assert all(len(str(error)) < 1000 for error in errors)


LINES = st.sampled_from(
    ["*filter", "*nat", "COMMIT", ":INPUT DROP [0:0]", ":x - [0:0]", "-A INPUT -j x",
     "-A x -g x", "[1:2] -A OUTPUT -p tcp --dport 5", "-N y", "-X x",
     "-F", "-D INPUT 1", "-E x y", "-Z", "#", ""]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES | st.text(max_size=30), max_size=15))
def test_any_text_is_read_or_refused(lines: list[str]) -> None:
    ruleset, errors = read_saved("\n".join(lines), "file", V4)
    assert all(error.span is not None and error.span.caret() for error in errors)
    if not errors:
        text = format_saved(ruleset, counters=True)
        again = parse_saved(text, "again", V4)
        assert again == ruleset
        assert format_saved(again, counters=True) == text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _, errors = read_saved(b"*filter\n" + data + b"\nCOMMIT\n", "file", V4)
    assert all(isinstance(error, RuleSyntaxError | RuleError) and error.span for error in errors)


def test_policies_that_are_not_declared_are_told() -> None:
    def declared(*lines: str) -> dict[str, tuple[str | None, bool]]:
        table = parse_saved("".join(f"{line}\n" for line in lines), "file", V4).table("filter")
        assert table is not None
        return {chain.name: (chain.policy, chain.declared) for chain in table.chains}

    assert declared(
        "*filter", ":INPUT DROP", ":OUTPUT -", ":own -", "-P FORWARD DROP", "COMMIT"
    ) == {
        "INPUT": ("DROP", True),
        "FORWARD": ("DROP", True),
        "OUTPUT": ("ACCEPT", False),  # iptables-restore sets no policy `-`
        "own": (None, True),
    }
    # A second table flushes the first, and leaves its policies as they are.
    first = "*filter", ":INPUT DROP [7:8]", ":OUTPUT DROP", "-A INPUT", "COMMIT"
    assert declared(*first, "*filter", ":OUTPUT ACCEPT", "COMMIT") == {
        "INPUT": ("DROP", True),
        "FORWARD": ("ACCEPT", False),
        "OUTPUT": ("ACCEPT", True),
    }
