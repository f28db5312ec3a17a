"""A theorem report as a table: every check, required beside measured."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes

from ._style import DISTILLED, NOISE, REFERENCE, new_axes


def theorem_report(report: Any, *, ax: Axes | None = None) -> Axes:
    """Assumptions and conclusions of a `TheoremReport`, one line each.

    Args:
        report: a `TheoremReport`.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.
    """
    ax = new_axes(ax)
    ax.set_axis_off()
    ax.set_title(textwrap.fill(report.name, 70), fontsize=11, loc="left")
    rows = [("assumption", c) for c in report.assumptions]
    rows += [("conclusion", c) for c in report.conclusions]
    columns = ((0.0, "left"), (0.58, "right"), (0.88, "right"))
    step = 1.0 / (len(rows) + 1.5)
    for (x, align), text in zip(columns, ("check", "required", "measured"), strict=True):
        ax.text(x, 1.0, text, ha=align, va="top", fontsize=8, color=REFERENCE)
    for index, (kind, check) in enumerate(rows):
        y = 1.0 - (index + 1.2) * step
        for (x, align), text in zip(
            columns,
            (f"{kind}: {check.name}", _short(check.required), _short(check.measured)),
            strict=True,
        ):
            ax.text(x, y, text, ha=align, va="top", fontsize=8)
        verdict, color = ("holds", DISTILLED) if check.holds else ("fails", NOISE)
        ax.text(1.0, y, verdict, ha="right", va="top", fontsize=8, color=color, weight="bold")
    return ax


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 27 else text[:26] + "…"
