"""A grid of distillation schemes, each at its equivalent stopping time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_size
from .._numerics import in_precision
from .._results import result, static
from .._typing import Array, ArrayLike, FilterLike, Float
from ..spectral import Eigensystem
from ._distillation import ridge_distillation, teacher_student
from ._equivalent import EquivalentTime, equivalent_stopping_time
from ._filters import Filter, heavy_ball, ridge, truncation
from .noisy._stopping import time_grid


@result
class EquivalenceTable:
    """Schemes, each at several settings, with the gradient flow nearest to every one.

    Attributes:
        equivalent: `EquivalentTime` whose fields are (S, P): S schemes at P settings; settings
            that a scheme has fewer of are NaN at the end.
        names: S names of schemes.
    """

    equivalent: EquivalentTime
    names: tuple[str, ...] = static()


@in_precision
def distillation_schemes(eigensystem: Eigensystem, num: int = 40) -> dict[str, list[Filter]]:
    """Every kind of scheme of MATH.md §3, from hardly any training to nearly all.

    Strengths are 1/t and step counts those that reach t, for ``num`` log-spaced times t.

    Args:
        eigensystem: of the training kernel; says which times matter.
        num: settings of each scheme.

    Returns:
        Filters by the name of the scheme; truncations once per rank.

    Raises:
        ValueError: if ``num`` is not a whole number from 1 up.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> schemes = na.dynamics.distillation_schemes(es, 5)
        >>> len(schemes), len(schemes["ridge"])
        (12, 5)
    """
    num = check_size("num", num, 1)
    times = [float(t) for t in time_grid(eigensystem, num)]
    rate = 0.5 / float(eigensystem.eigenvalues[0])
    steps = sorted({max(1, round(0.1 * t / rate)) for t in times})
    ranks = sorted({int(k) for k in np.geomspace(1, eigensystem.trusted_rank, num)})
    return {
        "stopped teacher, converged student": [teacher_student(t, math.inf) for t in times],
        "teacher and student stopped alike": [teacher_student(t, t) for t in times],
        "teacher stopped at a tenth of the student's time": [
            teacher_student(t / 10, t) for t in times
        ],
        "half labels, half stopped teacher": [teacher_student(t, math.inf, 0.5) for t in times],
        "heavy ball, momentum 0.9": [heavy_ball(rate, s, 0.9) for s in steps],
        "ridge": [ridge(1 / t) for t in times],
        "1 round of ridge distillation": [ridge_distillation(1 / t, 1) for t in times],
        "5 rounds of ridge distillation": [ridge_distillation(1 / t, 5) for t in times],
        "25 rounds of ridge distillation": [ridge_distillation(1 / t, 25) for t in times],
        "5 rounds, labels weighted 0.35": [ridge_distillation(1 / t, 5, 0.35) for t in times],
        "ridge, teacher weight 1.5": [ridge_distillation(1 / t, 1, -0.5) for t in times],
        "spectral cut-off": [truncation(k) for k in ranks],
    }


@in_precision
def equivalence_table(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    schemes: Mapping[str, Sequence[FilterLike]] | None = None,
) -> EquivalenceTable:
    """Equivalent stopping time and residual of every scheme at every setting.

    Args:
        eigensystem: of the training kernel.
        observed: targets ỹ (n, C).
        schemes: filters by the name of the scheme; default `distillation_schemes`.

    Returns:
        An `EquivalenceTable`, for `plots.equivalent_time`.

    Raises:
        ValueError: if there are no schemes, or on shapes that do not match.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> schemes = {"ridge": [na.dynamics.ridge(0.5), na.dynamics.ridge(1.0)]}
        >>> table = na.dynamics.equivalence_table(es, np.ones((2, 1)), schemes)
        >>> table.names, table.equivalent.time.shape
        (('ridge',), (1, 2))
    """
    schemes = distillation_schemes(eigensystem) if schemes is None else schemes
    longest = max(map(len, schemes.values()), default=0)
    if longest == 0:
        raise ValueError("schemes is empty, expected at least one filter by name.")
    # All in one call, so that the search compiles once.
    every = [filter_ for scheme in schemes.values() for filter_ in scheme]
    found = equivalent_stopping_time(eigensystem, every, observed)
    ends = np.cumsum([len(scheme) for scheme in schemes.values()])[:-1].tolist()

    def table(values: Array) -> Array:
        rows = jnp.split(values, ends)
        return jnp.stack([jnp.pad(r, (0, longest - len(r)), constant_values=jnp.nan) for r in rows])

    return EquivalenceTable(jax.tree.map(table, found), tuple(schemes))
