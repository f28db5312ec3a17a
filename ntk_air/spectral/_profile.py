"""Anisotropic information retrieval: energy of signal and noise in each eigendirection."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_finite,
    check_ndim,
    check_same_length,
    check_same_shape,
    check_size,
)
from .._numerics import as_float, in_precision
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
        cumulative_noise: (r,), N_k; ``expected_noise`` in expectation for noise independent over
            points and of equal variance at each.
        index: (), AIR index: mean over k = 1..r of S_k − N_k, in [−1, 1]; 0 is no anisotropy.
            Without noise N_k is 0.
        retention: (), the κ used.
        isotropy_deviation: (), max over k of |N_k − E[N_k]|: by how much the noise is not
            isotropic; NaN if there is no noise. Under a measured κ there is none in any multiple
            of y, 0 and −y among them; under a κ that is given only in κy.
        expected_noise: (r,), E[N_k] of isotropic noise: k/n where κ was given. The κ measured on
            the draw makes ξ orthogonal to y: it takes the share w of the noise's energy off, all of
            it where the signal lies, and E[N_k] = (k/n − w S_k)/(1 − w). None in files of versions
            that did not have it.
        taken: (), w; 1/n for one output of ±1, 0 where κ was given.
    """

    signal_energy: Float[Array, " r"]
    noise_energy: Float[Array, " r"]
    cumulative_signal: Float[Array, " r"]
    cumulative_noise: Float[Array, " r"]
    index: Float[Array, ""]
    retention: Float[Array, ""]
    isotropy_deviation: Float[Array, ""]
    expected_noise: Float[Array, " r"] | None = None
    taken: Float[ArrayLike, ""] | float = 0.0

    def ratio(self, k: int) -> Float[Array, ""]:
        """AIR ratio S_k / N_k of the first ``k`` directions.

        What a measured κ took off the noise is put back, N_k (1 − w) + w S_k, whose expectation is
        k/n as that of N_k is for a given κ. Infinite where these directions hold no noise above
        round-off, NaN if they hold no signal either.

        Raises:
            ValueError: unless 1 ≤ k ≤ r.
        """
        k = check_size("k", k, 1, len(self.signal_energy), "that many directions are held")
        signal = jnp.asarray(self.cumulative_signal)[k - 1]
        noise = jnp.asarray(self.cumulative_noise)[k - 1]
        noise = noise * (1 - self.taken) + self.taken * signal
        floor = k * len(self.signal_energy) * jnp.finfo(noise.dtype).eps ** 2
        return signal / jnp.where(noise > floor, noise, 0.0)


@in_precision
def project(eigensystem: Eigensystem, signal: Float[ArrayLike, "n C"]) -> Float[Array, "r C"]:
    """Coefficients u_kᵀ signal (r, C) of a signal (n, C) in the eigenbasis.

    Raises:
        ValueError: if ``signal`` is not (n, C) with the n of the eigensystem, or not finite.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> print(abs(na.spectral.project(es, np.array([[4.0], [5.0]]))).round(4))
        [[4.]
         [5.]]
    """
    _check_signal("signal", signal, eigensystem)
    return _project(eigensystem.eigenvectors, as_float(signal))


def _check_signal(name: str, signal: ArrayLike, eigensystem: Eigensystem) -> None:
    check_ndim(name, signal, 2, "(n, C)")
    check_finite(name, signal)
    check_same_length("eigenvectors", eigensystem.eigenvectors, name, signal)


@jax.jit
def _project(eigenvectors: Array, signal: Array) -> Array:
    # SᵀU and not UᵀS: row by row of U, which XLA's CPU backend does up to forty times as fast.
    return jnp.matmul(signal.T, eigenvectors, precision="highest").T


