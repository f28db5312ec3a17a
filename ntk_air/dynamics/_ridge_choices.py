"""Settings of ridge self-distillation that theory singles out: strengths and teacher weights."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from scipy.optimize import root_scalar

from .._checks import check_finite, check_in_range, check_ndim, check_same_shape, check_size
from .._numerics import as_float, in_precision
from .._typing import Array, ArrayLike, Float
from ..spectral import Eigensystem
from ._partial_spectrum import spectrum, split


@in_precision
def tolerance_strengths(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    tolerance: float,
    rounds: int,
) -> list[float]:
    """Ridge strengths of self-distillation whose every round fits its target to a tolerance.

    Round i minimises the RKHS norm subject to ‖f_i − f_{i−1}‖²/n ≤ ε, f_{−1} = ỹ: ridge of the
    strength γ_i at which the constraint is active. Pass them to `ridge_distillation`. Once a
    target is smaller than the tolerance, f = 0 satisfies it: training has collapsed.

    Args:
        eigensystem: of the training kernel; a partial one's remainder counts at its mean
            eigenvalue.
        observed: targets ỹ (n, C).
        tolerance: ε, mean squared distance per point (summed over outputs).
        rounds: rounds after the first fit.

    Returns:
        rounds + 1 strengths. For Mobahi's per-point regularisation c their γ is n c.

    Raises:
        ValueError: on shapes that do not match; a tolerance that the kernel cannot reach, because
            directions of eigenvalue zero hold more; or collapse before the last round (the
            message says at which).

    Source: Mobahi, Farajtabar, Bartlett (arXiv:2002.05715), section 3.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> strengths = na.dynamics.tolerance_strengths(es, np.ones((2, 1)), 0.25, 1)
        >>> print(np.round(strengths, 3))
        [ 1.372 56.768]
    """
    check_in_range("tolerance", tolerance, 0.0, low_open=True)
    rounds = check_size("rounds", rounds, 0)
    check_finite("observed", observed)
    held = spectrum(eigensystem)
    coefficients, rest = split(eigensystem, as_float(observed))
    values = np.append(np.asarray(held.values, np.float64), held.mean)
    energy = np.append(np.sum(np.asarray(coefficients, np.float64) ** 2, axis=1), float(rest))
    goal = tolerance * eigensystem.num_points
    strengths: list[float] = []
    for index in range(rounds + 1):
        if energy.sum() <= goal:
            raise ValueError(
                f"self-distillation collapses at round {index}: its target has mean square "
                f"{energy.sum() / eigensystem.num_points:.4g}, within the tolerance {tolerance:g} "
                f"of zero; ask for at most {index - 1} rounds, or lower the tolerance."
            )
        lost = energy[values <= 0].sum()
        if lost >= goal:
            raise ValueError(
                f"directions of eigenvalue zero hold {lost / eigensystem.num_points:.4g} per point "
                f"of the target of round {index}, more than the tolerance {tolerance:g}: no "
                "strength reaches it."
            )

        def excess(log_strength: float, energy: np.ndarray = energy) -> float:
            kept = np.exp(log_strength) / (np.exp(log_strength) + values)
            return float(np.sum(kept**2 * energy)) / goal - 1.0

        ends = np.log(values[values > 0].min()) - 60.0, np.log(values.max()) + 60.0
        gamma = math.exp(root_scalar(excess, bracket=ends, method="brentq", xtol=1e-13).root)
        strengths.append(gamma)
        energy = energy * (values / (values + gamma)) ** 2
    return strengths


@in_precision
def optimal_teacher_weight(
    eigenvalues: Float[ArrayLike, " r"],
    signal: Float[ArrayLike, " r"],
    noise_variance: float,
    strength: float,
    *,
    error_weights: Float[ArrayLike, " r"] | None = None,
) -> Float[Array, ""]:
    """The weight on its teacher that makes a ridge student best: ξ*, above 1 at high noise.

    Targets are y_j = sqrt(σ_j) θ_j + ε_j in each eigendirection of the design, Var ε_j = v. Teacher
    and student are ridge fits of strength γ, the student's target is (1 − ξ) y + ξ (teacher). The
    expected error Σ w_j E(θ̂_j − θ_j)² is quadratic in ξ, with its least value at

        ξ* = [Σ w γσ(v − γθ²)/(σ + γ)³] / [Σ w γ²σ(v + σθ²)/(σ + γ)⁴].

    The student's filter is ``ridge_distillation(strength, 1, alpha=1 - ξ*)``. Below 0, where the
    strength is already more than the noise asks for, no teacher helps.

    Args:
        eigenvalues: σ (r,), eigenvalues of XᵀX (or of the kernel).
        signal: θ (r,), coefficients of the truth; of a kernel, u_kᵀ(κy) / sqrt(λ_k).
        noise_variance: v.
        strength: γ of both fits.
        error_weights: w (r,), none negative; default 1, the error of the parameters.
            ``eigenvalues`` gives the error of the outputs at the training points.

    Raises:
        ValueError: on shapes that do not match, values out of range, or neither signal nor noise.

    Source: Das, Sanghavi (arXiv:2301.13304); this form derived.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> values, signal = np.array([2.0, 1.0]), np.array([1.0, 0.2])
        >>> round(float(na.dynamics.optimal_teacher_weight(values, signal, 0.5, 0.3)), 3)
        2.311
    """
    check_ndim("eigenvalues", eigenvalues, 1, "(r,)")
    check_same_shape("eigenvalues", eigenvalues, "signal", signal)
    check_finite("eigenvalues", eigenvalues)
    check_finite("signal", signal)
    check_in_range("noise_variance", noise_variance, 0.0, high_open=True)
    check_in_range("strength", strength, 0.0, low_open=True, high_open=True)
    values = np.maximum(np.asarray(as_float(eigenvalues), np.float64), 0.0)
    theta, weights = np.asarray(as_float(signal), np.float64), np.ones_like(values)
    if error_weights is not None:
        check_same_shape("eigenvalues", eigenvalues, "error_weights", error_weights)
        check_finite("error_weights", error_weights)
        weights = np.asarray(as_float(error_weights), np.float64)
        if weights.min(initial=0.0) < 0:
            raise ValueError(
                f"error_weights holds {weights.min():g}; a negative weight rewards errors, so that "
                "no teacher weight is best; expected none below 0."
            )
    top, bottom = _teacher_weight(values, theta, weights, noise_variance, strength)
    if not bottom > 0:
        raise ValueError(
            "there is neither signal nor noise in a direction of positive eigenvalue and weight, "
            "so every teacher weight is as good; expected some."
        )
    return jnp.asarray(top / bottom, as_float(eigenvalues).dtype)


def _teacher_weight(
    values: np.ndarray, theta: np.ndarray, weights: np.ndarray, variance: float, strength: float
) -> tuple[float, float]:
    """Numerator and denominator, over what both share: units of the kernel, errors and signal."""
    unit = max(float(values.max(initial=0.0)), strength)
    values, strength = values / unit, strength / unit
    theta, deviation = theta * math.sqrt(unit), math.sqrt(variance)
    size = max(float(np.abs(theta).max(initial=0.0)), deviation) or 1.0
    energy, variance = (theta / size) ** 2, (deviation / size) ** 2
    weights = weights / (float(weights.max(initial=0.0)) or 1.0)
    left = strength / (values + strength)
    scale = weights * values / (values + strength) ** 2
    top = np.sum(scale * left * (variance - strength * energy))
    bottom = np.sum(scale * left**2 * (variance + values * energy))
    return float(top), float(bottom)
