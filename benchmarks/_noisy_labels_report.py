"""Tables, numbers and figure of the noisy-label benchmark, from its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import _noisy_labels_published as published
from benchmarks import _report

Cell = Mapping[str, Any]
_HEAD = (
    "method",
    "best",
    "last",
    "at stopping",
    "best − last",
    "ℓ2 best",
    "ℓ2 last",
    "ℓ2 at stopping",
)
_BEST, _LAST, _STOPPED = "#777777", "#2a8f6d", "#c8553d"


def write(cells: Sequence[Cell], out: Path) -> None:
    """Writes noisy-labels.json, .md and .png; the histories stay in the cells' own files."""
    rows = [{k: v for k, v in cell.items() if k != "history"} for cell in cells]
    _report.write_json(out / "noisy-labels.json", {"rows": rows})
    (out / "noisy-labels.md").write_text(markdown(cells) + "\n", encoding="utf-8")
    draw(cells, out / "noisy-labels.png")


def markdown(cells: Sequence[Cell]) -> str:
    """One table for each noise, and what differs from the published runs."""
    parts = []
    for noise, rows in _by_noise(cells).items():
        theirs = [_published(cell) for cell in rows]
        head = _HEAD if set(theirs) == {"–"} else (*_HEAD, "published")
        lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        for cell, beside in zip(rows, theirs, strict=True):
            lines.append("| " + " | ".join([*_line(cell), beside][: len(head)]) + " |")
        parts.append(f"{_title(noise, rows)}\n\n" + "\n".join(lines))
    parts.append(published.differences(cells))
    return "\n\n".join(parts)


def _by_noise(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell["settings"]["noise"], []).append(cell)
    return groups


def _title(noise: str, rows: Sequence[Cell]) -> str:
    cell = max(rows, key=lambda row: row["settings"]["seeds"])
    settings = cell["settings"]
    many, few = settings["seeds"], min(row["settings"]["seeds"] for row in rows)
    seeds = f"{few} to {many} seeds" if few < many else f"{many} seed{'s' * (many > 1)}"
    return (
        f"{settings['dataset']}, {noise}: {cell['noise_rate']:.1%} of {cell['num_points']} labels "
        f"wrong; {settings['network']}, {settings['epochs']} epochs, {seeds} from "
        f"{settings['seed']}; % on {cell['num_test_points']} {_judged_on(settings)}, mean ± sd"
        f"{' (rows without it: one seed)' * (few == 1 < many)}."
    )


def _judged_on(settings: Mapping[str, Any]) -> str:
    """Which points, in words; cells from before there was a choice have the whole training set."""
    if settings.get("purpose") == "selection":
        return "selection points"
    return "test points" + ("" if settings.get("purpose") else " (none kept for selection)")


def _published(cell: Cell) -> str:
    settings = cell["settings"]
    return published.accuracy(settings["dataset"], settings["noise"], settings["method"])


def _line(cell: Cell) -> list[str]:
    method = cell["settings"]["method"]
    if "diverged" in cell:
        return [method, "diverged", *["–"] * (len(_HEAD) - 2)]
    accuracy = [cell[key]["test_accuracy"] for key in ("best", "final", "stopped")]
    distance = [cell[key]["l2_to_clean"] for key in ("best", "final", "stopped")]
    return [
        method,
        *(_spread(values, 100, 2) for values in accuracy),
        _spread(_gap(accuracy), 100, 2),
        *(_spread(values, 1, 3) for values in distance),
    ]


def _gap(accuracy: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    best, last, *_ = (values["mean"] for values in accuracy)
    return {"mean": None if best is None or last is None else best - last, "sd": None}


def _spread(values: Mapping[str, Any], factor: float, digits: int) -> str:
    if values["mean"] is None:
        return "–"
    text = f"{factor * values['mean']:.{digits}f}"
    return text if values["sd"] is None else f"{text} ± {factor * values['sd']:.{digits}f}"


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Best and last accuracy of every method, one panel for each noise."""
    groups = {
        noise: [cell for cell in rows if "diverged" not in cell]
        for noise, rows in _by_noise(cells).items()
    }
    groups = {noise: rows for noise, rows in groups.items() if rows}
    if not groups:
        return
    most = max(len(rows) for rows in groups.values())
    columns = min(len(groups), 2)
    deep = -(-len(groups) // columns)
    figure = Figure(figsize=(1.0 + 6.0 * columns, deep * (1.3 + 0.36 * most)), layout="constrained")
    for index, (noise, rows) in enumerate(groups.items()):
        axes = figure.add_subplot(deep, columns, index + 1)
        _panel(axes, rows)
        axes.set_title(f"{rows[0]['settings']['dataset']}, {noise}", fontsize=11)
        if index == 0:
            handles, names = axes.get_legend_handles_labels()
            figure.legend(
                handles, names, loc="outside lower center", ncols=3, fontsize=8, frameon=False
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _panel(axes: Any, rows: Sequence[Cell]) -> None:
    places = np.arange(len(rows))
    kinds = (
        ("best", "o", _BEST, "best epoch (needs clean labels)"),
        ("final", "s", _LAST, "last epoch"),
        ("stopped", "D", _STOPPED, "stopped by held-out noisy labels"),
    )
    means, spreads = (
        {
            key: np.array([100 * (row[key]["test_accuracy"][name] or 0.0) for row in rows])
            for key, *_ in kinds
        }
        for name in ("mean", "sd")
    )
    axes.hlines(places, means["final"], means["best"], color="#d5dae0", linewidth=4, zorder=1)
    for shift, (key, marker, color, name) in zip((-0.14, 0.0, 0.14), kinds, strict=True):
        axes.errorbar(means[key], places + shift, xerr=spreads[key], fmt=marker, color=color,
                      markersize=5, elinewidth=1, capsize=2, label=name)  # fmt: skip
    axes.set_yticks(places, [row["settings"]["method"] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.06)
    axes.set_xlabel("test accuracy, %")
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
