"""Anisotropic information retrieval over training, with the movement of the kernel."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._retrieval import retrieval
from ._style import DISTILLED, NOISE, REFERENCE, SIGNAL, finish, on_log_time

_TIME = "training time (learning rate × step)"
_SHADES = ("#b9d4ea", "#7fb0d8", "#4a8fc6", SIGNAL, "#0e3f6b")


def air_record(record: Any, *, figure: Figure | None = None) -> np.ndarray:
    """Six panels: what is retrieved and when, in which directions, and how the kernel moves.

    Args:
        record: an `AIRRecord`.
        figure: figure to draw in; default a new one.

    Returns:
        The axes (2, 3): retrieval, index and alignment, movement of the kernel; fraction fitted
        per direction, retrieval summed over directions, supervision complexity.

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> x, y, w = jnp.eye(2), jnp.array([[1.0], [-1.0]]), jnp.zeros((2, 1))
        >>> recorder = na.analysis.Recorder(
        ...     lambda w, x: x @ w, w, x, y, clean=-y, learning_rate=0.5, retention=0.5)
        >>> recorder(1, y)
        >>> len(na.plots.air_record(recorder.result()))
        2
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(14.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 3)
    retrieval(record, ax=axes[0, 0])
    _index(axes[0, 1], record.kernel)
    _movement(axes[0, 2], record.kernel)
    _per_direction(axes[1, 0], record)
    _summed(axes[1, 1], record)
    _complexity(axes[1, 2], record.kernel)
    return axes


def _over_time(
    ax: Axes, times: np.ndarray, values: Any, color: str, label: str, *, style: str = "-"
) -> None:
    """A line after time 0, and the value at time 0 as a tick at the left edge."""
    shown = on_log_time(ax, times)
    values = np.asarray(values)
    line: dict[str, Any] = {"color": color, "linestyle": style, "linewidth": 1.8, "label": label}
    ax.plot(times[shown], values[shown], marker="o", markersize=3.5, **line)
    if values[0] > 0:
        ax.axhline(float(values[0]), color=color, linestyle=":", linewidth=0.9, alpha=0.7)


def _index(ax: Axes, kernel: Any) -> None:
    times = np.asarray(kernel.times)
    _over_time(ax, times, kernel.air_index, DISTILLED, "AIR index")
    _over_time(ax, times, kernel.alignment_clean, SIGNAL, "alignment with clean labels")
    _over_time(ax, times, kernel.alignment_observed, NOISE, "alignment with observed labels")
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), None)
    finish(ax, title="Kernel and labels (dotted: at time 0)", xlabel=_TIME, ylabel="value")


def _movement(ax: Axes, kernel: Any) -> None:
    times = np.asarray(kernel.times)
    if np.any(np.asarray(kernel.distance) > 0):
        ax.set_yscale("log")
    _over_time(ax, times, kernel.distance, REFERENCE, "‖Θ_t − Θ_0‖ / ‖Θ_0‖")
    eps = np.finfo(np.asarray(kernel.subspace_overlap).dtype).eps
    for index, k in enumerate(kernel.overlap_ranks):
        # What is left of 1 below round-off is no movement.
        gap = np.maximum(1.0 - np.asarray(kernel.subspace_overlap)[:, index], eps)
        color = _SHADES[1 + index % (len(_SHADES) - 1)]
        gap[0] = 0.0
        _over_time(ax, times, gap, color, f"1 − overlap of leading {k}", style="--")
    finish(ax, title="Movement of the kernel", xlabel=_TIME, ylabel="distance from initial kernel")
    if ax.get_yscale() == "log":
        # Room for the legend below the curves.
        ax.set_ylim(ax.get_ylim()[0] / 30, None)
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower right")


def _per_direction(ax: Axes, record: Any) -> None:
    """Fraction fitted at a few times, averaged over groups of directions; lines predicted."""
    measured, predicted = record.measured, record.predicted
    times = np.asarray(measured.times)
    rank = measured.per_direction.shape[1]
    edges = np.unique(np.geomspace(1, rank + 1, 25).round().astype(int)) - 1
    centres = np.sqrt((edges[:-1] + 1) * edges[1:])
    after = np.flatnonzero(times > 0)
    chosen = np.zeros(1, int)
    if len(after):
        chosen = after[np.unique(np.linspace(0, len(after) - 1, len(_SHADES)).round().astype(int))]
    for color, t in zip(_SHADES[-len(chosen) :], chosen, strict=True):
        fitted, expected = (
            np.add.reduceat(np.asarray(c.per_direction)[t], edges[:-1]) / np.diff(edges)
            for c in (measured, predicted)
        )
        ax.plot(centres, expected, color=color, linewidth=1.6)
        ax.plot(centres, fitted, color=color, linestyle="none", marker="o", markersize=3.5)
        ax.plot([], [], color=color, marker="o", markersize=3.5, label=f"time {times[t]:.2g}")
    ax.set_xscale("log")
    finish(
        ax,
        title="Fitted per direction (line: predicted)",
        xlabel="eigendirection at initialisation",
        ylabel="fraction of ỹ − f_0 fitted",
    )


def _summed(ax: Axes, record: Any) -> None:
    """Retrieval by the first k directions at the last kernel step, in both eigenbases."""
    kernel = record.kernel
    at = int(np.searchsorted(np.asarray(record.steps), int(kernel.steps[-1])))
    for name, color in (("signal", SIGNAL), ("noise", NOISE)):
        first = np.cumsum(np.asarray(getattr(record, f"{name}_by_direction"))[at])
        current = np.cumsum(np.asarray(getattr(kernel, f"{name}_by_direction"))[-1])
        directions = np.arange(1, len(first) + 1)
        ax.plot(directions, first, color=color, linewidth=2, label=f"{name}, initial basis")
        ax.plot(
            directions,
            current,
            color="black",
            linestyle=(0, (1, 3)),
            linewidth=1.4,
            label=f"{name}, current basis",
        )
    ax.set_xscale("log")
    finish(
        ax,
        title=f"Retrieved by time {float(kernel.times[-1]):.2g} in the first k directions",
        xlabel="k",
        ylabel="fraction retrieved",
    )


def _complexity(ax: Axes, kernel: Any) -> None:
    times = np.asarray(kernel.times)
    known = np.isfinite(np.asarray(kernel.complexity_clean))
    for name, color in (("clean", SIGNAL), ("observed", NOISE), ("outputs", DISTILLED)):
        values = np.asarray(getattr(kernel, f"complexity_{name}"))
        label = {"outputs": "current outputs"}.get(name, f"{name} labels")
        if known.any():
            _over_time(ax, times, values, color, label)
    if kernel.complexity_missing:
        said = textwrap.fill(kernel.complexity_missing, 44)
        ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center", va="center", fontsize=9)
    if known.any():
        ax.set_ylim(0.0, None)
    finish(
        ax,
        title="Supervision complexity (dotted: at time 0)",
        xlabel=_TIME,
        ylabel="sqrt(yᵀΘ⁻¹y · tr Θ) / n",
        legend=bool(known.any()),
    )
