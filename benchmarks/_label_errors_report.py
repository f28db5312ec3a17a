"""Tables and figure of the label-error benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ntk_air.dynamics import RULES

_SETS = {
    "ours": "our probabilities",
    "leave_one_out": "leave-one-out softmax",
    "kernel_folds": "same kernel, 5 folds",
    "logistic": "logistic regression, 5 folds",
    "svc": "support vectors, 5 folds",
    "boosting": "gradient boosting, 5 folds",
}
_COLORS = ("#1f6fb4", "#c8553d", "#e0a458", "#b08968", "#b9c2cc", "#7d8f69", "#6d5a7e")
_RULES = tuple(RULES)


def markdown(report: Mapping[str, Any]) -> str:
    """All tables: wrong labels found, hard sets, noise rates and stopping, bounds."""
    groups = _grouped(report["rows"])
    found = {key: rows for key, rows in groups.items() if "detection" in rows[0]}
    parts = [_ranking(found), _hard_sets(found), _noise(groups), _stopping(groups)]
    if report["bounds"]:
        parts.append(_bounds(report["bounds"]))
    return "\n\n".join(parts)


def _grouped(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["noise"]), []).append(row)
    return groups


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _mean(rows: list[dict[str, Any]], value: Callable[[Mapping[str, Any]], float]) -> float:
    return float(np.mean([value(row) for row in rows]))


def best_of_cleanlab(row: Mapping[str, Any], probabilities: str) -> float:
    """The best of its scores, each chosen with the truth in hand: an upper bound for it.

    For our own probabilities both are tried: of the clean class and of the observed one.
    """
    sets = row["detection"]["cleanlab"]
    names = ("ours", "ours_clean") if probabilities == "ours" else (probabilities,)
    return max((max(sets[n]["scores"].values()) for n in names), default=0.0) if sets else np.nan


def _plain_cleanlab(row: Mapping[str, Any], probabilities: str) -> float:
    """Its default score, which comes first."""
    sets = row["detection"]["cleanlab"]
    return next(iter(sets[probabilities]["scores"].values())) if sets else np.nan


def _hard_set(detection: Mapping[str, Any], probabilities: str | None, best: bool) -> Any:
    """Quality of a set of suspected labels: ours, or cleanlab's default or best by F1."""
    if probabilities is None:
        return detection["hard"]
    found = list(detection["cleanlab"][probabilities]["hard"].values())
    return max(found, key=lambda hard: hard["f1"]) if best else found[0]


def _behind(ours: float, others: list[float]) -> str:
    """By how much the best of the others is ahead; empty where none is."""
    lead = max((value for value in others if not np.isnan(value)), default=ours) - ours
    return f"{lead:.4f}" if lead > 0 else ""


def _number(value: float, digits: int = 3) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def _ranking(groups: Mapping[tuple[str, str], list[dict[str, Any]]]) -> str:
    head = ["data", "noise", "wrong", "ours", "margin"]
    head += [f"cleanlab: {title}" for title in _SETS.values()]
    head += ["behind by", "observed accuracy", "refined accuracy"]
    lines = []
    for (dataset, noise), rows in groups.items():
        ours, margin = (_mean(rows, lambda r, k=k: r["detection"][k]) for k in ("ours", "margin"))
        plain = [_mean(rows, lambda r, k=k: _plain_cleanlab(r, k)) for k in _SETS]
        best = [_mean(rows, lambda r, k=k: best_of_cleanlab(r, k)) for k in _SETS]
        cells = [_number(ours, 4), _number(margin, 4)]
        cells += [f"{_number(p, 4)} / {_number(b, 4)}" for p, b in zip(plain, best, strict=True)]
        kind = rows[0]["detection"]["transition"]
        accuracies = [
            _number(_mean(rows, lambda r, k=k: r["detection"][k]))
            for k in ("observed_accuracy", "refined_accuracy")
        ]
        wrong = _number(_mean(rows, lambda r: r["estimate"]["true"]))
        mark = " (T estimated)" if kind == "estimated" else ""
        lines.append([dataset, noise + mark, wrong, *cells, _behind(ours, best), *accuracies])
    title = (
        "Average precision; cleanlab's default score / the best of all its scores, chosen with the "
        "truth in hand."
    )
    return f"{title}\n\n" + _table(head, lines)


