"""What a spectrum holds and what it leaves out: one rule for every closed form.

Two rules, the same in every function of this room:

- An eigenvalue no larger than its own measured residual ‖Θu − λu‖, or than eps · λ_1, cannot be
  told from zero. It counts as zero: that direction is never fitted, at any time. So singular
  kernels and duplicated points give the least-squares answer, and never 0/0.
- The n − r directions outside a partial eigensystem share the trace that is left, each at the mean
  λ̄ = (tr Θ − Σ λ_k) / (n − r). They lie between 0 and min(λ_r, what is left of the trace), so the
  error of any filter g is at most sup |g(λ) − g(λ̄)| over that interval, per unit of signal there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite
from .._numerics import as_float, power_of_two
from .._typing import Array, ArrayLike, FilterLike, Float
from ..spectral import Eigensystem, project
from ._filters import flow_fractions, flow_time, rank_needed

Filters = FilterLike | Sequence[FilterLike]
Bank = Callable[[Array], Array]
"""Several filters at once: eigenvalues (k,) to fractions fitted (F, k)."""

_SUPREMUM_POINTS = 256


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Eigenvalues as the closed forms use them.

    Attributes:
        values: (r,), zero where not told from zero.
        count: n − r, directions left out.
        mean: λ̄, the eigenvalue at which those count; 0 if there are none.
        top: the largest that any of them can be.
        floor: eps · λ_1, below which an eigenvalue is zero.
    """

    values: Float[Array, " r"]
    count: int
    mean: float
    top: float
    floor: float


def spectrum(eigensystem: Eigensystem) -> Spectrum:
    """The eigenvalues told from zero, and the remainder that the trace leaves."""
    values = eigensystem.eigenvalues
    eps = max(float(jnp.finfo(values.dtype).eps), eigensystem.resolution)
    # On the host: an index into an array of JAX is a program of its own.
    floor = eps * float(np.asarray(values)[0])
    resolved = _resolved(values, eigensystem.residuals, floor)
    count = eigensystem.num_points - eigensystem.rank
    if count == 0:
        return Spectrum(resolved, 0, 0.0, 0.0, floor)
    trace = float(eigensystem.trace)
    # In float64, since the sum of many eigenvalues nearly cancels the trace.
    left = trace - float(np.sum(np.asarray(values, np.float64)))
    left = left if left > eps * eigensystem.num_points**0.5 * trace else 0.0
    top = min(max(float(np.asarray(values)[-1]), 0.0), left)
    mean = min(left / count, top)
    return Spectrum(resolved, count, mean if mean > floor else 0.0, top, floor)


@jax.jit
def _resolved(values: Array, residuals: Array, floor: Array) -> Array:
    return jnp.where(values > jnp.maximum(residuals, floor), values, 0.0)


def split(eigensystem: Eigensystem, signal: Float[ArrayLike, "n C"]) -> tuple[Array, Array]:
    """Coefficients (r, C) of a signal, and the energy () of it outside the directions held."""
    coefficients = project(eigensystem, signal)
    if eigensystem.rank == eigensystem.num_points:
        return coefficients, jnp.zeros((), coefficients.dtype)
    return coefficients, outside(signal, signal, coefficients, coefficients)


def outside(first: ArrayLike, second: ArrayLike, of_first: Array, of_second: Array) -> Array:
    """⟨first, second⟩ outside the directions held, given the coefficients of both inside."""
    a, b = as_float(first), as_float(second)
    # Products of very large or small numbers would leave the range of float32 before they cancel.
    p, q = power_of_two(a), power_of_two(b)
    inner = jnp.sum(a / p * (b / q)) - jnp.sum(of_first / p * (of_second / q))
    inner = (jnp.maximum(inner, 0.0) if first is second else inner) * p
    return inner * q


def bank_of(filters: Filters) -> Bank:
    """Filters, or one, as a function of eigenvalues (k,) that returns (F, k).

    Raises:
        ValueError: if one is no function, or they are no sequence.
    """
    if not callable(filters) and not isinstance(filters, Iterable):
        raise ValueError(
            f"filter is a {type(filters).__name__}, expected a function of eigenvalues, such as "
            "gradient_flow(1.0), or a sequence of them."
        )
    listed: list[Any] = [filters] if callable(filters) else list(filters)
    for index, one in enumerate(listed):
        if not callable(one):
            raise ValueError(
                f"filter {index} is a {type(one).__name__}, expected a function of eigenvalues, "
                "such as gradient_flow(1.0)."
            )
    times = [time for time in map(flow_time, listed) if time is not None]
    if listed and len(times) == len(listed):
        return Flows(times)
    return functools.partial(_stacked, listed)


