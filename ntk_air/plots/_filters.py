"""Spectral filters as functions of the eigenvalue."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import finish, new_axes


def filters(
    named: dict[str, Any],
    *,
    eigenvalues: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Fraction of a direction that each method fits, against its eigenvalue.

    Args:
        named: filters by name, functions of eigenvalues.
        eigenvalues: where to draw them; default 1e-4 to 1e2.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import ntk_air as na
        >>> ax = na.plots.filters({"ridge": na.dynamics.ridge(0.1)})
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['ridge']
    """
    ax = new_axes(ax)
    grid = np.geomspace(1e2, 1e-4, 400) if eigenvalues is None else np.asarray(eigenvalues)
    for name, filter_ in named.items():
        ax.semilogx(grid, np.asarray(filter_(grid)), linewidth=2, label=name)
    return finish(
        ax,
        title="What each method fits",
        xlabel="eigenvalue λ",
        ylabel="fraction fitted g(λ)",
    )
