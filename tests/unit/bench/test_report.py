"""Figures, bars and the document made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import families, plot, report
from bench.bars import Bar, bars
from bench.results import EVEN, OURS, WORST, Figure, Results, What

RATES = {1: 1000e3, 10: 980e3, 100_000: 931e3}


@pytest.fixture
def results() -> Results:
    made = Results({"kernel": "6.18", "processor": "some"})
    for size, rate in RATES.items():
        for packets in (EVEN, WORST):
            for value in (rate * 0.5, rate, rate * 1.01):
                made.add(Figure(What.THROUGHPUT, "hosts", size, OURS, packets, [value]))
    made.add(Figure(What.THROUGHPUT, "hosts", 1, "empty hook", EVEN, [1100e3]))
    made.add(Figure(What.LOAD, "hosts", 100_000, OURS, values=[0.4]))
    made.add(Figure(What.LOAD, "hosts", 100_000, "iptables-nft", values=[0.8]))
    made.add(Figure(What.TEST_RUN, "hosts", 100_000, OURS, EVEN, [120.0, 130.0, 900.0]))
    made.add(Figure(What.TEST_RUN, "", 0, "empty program", EVEN, [35.0]))
    made.add(Figure(What.PEAK, "hosts", 100_000, OURS, values=[123_400_000.0]))
    made.add(Figure(What.THROUGHPUT, "hosts", 1000, "iptables-nft", reason="it is slow"))
    return made


def find(results: Results, what: str) -> Bar:
    (found,) = (bar for bar in bars(results) if bar.what == what)
    return found


def test_values_of_one_thing_come_together(results: Results) -> None:
    figure = results.find(What.THROUGHPUT, "hosts", 10, OURS, EVEN)
    assert figure is not None
    assert len(figure.values) == 3
    assert results.median(What.THROUGHPUT, "hosts", 10, OURS, EVEN) == 980e3
    assert results.median(What.THROUGHPUT, "hosts", 1000, "iptables-nft") is None


def test_figures_survive_their_file(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")
    read = Results.read(tmp_path / "results.json")
    assert list(read) == list(results)
    assert read.machine == results.machine
    assert report.markdown(read) == report.markdown(results)


def test_bars_compare_medians(results: Results) -> None:
    flat = find(results, "hosts: throughput at 100,000 / at 10 rules, even packets")
    assert flat.measured == pytest.approx(0.95)
    assert flat.is_met
    hook = find(results, "hosts: throughput at 1 rule / an empty hook")
    assert hook.measured == pytest.approx(1 / 1.1)
    assert hook.is_met is False
    load = find(results, "hosts: apply 100,000 rules / iptables-nft-restore")
    assert load.measured == pytest.approx(0.5)
    assert load.is_met is False
    assert find(results, "hosts: test run at 100,000 rules, a packet").is_met
    assert find(results, "acl: test run at 100,000 rules, a packet").is_met is None


@pytest.mark.parametrize("name", families.NAMES)
def test_every_family_has_a_bar_for_throughput(name: str) -> None:
    made = Results({})
    for size, rate in ((10, 1000e3), (100_000, 790e3)):
        made.add(Figure(What.THROUGHPUT, name, size, OURS, EVEN, [rate]))
    flat = find(made, f"{name}: throughput at 100,000 / at 10 rules, even packets")
    assert flat.bound == (0.90 if name == "hosts" else 0.80)
    assert flat.is_met is False


def test_the_bar_table_has_what_was_measured(results: Results) -> None:
    table = report.bar_table(bars(results))
    row = "| hosts: throughput at 100,000 / at 10 rules, even packets | ≥ 0.90 | 0.95 | yes |"
    assert row in table
    assert "| hosts: throughput at 1 rule / an empty hook | ≥ 0.95 | 0.91 | **no** |" in table
    assert "| hosts: test run at 100,000 rules, a packet | ≤ 150 ns | 130 ns | yes |" in table
    assert not any("acl" in line for line in table)


def test_tables_have_a_row_for_each_size_and_a_column_for_each_peer(results: Results) -> None:
    text = report.markdown(results)
    assert "| rules | bpfilter | iptables-nft | empty hook |" in text
    assert "| 100,000 | 931 |  |  |" in text
    assert "| 100,000 | 123 |" in text
    assert "The empty program: 35.0." in text
    assert "- iptables-nft, 1,000 rules: it is slow" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00512, "0.00512"), (0.4, "0.400"), (9.99, "9.99"), (35.0, "35.0"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert report.number(value) == text


def test_only_what_is_between_the_marks_is_written(results: Results) -> None:
    document = f"# Title\n\nprose\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nmore prose\n"
    once = report.put_into(document, report.markdown(results))
    assert once.startswith(f"# Title\n\nprose\n\n{report.BEGIN}\n\n")
    assert once.endswith(f"{report.END}\n\nmore prose\n")
    assert "old" not in once
    assert report.put_into(once, report.markdown(results)) == once
    with pytest.raises(ValueError, match="no lines"):
        report.put_into("# Title\n", "new")


def test_plots_are_the_same_for_the_same_figures(results: Results, tmp_path: Path) -> None:
    paths = plot.draw(results, tmp_path / "one")
    again = plot.draw(results, tmp_path / "two")
    assert [path.name for path in paths] == ["throughput.svg", "test-run.svg", "load-time.svg"]
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert "bpfilter" in paths[0].read_text()
