"""What is called on which tables, and how figures of calls are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import calls, report
from bench.bars import bars
from bench.commands import Commands
from bench.peers import IptablesPeer, OurPeer
from bench.results import CALLS, LEGACY, NFT, OURS, Figure, Results, What
from bpfilter import Family, parse_saved
from bpfilter.rules.saved import format_saved

COMMANDS = Commands(Path("/bench/bin"), {})


@pytest.fixture
def results() -> Results:
    made = Results({"kernel": "6.18"})
    for number, what in enumerate(CALLS):
        for peer, seconds in ((NFT, 0.004), (OURS, 0.1), (LEGACY, 0.002)):
            for part in (0.5, 1, 10):
                value = (seconds + number * 0.01) * part
                made.add(Figure(what, "acl", 10_000, peer, values=[value]))
    made.add(Figure(What.APPEND, calls.SERVER, 5, OURS, values=[0.07]))
    made.add(Figure(What.APPEND, calls.SERVER, 5, NFT, reason="no such program"))
    return made


@pytest.mark.parametrize(("name", "size"), [(calls.SERVER, 5), ("hosts", 100), ("acl", 100)])
def test_tables_are_as_iptables_save_writes_them(name: str, size: int) -> None:
    table = calls.make_table(name, size, 1)
    ruleset = parse_saved(table.text, name, Family.IPV4)
    written = format_saved(ruleset, counters=False).splitlines()
    assert [line for line in written if line[0] != "#"] == table.text.splitlines()
    assert table.rules == table.size == size == sum(1 for _ in ruleset.rules())
    assert f"\n-A {table.chain} " in table.text


def test_every_round_has_a_rule_of_its_own() -> None:
    assert len({calls.new_rule(number) for number in range(1000)}) == 1000
    assert calls.new_rule(258) == "-s 198.19.1.2/32 -p udp -m udp --dport 9 -j DROP"


def test_peers_are_called_alike() -> None:
    table = calls.make_table(calls.SERVER, 5, 1)
    peers = (OurPeer(COMMANDS), IptablesPeer(COMMANDS, LEGACY, 10))
    ours, theirs = (
        [calls.words_of(what, peer.iptables, table, 7) for what in CALLS] for peer in peers
    )
    assert [words[0] for words in ours] == [*["/bench/bin/iptables-bpf"] * 5, f"{ours[0][0]}-save"]
    assert [words[0] for words in theirs] == [*["iptables-legacy"] * 5, "iptables-legacy-save"]
    assert [words[1:] for words in ours] == [words[1:] for words in theirs]
    assert ours[1][1:] == ["-D", "INPUT", *calls.new_rule(7).split()]
    assert [words[1:] for words in ours[3:]] == [["-S"], ["-L", "-n", "-v"], []]


def test_bars_of_calls_are_limits_in_milliseconds(results: Results) -> None:
    rows = report.bar_table(bars(results))
    assert rows[2:] == [
        "| acl: iptables-bpf -A, 10,000 rules | ≤ 150 ms | 100 ms | yes |",
        "| acl: iptables-bpf -S, 10,000 rules | ≤ 250 ms | 130 ms | yes |",
        "| acl: iptables-bpf -L -n -v, 10,000 rules | ≤ 250 ms | 140 ms | yes |",
    ]


@pytest.mark.parametrize("family", ["hosts", "acl"])
def test_a_rule_more_of_few_has_a_bar(family: str) -> None:
    made = Results({})
    made.add(Figure(What.APPEND, family, 100, OURS, values=[0.081]))
    (row,) = report.bar_table(bars(made))[2:]
    assert row == f"| {family}: iptables-bpf -A, 100 rules | ≤ 80.0 ms | 81.0 ms | **no** |"


def test_a_table_has_a_row_for_each_command(results: Results) -> None:
    text = report.markdown(results)
    assert "### One command, the whole process: acl, 10,000 rules\n\nIn milliseconds.\n" in text
    assert "| command | bpfilter | iptables-legacy | iptables-nft |" in text
    assert "| `iptables -A` | 100 | 2.00 | 4.00 |" in text
    assert "| `iptables-save` | 150 | 52.0 | 54.0 |" in text
    assert "| `iptables -A` | 70.0 |  |" in text
    assert "- iptables-nft, 5 rules: no such program" in text


def test_figures_of_calls_survive_their_file(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")
    read = Results.read(tmp_path / "results.json")
    assert list(read) == list(results)
    assert report.markdown(read) == report.markdown(results)


def test_figures_from_before_there_were_calls_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    figure = {
        "what": "change of one rule",
        "family": "hosts",
        "size": 1000,
        "peer": "bpfilter",
        "packets": "",
        "values": [0.08],
        "reason": "",
    }
    path.write_text(json.dumps({"machine": {"kernel": "6.1"}, "figures": [figure]}))
    text = report.markdown(Results.read(path))
    assert "| 1,000 | 0.0800 |" in text
    assert "One command" not in text
