"""Leave-one-out outputs: what each point gets from a kernel method trained without it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from ..._checks import check_choice
from ..._numerics import as_float, double_precision, in_precision
from ..._typing import Array, ArrayLike, FilterLike, Float
from ...spectral import Eigensystem
from .._banks import like
from .._filters import flow_time, ridge_strength
from .._inputs import check_times, matching
from .._partial_spectrum import Bank, Filters, Flows, bank_of, evaluate
from ._left_out import (
    REMAINDERS,
    LeftOutProblem,
    problem_of,
    ridge_outputs,
    uncertainty,
    what_helps,
)
from ._left_out_filters import filter_outputs
from ._left_out_flow import flow_outputs

# Outputs without the points that are smaller than this, over those with them, count as this large.
_NEXT_TO_NOTHING = 1e-3


@in_precision
def leave_one_out(
    eigensystem: Eigensystem,
    filter: Filters,
    observed: Float[ArrayLike, "n C"],
    *,
    remainder: str = "bounded",
) -> Float[Array, ...]:
    """Each point's output when the method is run again without that point.

    Equal to n fits to n − 1 points each, of the same time, strength or steps: the filter acts on
    the kernel that is left. For `ridge` and `gradient_flow` a few products with the eigenvectors
    give all of them; for any other filter the n spectra of the kernels that are left are found, in
    O(n³) operations (17 s of one core at 600 points). The shortcut
    (f_i − A_ii ỹ_i)/(1 − A_ii) of a smoother A is this for ridge only, and is not used for others.

    A value is given where its estimated error is below 1e-8 (float64) or 1e-3 (float32, by the
    coarser of the kernel's precision and the eigensystem's) of the largest output of that filter,
    or of the largest target if that is smaller. Others are NaN, and a warning counts them: the
    precision does not tell them, late in training or at weak ridges.

    Args:
        eigensystem: of the training kernel.
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C).
        remainder: what directions outside a partial eigensystem do to the outputs: ``"bounded"``
            gives values only where no remainder of the measured trace could move them by more than
            the errors above, which it nearly always could; ``"mean"`` gives the values for the
            kernel whose directions outside all have their mean eigenvalue, an estimate.

    Returns:
        (n, C) outputs f^{(−i)}(x_i) from f_0 = 0, or (F, n, C) for a sequence; NaN where not known.

    Raises:
        ValueError: on shapes that do not match, an unknown ``remainder``, or a filter that counts
            more directions than a partial eigensystem holds.

    Source: ridge: Golub, Heath, Wahba, Technometrics 21 (1979); others derived.

    Example:
        >>> import numpy as np
        >>> import ntk_air as na
        >>> es = na.spectral.eigendecompose(np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> ridge = na.dynamics.ridge(2.0)
        >>> na.dynamics.leave_one_out(es, ridge, np.array([[4.0], [8.0]])).round(4).tolist()
        [[2.0], [1.0]]
    """
    matching(eigensystem, observed=observed)
    check_choice("remainder", remainder, REMAINDERS)
    # Refuses filters that return something else than one finite value per eigenvalue.
    evaluate(eigensystem, bank_of(filter))
    listed: list[FilterLike] = [filter] if callable(filter) else list(filter)
    with double_precision():
        problem = problem_of(eigensystem, observed, remainder)
        outputs, errors = _outputs(problem, listed)
        known = _known(problem, outputs, errors, bank_of(filter))
        found = jnp.asarray(np.where(known, outputs, np.nan), as_float(observed).dtype)
    names = [f"filter {index}" for index in range(len(listed))]
    _warn(known, names, problem.tolerance, what_helps(eigensystem, remainder))
    return like(filter, found)


@in_precision
def leave_one_out_flow(
    eigensystem: Eigensystem,
    time: float | Sequence[float] | ArrayLike,
    observed: Float[ArrayLike, "n C"],
    *,
    remainder: str = "bounded",
) -> Float[Array, ...]:
    """Each point's output when kernel gradient flow is trained without that point.

    `leave_one_out` of `gradient_flow`, for one time or many: n retrainings on n − 1 points to the
    same ``time``, at the cost of 32 products with the eigenvectors for each decade of times.

    Args:
        eigensystem: of the training kernel.
        time: when each retraining stops (learning rate × step for the summed loss), one or T
            increasing ones; infinity is full convergence.
        observed: targets ỹ (n, C).
        remainder: as in `leave_one_out`.

    Returns:
        (n, C) outputs f^{(−i)}(x_i) from f_0 = 0, or (T, n, C) for several times; NaN where the
        eigensystem does not tell them (see `leave_one_out`), and a warning says how many.

    Raises:
        ValueError: if a time is negative or not after the one before, on shapes that do not match,
            or an unknown ``remainder``.

    Source: derived; contour of Weideman, Trefethen, Math. Comp. 76 (2007).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> left_out = na.dynamics.leave_one_out_flow(es, 0.5, np.array([[1.0], [2.0]]))
        >>> print(left_out.round(4).T)  # (1 - exp(-0.5 * 2)) / 2 times the other label
        [[0.6321 0.3161]]
    """
    matching(eigensystem, observed=observed)
    check_choice("remainder", remainder, REMAINDERS)
    times = check_times(np.asarray(time))
    with double_precision():
        problem = problem_of(eigensystem, observed, remainder)
        outputs, errors = _flow(problem, times)
        known = _known(problem, outputs, errors, Flows(times))
        found = jnp.asarray(np.where(known, outputs, np.nan), as_float(observed).dtype)
    names = [f"time {one:g}" for one in times]
    _warn(known, names, problem.tolerance, what_helps(eigensystem, remainder))
    return found[0] if np.ndim(time) == 0 else found


def _outputs(problem: LeftOutProblem, filters: list[FilterLike]) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and their uncertainty, (F, n, C) each, by the way that suits each filter."""
    shape = len(filters), *problem.parts.observed.shape
    outputs, errors = np.zeros(shape), np.zeros(shape)
    if shape[1] == 1:  # Nothing is left to learn from.
        return outputs, errors
    flow_times = {i: t for i, one in enumerate(filters) if (t := flow_time(one)) is not None}
    strengths = {i: z for i, one in enumerate(filters) if (z := ridge_strength(one)) is not None}
    others = [i for i in range(len(filters)) if i not in flow_times and i not in strengths]
    if flow_times:
        distinct = sorted(set(flow_times.values()))
        found = _flow(problem, distinct)
        at = [distinct.index(time) for time in flow_times.values()]
        outputs[list(flow_times)], errors[list(flow_times)] = found[0][at], found[1][at]
    if strengths:
        scaled = np.array(list(strengths.values())) / problem.scale
        outputs[list(strengths)] = ridge_outputs(problem, scaled)
        errors[list(strengths)] = uncertainty(problem, scaled)
    if others:
        outputs[others], errors[others] = filter_outputs(problem, [filters[i] for i in others])
    return outputs, errors


def _flow(problem: LeftOutProblem, times: list[float]) -> tuple[np.ndarray, np.ndarray]:
    windows = [(np.asarray(f), errors) for _, f, errors in flow_outputs(problem, times)]
    return np.concatenate([f for f, _ in windows]), np.concatenate([e for _, e in windows])


def _known(
    problem: LeftOutProblem, outputs: np.ndarray, errors: np.ndarray, bank: Bank
) -> Bool[np.ndarray, "F n C"]:
    """Where errors are within the tolerance of the largest output, or target if that is smaller."""
    parts = problem.parts
    largest = np.max(np.abs(outputs), axis=(1, 2), initial=0.0)
    size = np.minimum(largest, float(np.max(np.abs(np.asarray(parts.observed)), initial=0.0)))
    # Points that say nothing of each other get zeros, which no error is small beside.
    count = problem.directions
    fitted = np.asarray(bank(parts.values[:count] * problem.scale), np.float64)
    energy = np.max(fitted**2 @ np.asarray(parts.energy)[:count], axis=1, initial=0.0)
    size = np.maximum(size, _NEXT_TO_NOTHING * np.sqrt(energy / len(parts.observed)))
    return np.isfinite(outputs) & (errors <= problem.tolerance * size[:, None, None])


def _warn(known: np.ndarray, names: list[str], tolerance: float, advice: str) -> None:
    missing = ~np.all(known, axis=2)
    if not missing.any():
        return
    where = [name for name, row in zip(names, missing, strict=True) if row.any()]
    places = where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"
    warnings.warn(
        f"{missing.sum()} of {missing.size} leave-one-out outputs are not known to "
        f"{tolerance:g} and are NaN (at {places}): {advice}.",
        stacklevel=3,
    )
