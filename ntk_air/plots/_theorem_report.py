"""A theorem report: every check, required beside measured, and what its sweeps look like."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._history import history
from ._style import DISTILLED, NOISE, REFERENCE, new_axes
from ._theorem_scaling import theorem_scaling

_NAME, _VALUE = 62, 30  # characters that fit the columns of `theorem_figure`
_LINE = 0.19  # inches


def theorem_report(report: Any, *, ax: Axes | None = None) -> Axes:
    """Assumptions and conclusions of a `TheoremReport`, one line each.

    Args:
        report: a `TheoremReport`.
        ax: axes to draw on; default new ones, of a height that fits the lines.

    Returns:
        The axes.

    Example:
        >>> import ntk_air as na
        >>> check = na.theory.Check(name="small", statement="x <= 1", required=1,
        ...                         measured=2, holds=False)
        >>> report = na.theory.TheoremReport("T", "a paper", (), (check,), {}, {})
        >>> [text.get_text() for text in na.plots.theorem_report(report).texts][:3]
        ['check', 'required', 'measured']
    """
    rows = _rows(report)
    ax = new_axes(ax)
    ax.set_axis_off()
    title = textwrap.fill(f"{report.name}: {report.verdict}", 90)
    ax.set_title(title, fontsize=11, loc="left", parse_math=False)
    # Right edges of the columns, all in parts of the width: names, required, measured, verdict.
    columns = ((0.0, "left"), (0.70, "right"), (0.93, "right"), (1.0, "right"))
    height = 1.0 / (1 + sum(lines for _, lines, _ in rows))
    y = 1.0
    for texts, lines, color in [(("check", "required", "measured", ""), 1, REFERENCE), *rows]:
        for index, ((x, align), text) in enumerate(zip(columns, texts, strict=True)):
            last = index == len(columns) - 1
            shade = color if last or color == REFERENCE else "black"
            ax.text(
                x, y, text, ha=align, va="top", fontsize=8, color=shade,
                weight="bold" if last else "normal", parse_math=False,
            )  # fmt: skip
        y -= lines * height
    return ax


def theorem_figure(report: Any) -> Figure:
    """The table of a `TheoremReport`, its sweeps, and the l2 distance of the runs it kept.

    Args:
        report: a `TheoremReport`.

    Returns:
        A figure outside pyplot, for files: nothing to close.

    Example:
        >>> import ntk_air as na
        >>> check = na.theory.Check(name="small", statement="x <= 1", required=1,
        ...                         measured=2, holds=False)
        >>> report = na.theory.TheoremReport("T", "a paper", (), (check,), {}, {})
        >>> len(na.plots.theorem_figure(report).axes)
        1
    """
    draws: list[Any] = [
        lambda ax, check=check: theorem_scaling(check, ax=ax)
        for check in report.conclusions
        if check.scaling is not None
    ]
    if report.histories:
        draws.append(lambda ax: _histories(report.histories, ax))
    lines = 3 + sum(lines for _, lines, _ in _rows(report))
    columns = min(max(len(draws), 1), 3)
    rows = math.ceil(len(draws) / columns)
    heights = [_LINE * lines, *[3.0] * rows]
    figure = Figure(figsize=(10.5, sum(heights)), dpi=130, layout="constrained")
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=heights)
    theorem_report(report, ax=figure.add_subplot(grid[0, :]))
    for index, draw in enumerate(draws):
        draw(figure.add_subplot(grid[1 + index // columns, index % columns]))
    return figure


def _rows(report: Any) -> list[tuple[tuple[str, str, str, str], int, str]]:
    """Texts of the columns, how many lines they take, and the colour of the verdict."""
    rows = []
    for kind, checks in (("assumes", report.assumptions), ("concludes", report.conclusions)):
        for check in checks:
            texts = [
                textwrap.fill(_text(value), width)
                for value, width in (
                    (f"{kind}: {check.name}", _NAME),
                    (check.required, _VALUE),
                    (check.measured, _VALUE),
                )
            ]
            verdict, color = ("holds", DISTILLED) if check.holds else ("FAILS", NOISE)
            lines = max(text.count("\n") + 1 for text in texts)
            rows.append(((*texts, verdict), lines, color))
    return rows


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _histories(histories: dict[str, Any], ax: Axes) -> None:
    """l2 distance of the runs of the first seed, named without it."""
    first = next(iter(histories)).rpartition(", seed ")[2]
    of_seed = {
        name.removesuffix(f", seed {first}"): one
        for name, one in histories.items()
        if name.endswith(f", seed {first}")
    }
    history(of_seed or histories, field="l2_to_clean", ax=ax)
    ax.set_yscale("log")
    ax.set_title(f"training, seed {first}" if of_seed else "training", fontsize=11)
