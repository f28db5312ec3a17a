"""Colours and axes that all figures share."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

SIGNAL = "#1f6fb4"
NOISE = "#c8553d"
DISTILLED = "#2a8f6d"
REFERENCE = "#777777"


def new_axes(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure of the current backend."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.0, 4.0), layout="constrained")[1]


def standalone(draw: Any, *args: Any, **kwargs: Any) -> Figure:
    """A figure drawn by ``draw(*args, ax=ax)`` outside pyplot, for files: nothing to close.

    Example:
        >>> import ntk_air as na
        >>> figure = na.plots.standalone(na.plots.filters, {"ridge": na.dynamics.ridge(0.1)})
        >>> len(figure.axes)
        1
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=130, layout="constrained")
    draw(*args, ax=figure.add_subplot(), **kwargs)
    return figure


def finish(ax: Axes, *, title: str, xlabel: str, ylabel: str, legend: bool = True) -> Axes:
    """Titles, a light grid and a legend."""
    # A title may hold the name of a data set, in which a dollar is a dollar.
    ax.set_title(title, fontsize=11, parse_math=False)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False, fontsize=9)
    return ax


def legend_beside(ax: Axes, title: str, fontsize: float) -> None:
    """A titled legend to the right of the axes, for many long labels."""
    ax.legend(
        title=title,
        title_fontsize=8,
        alignment="left",
        frameon=False,
        fontsize=fontsize,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
    )


def on_log_time(ax: Axes, times: Any) -> Any:
    """Makes time logarithmic and says which records it can show: all after time 0."""
    shown = np.asarray(times) > 0
    if not shown.any():
        return ~shown
    ax.set_xscale("log")
    span = np.log10(np.asarray(times)[shown])
    if np.floor(span.max()) >= np.ceil(span.min()):  # a power of ten inside, which is labelled
        ax.xaxis.set_minor_formatter(NullFormatter())
    return shown
