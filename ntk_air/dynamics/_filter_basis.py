"""Many filters from a few: a bank of smooth filters has far fewer independent rows than filters.

1 − e^{−λt} at 200 times is, to round-off, a combination of about 25 (float32) or 50 (float64) of
them. The outputs of these few are computed, and the others are the same combinations: an
interpolative decomposition (Cheng, Gimbutas, Martinsson, Rokhlin, On the compression of low rank
matrices, SIAM J. Sci. Comput. 26, 2005).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import threadpoolctl

# Below, the factorisation costs more than it saves.
_LEAST_FILTERS = 32
# What may be left out, in units of eps: below, the rounding of the values would count as rank.
_LEFT_OUT = 8.0
# The factorisation is in float64; its own rounding is above one eps of it.
_LEAST_EPS = 2 * float(np.finfo(np.float64).eps)


class Skeleton(NamedTuple):
    """Rows that span a bank.

    Attributes:
        chosen: (q,) their indices.
        mixing: (F, q); bank ≈ mixing · bank[chosen].
    """

    chosen: np.ndarray
    mixing: np.ndarray


def skeleton(values: np.ndarray, eps: float) -> Skeleton | None:
    """The rows that span a bank (F, k) to round-off; None if they are not at most half of them.

    ``eps`` is that of the precision in which the bank is applied; every value is met to 8 eps of
    the largest (16 in float64). The decomposition is found on a sample of columns and checked on
    all of them.
    """
    count = len(values)
    if count < _LEAST_FILTERS or not values.size:
        return None
    values = values.astype(np.float64)
    scale = float(np.max(np.abs(values)))
    if scale == 0.0:
        return None
    left_out = scale * _LEFT_OUT * max(eps, _LEAST_EPS)
    columns = _sample(values.shape[1], 2 * count)
    for _ in range(2):
        found = _decompose(values[:, columns], left_out)
        if found is None:
            return None
        errors = np.max(np.abs(values - found.mixing @ values[found.chosen]), axis=0)
        if errors.max() <= left_out:
            return found
        worst = np.argsort(errors)[-count:]
        columns = np.union1d(columns, worst)
    return None


def _sample(count: int, size: int) -> np.ndarray:
    """Column indices, dense at both ends: there eigenvalues, in descending order, change most."""
    if count <= size:
        return np.arange(count)
    ends = np.geomspace(1, count, size // 4).astype(int)
    middle = np.linspace(0, count - 1, size // 2).astype(int)
    return np.unique(np.concatenate([ends - 1, count - ends, middle]))


def _decompose(values: np.ndarray, tolerance: float) -> Skeleton | None:
    # One thread: a matrix this small is factorised before others have been woken.
    with threadpoolctl.threadpool_limits(1):
        factors: Any = scipy.linalg.qr(values.T, mode="r", pivoting=True, check_finite=False)
        triangle, order = factors
        rank = int(np.sum(np.abs(np.diag(triangle)) > tolerance))
        if not 0 < rank <= len(values) // 2:
            return None
        rest = scipy.linalg.solve_triangular(
            triangle[:rank, :rank], triangle[:rank, rank:], check_finite=False
        )
    mixing = np.zeros((len(values), rank))
    mixing[order[:rank]] = np.eye(rank)
    mixing[order[rank:]] = rest.T
    return Skeleton(order[:rank], mixing)
