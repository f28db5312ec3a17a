"""How noisy labels are, from the labels and a kernel alone."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite
from ..._classes import threshold_of
from ..._numerics import as_float, in_precision
from ..._results import result, static
from ..._typing import Array, ArrayLike, Float
from ...spectral import Eigensystem, project
from .._inputs import matching
from .._partial_spectrum import outside, spectrum
from ._signal_floor import noise_floor
from ._sure_points import sure_disagreement

# Widest tail, narrowest tail and how many standard errors two tails may disagree by.
_WIDEST, _NARROWEST, _FEWEST, _AGREEMENT = 0.5, 0.05, 20, 1.5
_WIDE = 0.1
NORMAL_95 = 1.645


@result
class NoiseEstimate:
    """The noise of a set of labels, from the energy of their tail in the kernel's spectrum.

    Signal that the kernel cannot resolve lies in the tail too and counts as noise: in expectation
    ``variance`` and ``rate`` are upper bounds for symmetric noise, close where the clean labels are
    nearly all in the leading directions. No energy of ỹ can tell the two apart; `refine_labels`
    also weighs how sure the labels are where the classes are far apart, and its ``noise_rate`` is
    the one to use.

    Attributes:
        variance: (), σ² = E‖ξ_i‖²/C, per output.
        variance_error: (), its standard error; where targets are class codes as an estimate of the
            mean square of the noise of these labels, not of that of further draws.
        rate: (), ρ of symmetric noise of that variance; NaN for targets that are no class codes.
        standard_error: () of ``rate``, as an estimate of the share of wrong labels among these (not
            of the probability they were drawn with). Signal left in the tail is not in it.
        upper: (), the ρ of symmetric noise, as the share of wrong labels among these, does not
            exceed it, with 95 % confidence or more (it allows for the choice of the tail). No bound
            for other noise: the part of the errors that the class or the image predicts is smooth,
            lies in the leading directions and is not in the tail, so that ρ may be far above it.
        lower: (), the ρ of the noise that is left, with 95 % confidence, if the signal's energy
            falls as a power of the eigenvalue; and no more than disagree, with 95 % confidence,
            with the prediction of the quarter of points predicted most surely: where classes
            overlap, labels that no kernel predicts are not wrong.
        retention: (), κ of symmetric noise of that rate.
        tail_size: how many directions the estimate averages over, the last ones.
        upper_bound: whether ``extrapolated`` lies more than 0.1 below ``rate``: the kernel then
            resolves too little of the signal for ``rate`` to be more than a bound.
        extrapolated: (), the rate left if the signal went on decaying as the power of the
            eigenvalue that fits best, and no more than disagree at the points predicted most
            surely; a guess, of which ``lower`` is the limit.
    """

    variance: Float[Array, ""]
    variance_error: Float[Array, ""]
    rate: Float[Array, ""]
    standard_error: Float[Array, ""]
    upper: Float[Array, ""]
    lower: Float[Array, ""]
    retention: Float[Array, ""]
    tail_size: int = static()
    upper_bound: bool = static()
    extrapolated: Float[ArrayLike, ""] | float = np.nan


@in_precision
def estimate_noise(eigensystem: Eigensystem, observed: Float[ArrayLike, "n C"]) -> NoiseEstimate:
    """Noise variance and noise rate of labels, without clean ones.

    Independent noise of equal variance has the same energy C σ² in every direction, whatever the
    kernel; signal decays along the spectrum. So the mean energy of the last directions estimates
    C σ². How many to take is a trade: few are noisy, many hold signal. The widest tail (of at most
    half the directions) is taken that agrees with every narrower one, down to a twentieth, within
    1.5 of their standard errors (Lepski's rule).

    For symmetric noise E‖ξ_i‖² = (1 − κ²) ‖y_i‖², and so κ² = 1 − C σ²/‖ỹ_i‖², ρ = (1 − κ)(C − 1)/C
    for centred one-hot codes of C classes (one-hot codes are centred first) and ρ = (1 − κ)/2 for
    ±1, or for any other two numbers in one column, of which their middle is taken first. For
    asymmetric noise the tail holds the conditional variance of the labels only, and the rate may
    come out too low.

    Args:
        eigensystem: of the kernel; of a partial one the directions left out are the tail, or part
            of it, through the energy that is not in the others.
        observed: observed targets ỹ (n, C). C counts declared classes, present or not.

    Returns:
        A `NoiseEstimate`.

    Raises:
        ValueError: on shapes that do not match, values that are not finite, fewer than two points,
            or targets that are zero.

    Source: derived; choice of the tail after Lepski, Theory Probab. Appl. 35 (1990).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.linspace(-3, 3, 200)[:, None]
        >>> es = na.spectral.eigendecompose(np.exp(-((x - x.T) ** 2)) + 1e-3 * np.eye(200))
        >>> wrong = np.random.default_rng(0).random((200, 1)) < 0.2
        >>> found = na.dynamics.estimate_noise(es, np.where((x > 0) != wrong, 1.0, -1.0))
        >>> abs(float(found.rate) - 0.2) < 2 * float(found.standard_error)
        True
    """
    matching(eigensystem, observed=observed)
    check_finite("observed", observed)
    codes = np.asarray(as_float(observed), np.float64)
    n, outputs = codes.shape
    middle = codes.mean(axis=1, keepdims=True) if outputs > 1 else threshold_of(codes)
    codes = codes - middle
    norms = np.sum(codes**2, axis=1)
    if n < 2 or not norms.any():
        raise ValueError(
            f"observed has shape {codes.shape} and {np.count_nonzero(norms)} points whose targets "
            "are not constant over outputs; expected at least two points with class codes."
        )
    total = norms.mean()
    is_code = bool(np.ptp(norms) <= 1e-3 * norms.max())
    wrong = (outputs - 1) / outputs if outputs > 1 else 0.5
    dof = max(outputs - 1, 1)
    energy, values, counts = _blocks(eigensystem, codes)
    unequal = np.asarray(_inequality(eigensystem.eigenvectors), np.float64)[: len(counts)]
    tail = _tail(energy, counts, unequal, dof, total if is_code else None)
    share, spread, error = tail.mean / total, tail.margin / total, tail.error / total

    def rate(share: float) -> float:
        return wrong * (1 - np.sqrt(1 - np.clip(share, 0.0, 1.0))) if is_code else np.nan

    low, high = rate(share - error), rate(share + error)
    best, least = noise_floor(energy, values, counts, dof)
    seen, least_seen = sure_disagreement(eigensystem, codes) if is_code else (1.0, 1.0)
    extrapolated = np.minimum(rate(min(best / total, share)), seen)
    lower = rate(min(least / total, share - NORMAL_95 * spread))
    lower = np.minimum(np.minimum(lower, least_seen), extrapolated)

    def number(value: float) -> Array:
        return jnp.asarray(value, eigensystem.eigenvalues.dtype)

    return NoiseEstimate(
        variance=number(tail.mean / outputs),
        variance_error=number(tail.error / outputs),
        rate=number(rate(share)),
        standard_error=number((high - low) / 2),
        upper=number(rate(share + NORMAL_95 * spread)),
        lower=number(lower),
        retention=number(np.sqrt(1 - np.clip(share, 0.0, 1.0))),
        tail_size=tail.size,
        upper_bound=bool(rate(share) - extrapolated > _WIDE),
        extrapolated=number(extrapolated),
    )


def _blocks(
    eigensystem: Eigensystem, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean energy, eigenvalue and number of directions of each block; all but the last hold one."""
    coefficients = project(eigensystem, codes)
    energy = np.sum(np.asarray(coefficients, np.float64) ** 2, axis=1)
    held = spectrum(eigensystem)
    values, counts = np.asarray(held.values, np.float64), np.ones(len(energy))
    if held.count:
        signal = as_float(codes)
        beyond = float(outside(signal, signal, coefficients, coefficients))
        energy = np.append(energy, beyond / held.count)
        values, counts = np.append(values, held.mean), np.append(counts, held.count)
    return energy, values, counts


@jax.jit
def _inequality(vectors: Array) -> Array:
    """Σ_i (P_ii/m)² − 1/n of the projector P onto all directions but the first k, k = 0..r."""
    n = len(vectors)

    def step(left: Array, vector: Array) -> tuple[Array, Array]:
        return jnp.maximum(left - vector**2, 0.0), unequal(left)

    def unequal(left: Array) -> Array:
        return jnp.sum((left / jnp.maximum(jnp.sum(left), 1e-3) - 1 / n) ** 2)

    left, every = jax.lax.scan(step, jnp.ones(n, vectors.dtype), vectors.T)
    return jnp.append(every, unequal(left))


class _Tail(NamedTuple):
    """The directions that are averaged over, the last ``size``.

    ``error`` is the standard error of their mean energy, ``margin`` a larger one that allows for
    signal too little to be told from noise.
    """

    mean: float
    error: float
    margin: float
    size: int


def _tail(
    energy: np.ndarray, counts: np.ndarray, unequal: np.ndarray, dof: int, total: float | None
) -> _Tail:
    """The widest tail that agrees with all narrower ones."""
    sizes = np.cumsum(counts[::-1])
    means = np.cumsum((energy * counts)[::-1]) / sizes
    # A sum of squares of nearly Gaussian coefficients, dof of them per direction; and few wrong
    # labels are large noise at few points, which a tail does not weigh alike.
    unequal = unequal[::-1]
    relative = 0.0 if total is None else _relative_variance(means / total, dof)
    errors = means * np.sqrt(2 / (sizes * dof) + relative * unequal)
    first = int(np.searchsorted(sizes, max(_FEWEST, _NARROWEST * sizes[-1])))
    last = int(np.searchsorted(sizes, _WIDEST * sizes[-1], side="right")) - 1
    first = min(first, max(last, 0))
    low = np.maximum.accumulate((means - _AGREEMENT * errors)[first:])
    high = np.minimum.accumulate((means + _AGREEMENT * errors)[first:])
    agree = (low <= high)[: max(last - first, 0) + 1]
    chosen = first + (len(agree) if agree.all() else int(np.argmin(agree))) - 1
    error = errors[chosen]
    if total is not None:
        # The energy of the labels at hand in all directions is that of their wrong labels, exactly:
        # what is drawn is how much of it a tail holds, and all of it in the whole.
        pairs = np.maximum(1 / sizes - 1 / sizes[-1] - unequal, 0.0)
        error = means[chosen] * np.sqrt((2 / dof * pairs + relative * unequal)[chosen])
    # Agreement lets a bias of as many standard errors through.
    margin = errors[chosen] * np.sqrt(1 + _AGREEMENT**2)
    return _Tail(float(means[chosen]), float(error), float(margin), round(sizes[chosen]))


def _relative_variance(share: np.ndarray, dof: int) -> np.ndarray:
    """Var ‖ξ_i‖² / (E ‖ξ_i‖²)² of symmetric noise with E ‖ξ_i‖² = share · ‖y_i‖²."""
    kappa = np.sqrt(1 - np.clip(share, 1e-6, 1.0))
    # Two codes of dof + 1 classes have cosine −1/dof; ±1 is the case of two classes.
    rate = (1 - kappa) * dof / (dof + 1)
    wrong, right = 1 + kappa**2 + 2 * kappa / dof, (1 - kappa) ** 2
    return rate * (1 - rate) * (wrong - right) ** 2 / np.clip(share, 1e-6, 1.0) ** 2
