"""Plots of the results, as SVG that is the same for the same figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results import (
    EMPTY_HOOK,
    EVEN,
    LEGACY,
    NFT,
    NFT_SET,
    OURS,
    WORST,
    Results,
    What,
)

_SIZE = (7.2, 4.2)
#: By what is drawn; whatever else there is comes in matplotlib's own colours.
_COLOURS = {
    OURS: "#c0392b",
    LEGACY: "#2c3e50",
    NFT: "#7f8c8d",
    NFT_SET: "#2980b9",
    EMPTY_HOOK: "#27ae60",
}


def draw(results: Results, directory: Path) -> list[Path]:
    """Write the plots there is something to draw in; gives their paths."""
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9})
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in (
        ("throughput", _throughput(results)),
        ("test-run", _test_run(results)),
        ("load-time", _load(results)),
    ):
        if figure is not None:
            path = directory / f"{name}.svg"
            figure.savefig(path, format="svg", metadata={"Date": None})
            written.append(path)
    return written


def _throughput(results: Results) -> Figure | None:
    if "hosts" not in results.families(What.THROUGHPUT):
        return None
    figure, axes = _axes("Packets a second on one core, distinct hosts, match at the last rule")
    for peer in results.peers(What.THROUGHPUT, "hosts"):
        points = _points(results, What.THROUGHPUT, "hosts", peer, WORST)
        if peer == EMPTY_HOOK and points:
            axes.axhline(points[0][1], color=_COLOURS[peer], linestyle="--", label=peer)
        elif points:
            _line(axes, points, peer)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _finish(figure, axes)


def _test_run(results: Results) -> Figure | None:
    names = [name for name in results.families(What.TEST_RUN) if name]
    if not names:
        return None
    figure, axes = _axes("Nanoseconds a packet, test run, packets drawn evenly over the rules")
    for name in names:
        _line(axes, _points(results, What.TEST_RUN, name, OURS, EVEN), name)
    axes.set_ylim(bottom=0)
    return _finish(figure, axes)


def _load(results: Results) -> Figure | None:
    if "hosts" not in results.families(What.LOAD):
        return None
    figure, axes = _axes("Seconds from text to rules in force, distinct hosts, whole process")
    for peer in results.peers(What.LOAD, "hosts"):
        _line(axes, _points(results, What.LOAD, "hosts", peer), peer)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    return _finish(figure, axes)


def _points(
    results: Results, what: What, family: str, peer: str, packets: str = ""
) -> list[tuple[int, float]]:
    found = (
        (size, results.median(what, family, size, peer, packets))
        for size in results.sizes(what, family)
    )
    return [(size, value) for size, value in found if value is not None]


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("rules")
    axes.grid(visible=True, which="major", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _line(axes: Axes, points: list[tuple[int, float]], label: str) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), marker="o", label=label, color=_COLOURS.get(label))


def _finish(figure: Figure, axes: Axes) -> Figure:
    axes.legend(frameon=False)
    return figure
