"""Draws a report of ``benchmarks.kernels``: ``python -m benchmarks.plot report.json out.png``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

_OURS, _PEER, _BOUND = "#1f5fa8", "#b9c2cc", "#e0a458"
_ROOM_FOR_LABELS = 2.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("report", type=Path, help="JSON file written by benchmarks.kernels --out")
    parser.add_argument("out", type=Path, help="image to write")
    options = parser.parse_args(arguments)
    report = json.loads(options.report.read_text(encoding="utf-8"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw(report).savefig(options.out, dpi=150, bbox_inches="tight")
    return 0


def draw(report: Mapping[str, Any]) -> Figure:
    """One bar for every contestant, as long as its time over ours; a group for every case."""
    bars = sum(len(case["contestants"]) for case in report["cases"])
    height = 1.4 + 0.27 * bars + 0.5 * len(report["cases"])
    figure = Figure(figsize=(10.0, height), layout="constrained")
    axes = figure.add_subplot()
    position, ticks, names = 0.0, [], []
    for case in report["cases"]:
        axes.text(
            0.0,
            position,
            _title(case),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            fontweight="bold",
            # Readable where the line at 1 passes behind it.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
        for i, (name, record) in enumerate(case["contestants"].items()):
            position += 1.0
            ticks.append(position)
            names.append(name)
            _bar(axes, position, case["ratios"][name], record, first=i == 0)
        position += 1.6
    axes.set_yticks(ticks, names, fontsize=8)
    axes.set_ylim(position - 0.8, -0.8)
    _decorate(axes, report)
    return figure


def _title(case: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{key}={value}" for key, value in case["sizes"].items())
    return f"{case['name']}  ({sizes})"


def _bar(
    axes: Axes, position: float, ratio: float, record: Mapping[str, Any], *, first: bool
) -> None:
    # What computes something else than the others has no deviation from ours.
    color = _OURS if first else _PEER if "deviation" in record else _BOUND
    # From 1, so that what is faster than ours points to the left; ours is a mark on the line.
    if first:
        axes.plot([1.0], [position], "o", color=color, markersize=6, zorder=3)
    else:
        axes.barh(position, ratio - 1.0, left=1.0, color=color, height=0.75)
    if "ns_per_entry" in record:
        cost = f"{record['ns_per_entry']:.3g} ns/entry"
    else:
        cost = f"{record['median_s']:.3g} s"
    label = cost if first else f"{ratio:.3g}×   {cost}"
    axes.annotate(
        label,
        (max(ratio, 1.0), position),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _decorate(axes: Axes, report: Mapping[str, Any]) -> None:
    ratios = [ratio for case in report["cases"] for ratio in case["ratios"].values()]
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, min(ratios) / 1.3), max(ratios) ** 1.2 * _ROOM_FOR_LABELS)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1.0, color=_OURS, linewidth=1.2)
    axes.grid(axis="x", color="#e6e6e6", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time over that of ntk_air (log scale); orange: a bound on the speed")
    environment = report["environment"]
    axes.set_title(
        f"{environment['processor']}, {environment['cpu_count']} cores, "
        f"device {environment['device_kind']}; JAX {environment['packages']['jax']}; "
        f"{environment['date']}",
        fontsize=9,
        loc="left",
    )


if __name__ == "__main__":
    sys.exit(main())
