"""What each stopping rule minimises, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import REFERENCE, SIGNAL, finish, new_axes

_COLORS = ("#c8553d", "#2a8f6d", "#8a6fb0", "#b98b2f", "#333333")
_HIGHEST = 1.15


def stopping_rules(
    found: Sequence[Any],
    *,
    test_accuracy: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """The score of each rule over time, with the time that it chooses.

    Scores are shifted and scaled: 0 at their least value, 1 before training. Times at which a score
    is not known are left open.

    Args:
        found: `StoppingTime` of each rule, on one grid of times.
        test_accuracy: (T,), to be drawn beside them, from 0 at its least to 1 at its largest value.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 2.0, 1.0]))
        >>> found = [na.dynamics.stopping_time(es, np.array([[1.0], [1.0], [0.1]]))]
        >>> ax = na.plots.stopping_rules(found)
        >>> len(ax.lines) >= 1
        True
    """
    ax = new_axes(ax)
    for one, color in zip(found, _COLORS, strict=False):
        times, score = np.asarray(one.times), np.asarray(one.score, np.float64)
        known = np.flatnonzero(np.isfinite(score))
        least, first = np.min(score[known], initial=np.inf), score[known[:1]].sum()
        score = (score - least) / ((first - least) or 1.0)
        ax.plot(times, score, color=color, linewidth=1.4, label=one.rule.replace("_", " "))
        chosen = int(np.argmin(np.abs(times - float(one.time))))
        ax.plot(times[chosen], score[chosen], "o", color=color, markersize=6)
    if test_accuracy is not None:
        times, accuracy = np.asarray(found[0].times), np.asarray(test_accuracy, np.float64)
        scaled = (accuracy - accuracy.min()) / (np.ptp(accuracy) or 1.0)
        label = f"test accuracy (best {accuracy.max():.1%})"
        ax.plot(times, scaled, color=SIGNAL, linewidth=2.4, alpha=0.8, label=label)
        best = times[int(np.argmax(accuracy))]
        ax.axvline(best, color=REFERENCE, linestyle=":", label="best time (needs the truth)")
    ax.set_xscale("log")
    # Late in training some scores are larger by orders of magnitude.
    ax.set_ylim(-0.05, _HIGHEST)
    finish(
        ax,
        title="When to stop, from the noisy labels alone",
        xlabel="stopping time (learning rate × step)",
        ylabel="score: 0 at its least, 1 before training",
    )
    ax.legend(frameon=False, fontsize=8, loc="center left")
    return ax
