"""Eigenvalues of a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import REFERENCE, SIGNAL, finish, new_axes


def spectrum(result: Any, *, ax: Axes | None = None) -> Axes:
    """Eigenvalues in order, and which of them stand above round-off.

    Args:
        result: an `Eigensystem` or an `AIRAnalysis`.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> ax = na.plots.spectrum(na.spectral.eigendecompose(np.diag([3.0, 2.0, 1.0])))
        >>> print(ax.lines[0].get_ydata())
        [3. 2. 1.]
    """
    ax = new_axes(ax)
    values = np.asarray(result.eigenvalues)
    rank = np.arange(1, len(values) + 1)
    positive = values > 0
    ax.loglog(rank[positive], values[positive], color=SIGNAL, linewidth=1.8, label="eigenvalue")
    trusted = int(result.trusted_rank)
    if trusted < len(values):
        ax.axvline(trusted, color=REFERENCE, linestyle=":", linewidth=1.2)
        ax.annotate(
            f"round-off bound\nfrom rank {trusted}",
            (trusted, values[0]),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color=REFERENCE,
        )
    return finish(ax, title="Spectrum of the NTK", xlabel="direction k", ylabel="λ_k", legend=False)
