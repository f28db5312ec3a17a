"""Retrieved signal and noise over training time."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import NOISE, SIGNAL, finish, new_axes, on_log_time


def retrieval(
    curves: Any, measured: Any = None, *, draw: bool = False, ax: Axes | None = None
) -> Axes:
    """Predicted retrieval curves, and measured ones on top.

    Args:
        curves: predicted `RetrievalCurves`, or an `AIRAnalysis` or its ``test``, which bring both.
        measured: measured `RetrievalCurves` of a network, shown as points.
        draw: show the curves exact for this draw of the noise (with f_0 and cross terms).
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es, y = na.spectral.eigendecompose(np.diag([2.0, 1.0])), np.eye(2)
        >>> ax = na.plots.retrieval(na.dynamics.retrieval(es, y, 1 - y, [0.1, 1.0], retention=0.5))
        >>> ax.get_xscale()
        'log'
    """
    ax = new_axes(ax)
    at_test = hasattr(curves, "noise_energy")
    if hasattr(curves, "measured"):
        measured = curves.measured
        draw = measured is not None
        curves = curves.predicted if draw else curves.curves
    times = np.asarray(curves.times)
    shown = on_log_time(ax, times)
    signal = np.asarray(curves.draw_signal if draw else curves.signal)
    noise = np.asarray(curves.draw_noise if draw else curves.noise)
    ax.plot(times[shown], signal[shown], color=SIGNAL, linewidth=2, label="signal, predicted")
    ax.plot(times[shown], noise[shown], color=NOISE, linewidth=2, label="noise, predicted")
    if measured is not None:
        dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "alpha": 0.8}
        at = np.asarray(measured.times)
        shown = on_log_time(ax, at)
        signal, noise = np.asarray(measured.signal), np.asarray(measured.noise)
        ax.plot(at[shown], signal[shown], color=SIGNAL, label="signal, network", **dots)
        ax.plot(at[shown], noise[shown], color=NOISE, label="noise, network", **dots)
    ax.set_ylim(min(-0.02, ax.get_ylim()[0]), max(1.02, ax.get_ylim()[1]))
    return finish(
        ax,
        title="Signal and noise at the test points"
        if at_test
        else "Signal is retrieved before noise",
        xlabel="training time (learning rate × step)",
        ylabel="fraction retrieved",
    )
