"""Any filter without one of a kernel's points: its values at the eigenvalues of what is left.

Without point i the eigenvalues μ_j of the kernel lie between those of the whole, at the zeros of
Q_i(−μ) = Σ_k U_ik²/(λ_k − μ), and f^{(−i)} = Σ_j g(μ_j)/μ_j · R_i(−μ_j)/Q_i'(μ_j). The zeros are
found by rational interpolation at the two neighbouring poles (Li, LAPACK working note 89, 1993),
each as an offset from the nearer one, which keeps all its digits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite
from ..._typing import Array, FilterLike, Float
from .._filters import rank_needed
from ._left_out import LeftOutProblem, uncertainty

# Eigenvalues nearer to each other than this, over the largest, are one.
_TIED = 1e-15
_MOST_STEPS, _CONVERGED, _SLACK = 60, 1e-14, 1e-9
# A weight this small leaves its eigenvalue where it is.
_LEAST_WEIGHT = 1e-40
_BLOCK = 2**23


class Poles(NamedTuple):
    """Distinct eigenvalues, descending, and which of the problem's directions make up each.

    Attributes:
        values: (m,), over λ_1.
        group: (r + 1,), index into ``values`` of every direction.
        order: (n − 1,), how the reduced eigenvalues are listed: j < m − 1 for the zero between
            poles j and j + 1, m − 1 + k for a further copy of pole k, which point i does not see.
    """

    values: np.ndarray
    group: np.ndarray
    order: np.ndarray


def filter_outputs(
    problem: LeftOutProblem, filters: list[FilterLike]
) -> tuple[Float[Array, "F n C"], Float[np.ndarray, "F n C"]]:
    """Outputs of each filter without the point, and their uncertainty."""
    parts, scale = problem.parts, problem.scale
    n, outputs = parts.observed.shape
    poles = _poles(problem)
    held = np.asarray(parts.values)[: problem.directions]
    simple = [_elementwise(one, held * scale) for one in filters]
    size = max(1, _BLOCK // max(1, n * (outputs + len(filters))))
    blocks = []
    for start in range(0, n, size):
        rows = slice(start, start + size)
        zeros, shares = _reduced(
            parts.squares[rows],
            parts.vectors[rows],
            parts.coefficients,
            parts.part[rows],
            jnp.asarray(poles.values),
            jnp.asarray(poles.group),
        )
        ratios = [
            _ratios(one, zeros, poles, scale, each)
            for one, each in zip(filters, simple, strict=True)
        ]
        blocks.append(jnp.einsum("fbj,bjc->fbc", jnp.stack(ratios), shares, precision="highest"))
    found = jnp.concatenate(blocks, axis=1)
    return found, np.stack([_uncertainty(problem, one) for one in filters])


def _poles(problem: LeftOutProblem) -> Poles:
    values = np.asarray(problem.parts.values)
    weighty = np.arange(len(values)) < problem.directions
    listed = np.argsort(-np.where(weighty, values, -1.0), kind="stable")
    group = np.zeros(len(values), int)
    distinct: list[float] = []
    copies: list[int] = []
    for index in listed:
        if not weighty[index]:
            group[index] = 0  # carries nothing
            continue
        if not distinct or distinct[-1] - values[index] > _TIED:
            distinct.append(float(values[index]))
            copies.append(-1)
        group[index] = len(distinct) - 1
        copies[-1] += problem.outside if index == len(values) - 1 else 1
    m = len(distinct)
    order: list[int] = []
    for pole in range(m):
        order += [m - 1 + pole] * copies[pole]
        if pole < m - 1:
            order.append(pole)
    return Poles(np.array(distinct), group, np.array(order, int))


def _elementwise(filter_: FilterLike, values: np.ndarray) -> bool:
    """Whether a filter looks at each eigenvalue by itself, as it says or as trials show.

    Its values must stay as they are among other neighbours: in reverse, alone, in parts of the
    spectrum, and beside so many copies of the largest or smallest that no count or quantile stays.
    """
    if rank_needed(filter_):
        return False
    n = len(values)
    every, middle, copies = np.arange(n), n // 2, np.zeros(n, int)
    trials = [every[::-1], every[::2], every[1::2], every[:middle], every[middle:], every[1:]]
    trials += [np.append(copies, every), np.append(every, copies - 1), every[middle : middle + 1]]
    whole = np.asarray(filter_(jnp.asarray(values)))
    for trial in trials:
        found = np.asarray(filter_(jnp.asarray(values[trial])))
        if found.shape != trial.shape:
            return False
        if not np.allclose(found, whole[trial], rtol=1e-12, atol=1e-300, equal_nan=True):
            return False
    return True


def _ratios(
    filter_: FilterLike, zeros: Array, poles: Poles, scale: float, elementwise: bool
) -> Array:
    """g(μ)/μ at the zeros (b, m − 1), over λ_1 each; 0 where μ = 0, which is never fitted."""
    if elementwise:
        fitted = filter_(zeros.reshape(-1) * scale).reshape(zeros.shape)
    else:
        # A filter that counts sees all of the reduced spectrum, with the copies.
        copies = np.broadcast_to(poles.values, (len(zeros), len(poles.values)))
        every = np.concatenate([zeros, copies], axis=1)[:, poles.order] * scale
        seen = poles.order < len(poles.values) - 1
        fitted = np.stack([np.asarray(filter_(jnp.asarray(row))) for row in every])[:, seen]
    check_finite("filter values", fitted)
    return jnp.where(zeros > 0, fitted / jnp.where(zeros > 0, zeros, 1.0), 0.0)


@jax.jit
def _reduced(
    squares: Array, vectors: Array, coefficients: Array, part: Array, poles: Array, group: Array
) -> tuple[Float[Array, "b j"], Float[Array, "b j C"]]:
    """Zeros (b, m − 1) of each point's secular equation and the share of the output at each."""
    m = len(poles)

    def one(point: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        square, vector, outside = point
        weights = jnp.maximum(jax.ops.segment_sum(square, group, m), _LEAST_WEIGHT)
        tops = jnp.concatenate([vector[:, None] * coefficients, outside[None]])
        tops = jax.ops.segment_sum(tops, group, m)
        origins, offsets = _zeros(poles, weights)
        inverse = 1 / ((poles[:, None] - origins) - offsets)
        top = jnp.matmul(inverse.T, tops, precision="highest")
        slope = jnp.sum(weights[:, None] * inverse**2, axis=0)
        return origins + offsets, top / slope[:, None]

    return jax.lax.map(one, (squares, vectors, part))


def _zeros(poles: Array, weights: Array) -> tuple[Array, Array]:
    """Zeros of Σ w_k/(p_k − μ) between neighbouring poles, as origin and offset (m − 1,)."""
    high, low = poles[:-1], poles[1:]
    gap = high - low
    # Sums run over the first axis, which the compiler vectorises.
    above = jnp.arange(len(poles))[:, None] <= jnp.arange(len(poles) - 1)

    def halves(origin: Array, offset: Array) -> tuple[Array, Array, Array, Array]:
        """Value and slope of the terms of the poles above the zero, and of those below."""
        inverse = 1 / ((poles[:, None] - origin) - offset)
        value = weights[:, None] * inverse
        slope = value * inverse
        upper = jnp.sum(jnp.where(above, value, 0.0), 0), jnp.sum(jnp.where(above, slope, 0.0), 0)
        lower = jnp.sum(jnp.where(above, 0.0, value), 0), jnp.sum(jnp.where(above, 0.0, slope), 0)
        return upper[0], upper[1], lower[0], lower[1]

    middle = halves(low, gap / 2)
    near_low = middle[0] + middle[2] > 0
    origin = jnp.where(near_low, low, high)
    # Offsets as distances from the nearer pole, which are positive, up to half the gap.
    sign = jnp.where(near_low, 1.0, -1.0)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        count, at, left, right, _ = state
        upper, upper_slope, lower, lower_slope = halves(origin, sign * at)
        beyond = (upper + lower) * sign > 0
        left, right = jnp.where(beyond, left, at), jnp.where(beyond, at, right)
        to_high, to_low = jnp.where(near_low, gap - at, at), jnp.where(near_low, at, gap - at)
        s, t = upper_slope * to_high**2, lower_slope * to_low**2
        constant = (upper - upper_slope * to_high) + (lower + lower_slope * to_low)
        near, far = jnp.where(near_low, t, s), jnp.where(near_low, s, t)
        following = _nearer_root(constant * sign, near, far, gap)
        # A zero found to rounding lies on its bracket's end, or beyond by rounding.
        kept = (following >= left * (1 - _SLACK)) & (following <= right * (1 + _SLACK))
        following = jnp.clip(following, left, right)
        kept &= (following > 0) & (following < gap)
        following = jnp.where(kept, following, jnp.where(left > 0, (left + right) / 2, right / 8))
        moved = jnp.max(jnp.abs(following - at) / following, initial=0.0)
        return count + 1, following, left, right, moved

    start = jnp.zeros((), int), gap / 2, jnp.zeros_like(gap), gap, jnp.ones(())
    return origin, sign * jax.lax.while_loop(_going, step, start)[1]


def _going(state: tuple[Array, ...]) -> Array:
    return (state[0] < _MOST_STEPS) & (state[-1] > _CONVERGED)


def _nearer_root(constant: Array, near: Array, far: Array, gap: Array) -> Array:
    """The x in (0, gap) with constant − near/x + far/(gap − x) = 0."""
    linear = constant * gap + near + far
    root = jnp.sqrt(jnp.maximum(linear**2 - 4 * constant * near * gap, 0.0))
    return jnp.where(linear > 0, 2 * near * gap / (linear + root), (linear - root) / (2 * constant))


def _uncertainty(problem: LeftOutProblem, filter_: FilterLike) -> Float[np.ndarray, "n C"]:
    """That of ridge as weak as the filter, times how much steeper the filter is anywhere."""
    parts = problem.parts
    values = np.asarray(parts.values)[: problem.directions]
    fitted = np.asarray(filter_(jnp.asarray(values * problem.scale)), np.float64)
    positive = values > 0
    ratio = fitted[positive] / values[positive]
    largest = float(np.max(np.abs(ratio), initial=0.0))
    if largest == 0:
        return np.zeros(parts.observed.shape)
    strength, values = 1 / largest, values[positive]
    errors = np.asarray(parts.errors)[: len(fitted)][positive] + problem.eps
    gaps = values[:-1] - values[1:] + errors[:-1] + errors[1:]
    steepness = np.abs(np.diff(ratio)) * (values[:-1] + strength) * (values[1:] + strength) / gaps
    factor = max(1.0, float(np.max(steepness, initial=0.0)))
    return factor * uncertainty(problem, np.full(1, strength))[0]