@dataclasses.dataclass(frozen=True)
class Flows:
    """Gradient flow to each of several times: a bank that reads every eigenvalue by itself."""

    times: Sequence[float]

    def __call__(self, values: Array) -> Array:
        """Fractions fitted (F, k) at eigenvalues (k,)."""
        return _flows(values, self._column(values.dtype))

    def on_host(self, values: np.ndarray) -> np.ndarray:
        """The same of non-negative values, without a compilation for every length."""
        with np.errstate(over="ignore", invalid="ignore"):
            rates = values * self._column(values.dtype)
        return -np.expm1(-np.where(values > 0, rates, 0.0))

    def _column(self, dtype: Any) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(self.times, np.float64).astype(dtype)[:, None]


_flows = jax.jit(flow_fractions)


def _stacked(filters: list[FilterLike], values: Array) -> Array:
    rows = []
    for index, filter_ in enumerate(filters):
        row = jnp.asarray(filter_(values))
        if row.shape != values.shape:
            raise ValueError(
                f"filter {index} maps eigenvalues of shape {values.shape} to {row.shape}; "
                "expected one value per eigenvalue."
            )
        rows.append(row)
    return jnp.stack(rows) if rows else jnp.zeros((0, *values.shape), values.dtype)


def evaluate(
    eigensystem: Eigensystem, bank: Bank, held: Spectrum | None = None
) -> tuple[Array, Array]:
    """g(λ_k) of each filter (F, r), and of the remainder (F,), zero where there is none."""
    held = spectrum(eigensystem) if held is None else held
    _check_rank(bank, eigensystem)
    fitted = bank(jnp.append(held.values, held.mean) if held.count else held.values)
    # Of gradient flow they are finite at all eigenvalues told from zero, and all times.
    if not isinstance(bank, Flows):
        check_finite("filter values", fitted)
    if not held.count:
        return fitted, _zeros(len(fitted), fitted.dtype)
    return fitted[:, :-1], fitted[:, -1]


def spread(
    eigensystem: Eigensystem,
    bank: Bank,
    held: Spectrum | None = None,
    *,
    per_eigenvalue: bool = False,
) -> Array:
    """Largest |g(λ) − g(λ̄)| over where the remainder can lie (F,); of g(λ)/λ if so asked.

    The supremum is over 256 points of that interval: exact for filters monotone in λ.
    """
    held = spectrum(eigensystem) if held is None else held
    if not held.count or held.top <= held.floor:
        count = len(bank.times) if isinstance(bank, Flows) else len(bank(held.values))
        return _zeros(count, held.values.dtype)
    grid = np.geomspace(held.floor, held.top, _SUPREMUM_POINTS)
    points = jnp.asarray([held.mean, 0.0, *grid], held.values.dtype)
    fitted = bank(jnp.append(held.values, points))[:, eigensystem.rank :]
    if per_eigenvalue:
        fitted = jnp.where(points > 0, fitted / jnp.where(points > 0, points, 1.0), 0.0)
    return jnp.max(jnp.abs(fitted - fitted[:, :1]), axis=1)


def _zeros(count: int, dtype: Any) -> Array:
    # Those of `jnp.zeros` are a program.
    return jnp.asarray(np.zeros(count, dtype))


def rank_counted(bank: Bank) -> int:
    """How many directions the filters count; 0 if all are functions of the eigenvalue alone."""
    filters = bank.args[0] if isinstance(bank, functools.partial) else []
    return max(map(rank_needed, filters), default=0)


def _check_rank(bank: Bank, eigensystem: Eigensystem) -> None:
    needed = rank_counted(bank)
    if eigensystem.rank < min(needed, eigensystem.num_points):
        raise ValueError(
            f"a filter counts {needed} directions and the eigensystem holds {eigensystem.rank} of "
            f"{eigensystem.num_points}: directions {eigensystem.rank + 1} to {needed} would be "
            f"lost; decompose with rank={needed}."
        )
