"""Where distillation is early stopping, and where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import REFERENCE, finish, legend_beside, new_axes

_COLORS = (
    "#1f6fb4", "#c8553d", "#2a8f6d", "#8a5fb0", "#b8860b", "#3aa6b9",
    "#d0679d", "#5b6770", "#7a9a01", "#00539b", "#8c4a2f", "#111111",
)  # fmt: skip
_MARKERS = "osD^vP<X>*hd"
_CLOSE = 0.05
_FITTED = 0.05


def equivalent_time(table: Any, *, close: float = _CLOSE, ax: Axes | None = None) -> Axes:
    """Distance of every distillation scheme from the early stopping that is nearest to it.

    Below the line a scheme is early stopping up to a fraction ``close`` of its outputs; where a
    curve rises above it, the scheme does something that no stopping time does. The legend gives
    each scheme's largest distance. Settings that fit less than 5 % of the labels are left out.

    Args:
        table: an `EquivalenceTable`.
        close: relative distance up to which a scheme counts as early stopping; the line.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> schemes = {"ridge": [na.dynamics.ridge(0.5), na.dynamics.ridge(1.0)]}
        >>> table = na.dynamics.equivalence_table(es, np.ones((2, 1)), schemes)
        >>> na.plots.equivalent_time(table).get_xscale()
        'log'
    """
    ax = new_axes(ax)
    times = np.asarray(table.equivalent.time, float)
    distances = np.asarray(table.equivalent.relative, float)
    # A scheme that fits next to nothing is far from every stopping time, and of no interest.
    shown = np.isfinite(times) & (times > 0) & (np.asarray(table.equivalent.fitted) >= _FITTED)
    # What is early stopping up to round-off lies on the floor, drawn as a floor.
    floor = 1e-4
    for index, name in enumerate(table.names):
        at, height = times[index][shown[index]], distances[index][shown[index]]
        marker = _MARKERS[index % len(_MARKERS)]
        label = f"{name}: {height.max(initial=0.0):.0%}"
        order = np.argsort(at)
        ax.plot(
            at[order],
            np.maximum(height, floor)[order],
            color=_COLORS[index % len(_COLORS)],
            marker=marker,
            markersize=3.5,
            markevery=max(1, len(at) // 8),
            linewidth=1.6,
            label=label,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(floor * 0.8, 1.0)
    ax.axhline(close, color=REFERENCE, linestyle="--", linewidth=1)
    ax.axhspan(floor * 0.8, close, color=REFERENCE, alpha=0.07, linewidth=0)
    ax.text(
        0.02,
        0.08,
        f"early stopping within {close:.0%}",
        transform=ax.transAxes,
        fontsize=8,
        color=REFERENCE,
    )
    finish(
        ax,
        title="Distillation and the early stopping nearest to it",
        xlabel="equivalent stopping time (learning rate × step)",
        ylabel="relative distance ‖f − f_t‖ / ‖f‖",
        legend=False,
    )
    legend_beside(ax, "scheme: largest distance", 7.5)
    return ax
