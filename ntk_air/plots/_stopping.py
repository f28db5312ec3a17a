"""Test accuracy of kernel gradient flow over its stopping time."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import NOISE, REFERENCE, SIGNAL, finish, new_axes


def stopping(analysis: Any, *, ax: Axes | None = None) -> Axes:
    """Test accuracy against the stopping time, with the times that two rules choose.

    Args:
        analysis: an `AIRAnalysis` with test points.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=60, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> ax = na.plots.stopping(na.analysis.air(data, noisy, steps=0))
        >>> ax.get_xscale()
        'log'
    """
    ax = new_axes(ax)
    times, accuracy = np.asarray(analysis.times), np.asarray(analysis.test_accuracy)
    train = np.asarray(analysis.train_accuracy)
    ax.semilogx(times, accuracy, color=SIGNAL, linewidth=2, label="test points")
    ax.semilogx(
        times, train, color=NOISE, linewidth=1.4, linestyle="--", label="clean training labels"
    )
    if np.isfinite(accuracy).all():
        best = int(accuracy.argmax())
        ax.plot(times[best], accuracy[best], "o", color=SIGNAL, label="best time (needs the truth)")
    chosen = float(analysis.stopping.time)
    ax.axvline(chosen, color=REFERENCE, linestyle=":", label="GCV time (noisy labels alone)")
    return finish(
        ax,
        title="When to stop",
        xlabel="stopping time (learning rate × step)",
        ylabel="accuracy",
    )