def _hard_sets(groups: Mapping[tuple[str, str], list[dict[str, Any]]]) -> str:
    head = ["data", "noise", "ours"]
    head += [f"{name}: {title}" for title in _SETS.values() for name in ("default", "best")]
    head += ["behind by"]
    lines = []
    for (dataset, noise), rows in groups.items():
        cells, f1 = [], []
        for key, best in [(None, False), *((key, best) for key in _SETS for best in (False, True))]:
            if key is not None and not rows[0]["detection"]["cleanlab"]:
                cells.append("–")
                continue
            sets = [_hard_set(row["detection"], key, best) for row in rows]
            parts = [np.mean([s[k] for s in sets]) for k in ("precision", "recall", "f1")]
            f1.append(float(parts[2]))
            cells.append(" / ".join(f"{part:.2f}" for part in parts))
        lines.append([dataset, noise, *cells, _behind(f1[0], f1[1:])])
    title = (
        "Suspected labels: precision / recall / F1; of find_label_issues the default rule and the "
        "best by F1 of all its rules, chosen with the truth in hand. Behind by: in F1."
    )
    return f"{title}\n\n" + _table(head, lines)


def _noise(groups: Mapping[tuple[str, str], list[dict[str, Any]]]) -> str:
    head = ["data", "noise", "true", "likelihood", "confident", "tail", "± s.e.", "upper"]
    head += ["only a bound"]
    keys = ("true", "likelihood", "confident", "tail", "standard_error", "upper")
    lines = []
    for (dataset, noise), rows in groups.items():
        values = [_number(_mean(rows, lambda r, k=k: r["estimate"][k])) for k in keys]
        said = "yes" if all(r["estimate"]["upper_bound"] for r in rows) else "no"
        lines.append([dataset, noise, *values, said])
    return "Noise rate.\n\n" + _table(head, lines)


def _stopping(groups: Mapping[tuple[str, str], list[dict[str, Any]]]) -> str:
    head = ["data", "noise", "best accuracy", "converged", *_RULES]
    lines = []
    for (dataset, noise), rows in groups.items():
        cells = [
            _number(_mean(rows, lambda r, k=k: r["stopping"][k])) for k in ("oracle", "converged")
        ]
        lost = [_mean(rows, lambda r, k=k: r["stopping"]["points_lost"][k]) for k in _RULES]
        lines.append([dataset, noise, *cells, *(_number(v, 2) for v in lost)])
    title = "Stopping: test accuracy at the best time, and points of it that each rule loses."
    return f"{title}\n\n" + _table(head, lines)


def _bounds(bounds: list[dict[str, Any]]) -> str:
    head = ["n", "noise", "true", "likelihood", "confident", "tail", "upper", "only a bound"]
    keys = ("true", "likelihood", "confident", "tail", "upper")
    lines = [
        [
            str(b["num_points"]),
            b["noise"],
            *(_number(b[k]) for k in keys),
            "yes" if b["upper_bound"] else "no",
        ]
        for b in bounds
    ]
    return "CIFAR-10, the bound over the number of points.\n\n" + _table(head, lines)


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Bars of average precision: ours, and the best of cleanlab's scores on each probabilities."""
    groups = {key: rows for key, rows in _grouped(report["rows"]).items() if "detection" in rows[0]}
    if not groups:
        return
    names = ["ours", *(f"cleanlab, {title}" for title in _SETS.values())]
    figure = Figure(figsize=(9.0, 1.6 + 0.75 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.84 / len(names)
    for i, (name, color) in enumerate(zip(names, _COLORS, strict=True)):
        values = [
            _mean(rows, lambda r: r["detection"]["ours"])
            if i == 0
            else _mean(rows, lambda r, i=i: best_of_cleanlab(r, list(_SETS)[i - 1]))
            for rows in groups.values()
        ]
        places = np.arange(len(groups)) + i * height
        axes.barh(places, np.nan_to_num(values), height=height, color=color, label=name)
        if i == 0:
            for place, value in zip(places, values, strict=True):
                axes.text(value + 0.005, place, f"{value:.3f}", va="center", fontsize=7)
    middles = np.arange(len(groups)) + (len(names) - 1) / 2 * height
    axes.set_yticks(middles, [f"{d}, {n}" for d, n in groups], fontsize=9)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.06)
    axes.set_xlabel("average precision of finding the wrong labels")
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
