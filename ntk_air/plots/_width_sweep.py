"""Deviation from the closed forms over width, with fitted slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from ._style import DISTILLED, NOISE, REFERENCE, SIGNAL, finish, legend_beside, new_axes

_SERIES = {
    "infinite_test": ("infinite-width NTK, test points", "#8a5fb0", "D"),
    "infinite": ("infinite-width NTK", NOISE, "o"),
    "mean_kernel": ("own NTK, mean over outputs", "#b8860b", "^"),
    "linearised": ("own NTK in full (linearisation)", SIGNAL, "s"),
    "kernel": ("NTK itself, ‖Θ − Θ∞‖/‖Θ∞‖", DISTILLED, "v"),
}


def width_sweep(sweep: Any, *, ax: Axes | None = None) -> Axes:
    """Largest deviation of trained networks from every closed form, over width.

    One point per network, a line per fitted power law, and a line of slope −1/2 for the eye. A
    closed form from which networks do not deviate at all is left out.

    Args:
        sweep: a `WidthSweep`.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> rng = np.random.default_rng(0)
        >>> inputs, observed = rng.normal(size=(6, 3)), rng.choice([-1.0, 1.0], (6, 1))
        >>> sweep = na.analysis.width_sweep(
        ...     inputs, observed, widths=(16, 32), seeds=(0, 1), steps=2)
        >>> na.plots.width_sweep(sweep).get_xscale()
        'log'
    """
    ax = new_axes(ax)
    widths = np.asarray(sweep.widths, float)
    for name, (label, color, marker) in _SERIES.items():
        values = getattr(sweep, name)
        if values is None or not np.isfinite(sweep.slopes[name].slope):
            continue
        fitted = sweep.slopes[name]
        largest = np.asarray(values).reshape(len(widths), len(sweep.seeds), -1).max(axis=2)
        half = (fitted.high - fitted.low) / 2
        ax.plot(widths, fitted(widths), color=color, linewidth=1.6)
        at = np.repeat(widths, largest.shape[1])
        dots: dict[str, Any] = {"linestyle": "none", "markersize": 4.5, "alpha": 0.75}
        slope = f"{fitted.slope:.2f} ± {half:.2f}".replace("-", "−")
        ax.plot(at, largest.ravel(), color=color, marker=marker, label=f"{label}: {slope}", **dots)
    _guide(ax, widths)
    ax.set_xscale("log")
    ax.set_yscale("log")
    # A tick per width, since a decade or two hold few powers of ten.
    ax.xaxis.set_major_locator(FixedLocator(widths.tolist()))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    finish(
        ax,
        title="Finite against infinite width",
        xlabel="width",
        ylabel="largest deviation over training, ‖f − g‖/√n",
        legend=False,
    )
    confidence = next(iter(sweep.slopes.values())).confidence
    legend_beside(ax, f"closed form: slope, {confidence:.0%} interval", 8)
    return ax


def _guide(ax: Axes, widths: np.ndarray) -> None:
    """A dotted line of slope −1/2 a little below everything drawn."""
    lowest = min(float(np.min(line.get_ydata())) for line in ax.lines)
    last = widths.max()
    ax.plot(
        widths,
        0.7 * lowest * (widths / last) ** -0.5,
        color=REFERENCE,
        linestyle=":",
        linewidth=1.4,
        label="slope −1/2",
    )