@in_precision
def retention_of(
    clean: Float[ArrayLike, "n C"], observed: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """The κ of a draw: least squares of ỹ = κy + ξ, for when the noise model is not known.

    Raises:
        ValueError: if the shapes differ, or a value is not finite.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> clean, observed = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
        >>> round(float(na.spectral.retention_of(clean, observed)), 4)
        0.75
    """
    check_same_shape("clean", clean, "observed", observed)
    check_finite("clean", clean)
    check_finite("observed", observed)
    return _least_squares(*_scaled(clean), *_scaled(observed))


def resolve_retention(
    retention: float | None, clean: Float[ArrayLike, "n C"], observed: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """The κ given, or that of the draw where none is.

    Raises:
        ValueError: as `retention_of`, or if ``retention`` is no finite number.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> clean = np.array([[1.0], [-1.0]])
        >>> float(na.spectral.resolve_retention(0.5, clean, clean))
        0.5
    """
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

    All of it are shares: they do not depend on the scale of the labels.

    Args:
        eigensystem: of the kernel over the n training points; any rank.
        clean: clean targets y (n, C), coded so that they have mean zero (centred one-hot or ±1).
        observed: observed targets ỹ (n, C).
        retention: κ of the noise model, E[ỹ | y] = κy: pass it where the model is known, such as
            ``noisy.retention``; default the least-squares κ of this draw, and what is expected of
            the noise changes with it (see `AIRProfile`).

    Returns:
        An `AIRProfile`.

    Raises:
        ValueError: on shapes that do not match, or values that are not finite.

    Source: Dong, Hou, Lu, Zhang (arXiv:1910.01255), sections 2 and 3; what a measured κ takes off,
        derived.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([4.0, 3.0, 2.0, 1.0]))
        >>> clean = np.array([[1.0], [1.0], [0.0], [0.0]])
        >>> observed = clean + np.array([[0.0], [0.0], [1.0], [1.0]])
        >>> profile = na.spectral.air_profile(es, clean, observed, retention=1.0)
        >>> print(profile.cumulative_signal.round(4), profile.cumulative_noise.round(4))
        [0.5 1.  1.  1. ] [0.  0.  0.5 1. ]
    """
    check_same_shape("clean", clean, "observed", observed)
    for name, signal in (("clean", clean), ("observed", observed)):
        _check_signal(name, signal, eigensystem)
    (y, size), (seen, seen_size) = _scaled(clean), _scaled(observed)
    kappa = _least_squares(y, size, seen, seen_size)
    if retention is not None:
        check_finite("retention", retention)
        kappa = jnp.asarray(retention, seen.dtype)
    # In units of the observed targets.
    noise = seen - kappa * jnp.asarray(size / seen_size, seen.dtype) * y
    both = _project(eigensystem.eigenvectors, jnp.concatenate([y, noise], axis=1))
    of_y, xi = jnp.split(both, 2, axis=1)
    # Tiny noise is rounding of ỹ − κy, not noise.
    floor = len(noise) * (jnp.finfo(xi.dtype).eps ** 2) * jnp.sum(seen**2)
    signal = _energy(of_y, jnp.sum(y**2), 0.0)
    total = jnp.sum(noise**2)
    noise_energy = _energy(xi, total, floor)
    cumulative_signal, cumulative_noise = jnp.cumsum(signal), jnp.cumsum(noise_energy)
    even = jnp.arange(1, eigensystem.rank + 1) / eigensystem.num_points
    taken = jnp.zeros((), noise.dtype) if retention is not None else _taken(y, noise, floor)
    expected = ((even - taken * cumulative_signal) / (1 - taken)).astype(noise.dtype)
    deviation = jnp.max(jnp.abs(cumulative_noise - expected))
    return AIRProfile(
        signal_energy=signal,
        noise_energy=noise_energy,
        cumulative_signal=cumulative_signal,
        cumulative_noise=cumulative_noise,
        index=jnp.mean(cumulative_signal - cumulative_noise),
        retention=kappa,
        isotropy_deviation=jnp.where(total > floor, deviation, jnp.nan),
        expected_noise=expected,
        taken=taken,
    )


def _scaled(signal: ArrayLike) -> tuple[Array, Array | np.float64]:
    """A signal over its largest absolute value, and that value: squares of neither overflow."""
    given = signal if isinstance(signal, jax.Array) else np.asarray(signal)
    if given.dtype.kind != "f":
        given = as_float(given)
    largest = abs(given).max(initial=0.0)
    if isinstance(given, jax.Array):
        size = jnp.where(largest > 0, largest, 1.0).astype(given.dtype)
        return given / size, size
    # In float64: as float32 the size itself could be flushed to zero.
    size = np.float64(largest if largest > 0 else 1.0)
    return as_float((given / size).astype(given.dtype)), size


def _least_squares(y: Array, size: Any, seen: Array, seen_size: Any) -> Array:
    energy = jnp.sum(y**2)
    kappa = jnp.sum(y * seen) / jnp.where(energy > 0, energy, 1.0)
    kappa = kappa * jnp.asarray(seen_size / size, seen.dtype)
    return jnp.where(energy > 0, kappa, 1.0)


def _taken(y: Array, noise: Array, floor: Array) -> Array:
    """Share w of the noise's energy that lies along y in expectation, and not in this ξ.

    Of noise of covariance Σ_i at each point it is q = Σ_i y_iᵀΣ_i y_i / ‖y‖², which the ξ that is
    left estimates without bias, up to (1 − 1/n), where codes are of equal norm.
    """
    n, energy, left = len(y), jnp.sum(y**2), jnp.sum(noise**2)
    along = jnp.sum(jnp.sum(y * noise, axis=1) ** 2)
    along = along / jnp.where(energy > 0, energy, 1.0) * (n / max(n - 1, 1))
    some = (energy > 0) & (left > floor)
    return jnp.where(some, along / jnp.where(some, left + along, 1.0), 0.0)


def _energy(coefficients: Array, total: Array, floor: Array | float) -> Array:
    energy = jnp.sum(coefficients**2, axis=1)
    return jnp.where(total > floor, energy / jnp.where(total > floor, total, 1.0), 0.0)
