"""Cumulative energy of signal and noise over the spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import NOISE, REFERENCE, SIGNAL, finish, new_axes


def air_profile(result: Any, *, num_points: int | None = None, ax: Axes | None = None) -> Axes:
    """Share of clean signal and of label noise in the first k eigendirections.

    Args:
        result: an `AIRProfile` or an `AIRAnalysis`.
        num_points: n, for the k/n line of a profile that does not hold what is expected of
            isotropic noise (of an old file); known for an analysis, else the rank is taken.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es, y = na.spectral.eigendecompose(np.diag([2.0, 1.0])), np.eye(2)
        >>> ax = na.plots.air_profile(na.spectral.air_profile(es, y, 1 - y, retention=0.5))
        >>> ax.get_xlabel()
        'first k eigendirections'
    """
    ax = new_axes(ax)
    num_points = getattr(result, "num_points", num_points)
    profile = getattr(result, "profile", result)
    signal, noise = np.asarray(profile.cumulative_signal), np.asarray(profile.cumulative_noise)
    rank = np.arange(1, len(signal) + 1)
    even, label = profile.expected_noise, "isotropic noise"
    if even is None:
        even, label = rank / (num_points or len(signal)), "k / n"
    elif float(profile.taken) == 0.0:
        label = "k / n"
    ax.semilogx(rank, signal, color=SIGNAL, linewidth=2, label="clean signal")
    ax.semilogx(rank, noise, color=NOISE, linewidth=2, label="label noise")
    ax.semilogx(rank, even, color=REFERENCE, linestyle="--", linewidth=1, label=label)
    ax.fill_between(rank, noise, signal, color=SIGNAL, alpha=0.08, linewidth=0)
    ax.set_ylim(0, 1.02)
    return finish(
        ax,
        title=f"Where signal and noise lie (AIR index {float(profile.index):.3f})",
        xlabel="first k eigendirections",
        ylabel="share of energy",
    )
