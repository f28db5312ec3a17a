"""Anisotropic information retrieval: energy of signal and noise in each eigendirection."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._checks import check_finite, check_ndim, check_same_length, check_same_shape
from .._numerics import as_float, in_precision, power_of_two
from .._results import result
from .._typing import Array, ArrayLike, Float
from ._eigensystem import Eigensystem


@result
class AIRProfile:
    """Where the energy of clean labels and of label noise lies in a kernel's spectrum.

    Attributes:
        signal_energy: (r,), s_k = ‖u_kᵀy‖² / ‖y‖².
        noise_energy: (r,), e_k = ‖u_kᵀξ‖² / ‖ξ‖² with ξ = ỹ − κy; zero if there is no noise.
        cumulative_signal: (r,), S_k = Σ_{j≤k} s_j.
        cumulative_noise: (r,), N_k; k/n in expectation for noise independent over points and of
            equal variance at each.
        index: (), AIR index: mean over k = 1..r of S_k − N_k, in [−1, 1]; 0 is no anisotropy.
        retention: (), the κ used.
        isotropy_deviation: (), max over k of |N_k − k/n|: by how much the noise is not isotropic.
    """

    signal_energy: Float[Array, " r"]
    noise_energy: Float[Array, " r"]
    cumulative_signal: Float[Array, " r"]
    cumulative_noise: Float[Array, " r"]
    index: Float[Array, ""]
    retention: Float[Array, ""]
    isotropy_deviation: Float[Array, ""]

    def ratio(self, k: int) -> Float[Array, ""]:
        """AIR ratio S_k / N_k of the first ``k`` directions; infinite where N_k is zero.

        Raises:
            ValueError: unless 1 ≤ k ≤ r.
        """
        if not 1 <= k <= len(self.signal_energy):
            raise ValueError(f"k is {k}, expected 1 to {len(self.signal_energy)} directions.")
        return self.cumulative_signal[k - 1] / self.cumulative_noise[k - 1]


@in_precision
def project(eigensystem: Eigensystem, signal: Float[ArrayLike, "n C"]) -> Float[Array, "r C"]:
    """Coefficients u_kᵀ signal (r, C) of a signal (n, C) in the eigenbasis.

    Raises:
        ValueError: if ``signal`` is not (n, C) with the n of the eigensystem, or not finite.
    """
    check_ndim("signal", signal, 2, "(n, C)")
    check_finite("signal", signal)
    check_same_length("eigenvectors", eigensystem.eigenvectors, "signal", signal)
    return _project(eigensystem.eigenvectors, as_float(signal))


@jax.jit
def _project(eigenvectors: Array, signal: Array) -> Array:
    return jnp.matmul(eigenvectors.T, signal, precision="highest")


@in_precision
def retention_of(
    clean: Float[ArrayLike, "n C"], observed: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """The κ of a draw: least squares of ỹ = κy + ξ, for when the noise model is not known."""
    check_same_shape("clean", clean, "observed", observed)
    check_finite("clean", clean)
    check_finite("observed", observed)
    clean, observed = as_float(clean, "clean"), as_float(observed, "observed")
    scale = power_of_two(clean)
    clean, observed = clean / scale, observed / scale
    energy = jnp.sum(clean**2)
    return jnp.where(energy > 0, jnp.sum(clean * observed) / energy, 1.0)


def resolve_retention(
    retention: float | None, clean: Float[ArrayLike, "n C"], observed: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """The κ given, or that of the draw where none is."""
    if retention is None:
        return retention_of(clean, observed)
    check_finite("retention", retention)
    return as_float(retention, "retention")


@in_precision
def air_profile(
    eigensystem: Eigensystem,
    clean: Float[ArrayLike, "n C"],
    observed: Float[ArrayLike, "n C"],
    *,
    retention: float | None = None,
) -> AIRProfile:
    """Energy of the clean labels and of the label noise in each eigendirection.

    Args:
        eigensystem: of the kernel over the n training points; any rank.
        clean: clean targets y (n, C), coded so that they have mean zero (centred one-hot or ±1).
        observed: observed targets ỹ (n, C).
        retention: κ of the noise model, E[ỹ | y] = κy; default the least-squares κ of this draw.

    Returns:
        An `AIRProfile`.

    Raises:
        ValueError: on shapes that do not match, or values that are not finite.

    Source: Dong, Hou, Lu, Zhang (arXiv:1910.01255), sections 2 and 3.
    """
    check_same_shape("clean", clean, "observed", observed)
    check_finite("clean", clean)
    check_finite("observed", observed)
    clean, observed = as_float(clean, "clean"), as_float(observed, "observed")
    # What follows are ratios of energies: squares must neither overflow nor underflow.
    scale = power_of_two(clean, observed)
    clean, observed = clean / scale, observed / scale
    y = project(eigensystem, clean)
    kappa = resolve_retention(retention, clean, observed)
    noise = observed - kappa * clean
    xi = project(eigensystem, noise)
    # Tiny noise is rounding of ỹ − κy, not noise.
    floor = len(noise) * (jnp.finfo(xi.dtype).eps ** 2) * jnp.sum(observed**2)
    signal = _energy(y, jnp.sum(clean**2), 0.0)
    noise_energy = _energy(xi, jnp.sum(noise**2), floor)
    cumulative_signal, cumulative_noise = jnp.cumsum(signal), jnp.cumsum(noise_energy)
    expected = jnp.arange(1, eigensystem.rank + 1) / eigensystem.num_points
    return AIRProfile(
        signal_energy=signal,
        noise_energy=noise_energy,
        cumulative_signal=cumulative_signal,
        cumulative_noise=cumulative_noise,
        index=jnp.mean(cumulative_signal - cumulative_noise),
        retention=kappa,
        isotropy_deviation=jnp.max(jnp.abs(cumulative_noise - expected)),
    )


def _energy(coefficients: Array, total: Array, floor: Array | float) -> Array:
    energy = jnp.sum(coefficients**2, axis=1)
    return jnp.where(total > floor, energy / jnp.where(total > floor, total, 1.0), 0.0)
