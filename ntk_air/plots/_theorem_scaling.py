"""A sweep behind a theorem's exponent, on logarithmic axes."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from ._style import DISTILLED, NOISE, REFERENCE, finish, new_axes


def theorem_scaling(check: Any, *, ax: Axes | None = None) -> Axes:
    """Values over the size varied, a thin line per seed, with the fitted and the predicted law.

    Both laws go through the mean of the values, in logarithms; what is zero or not finite has no
    place on the axes and is left out.

    Args:
        check: a `Check` with a ``scaling``.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if the check is not about an exponent.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> sizes = np.array([[1.0], [10.0]])
        >>> scaling = na.theory.Scaling("error", "width", -1.0, -1.0, sizes, 3 / sizes)
        >>> check = na.theory.Check("rate", "error ~ 1 / width", -1.0, -1.0, True, scaling)
        >>> na.plots.theorem_scaling(check).get_yscale()
        'log'
    """
    scaling = check.scaling
    if scaling is None:
        raise ValueError(f"check {check.name!r} has no sweep to draw, expected a fitted exponent.")
    ax = new_axes(ax)
    sizes, values = np.asarray(scaling.sizes), np.asarray(scaling.values)
    if scaling.correction is not None:
        values = values / np.asarray(scaling.correction)
    shown = np.isfinite(values) & (values > 0) & (sizes > 0)
    color = DISTILLED if check.holds else NOISE
    for seed in range(values.shape[1]):
        rows = shown[:, seed]
        dots: dict[str, Any] = {"markersize": 4, "linewidth": 0.6, "alpha": 0.5}
        ax.plot(sizes[rows, seed], values[rows, seed], "o-", color=color, **dots)
    if shown.any() and np.isfinite(scaling.fitted):
        middle = np.log(sizes[shown]).mean(), np.log(values[shown]).mean()
        ends = np.array([sizes[shown].min(), sizes[shown].max()])

        def line(exponent: float, style: str, name: str, shade: str) -> None:
            heights = np.exp(middle[1] + exponent * (np.log(ends) - middle[0]))
            text = f"{name} {exponent:.3g}".replace("-", "−")
            ax.plot(ends, heights, style, color=shade, linewidth=1.6, label=text)

        line(scaling.fitted, "-", "fitted", color)
        line(scaling.predicted, ":", "predicted", REFERENCE)
    ax.set_xscale("log")
    ax.set_yscale("log")
    _widen(ax, values[shown])
    _ticks(ax, sizes.mean(axis=1))
    return finish(
        ax,
        title=textwrap.fill(check.name, 36),
        xlabel=scaling.size,
        ylabel=textwrap.fill(scaling.quantity.rstrip(","), 34),
        legend=bool(ax.get_legend_handles_labels()[0]),
    )


def _ticks(ax: Axes, sizes: np.ndarray) -> None:
    """Plain numbers: at the sizes if they are few, since a decade or two hold few powers of ten."""
    if 1 < len(sizes) <= 8:
        ax.xaxis.set_major_locator(FixedLocator(sizes.tolist()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.2g}" if value < 1 else f"{value:g}")
        ax.tick_params(axis="x", labelsize=8)
    low, high = ax.get_ylim()
    if high < 100 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        ax.yaxis.set_minor_locator(NullLocator())


def _widen(ax: Axes, values: np.ndarray) -> None:
    """At least a factor of two of height, so that what is constant looks constant."""
    if values.size and values.max() < 2 * values.min():
        middle = np.sqrt(values.max() * values.min())
        ax.set_ylim(middle / 2, middle * 2)
