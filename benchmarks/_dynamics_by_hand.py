"""Closed-form training as an expert writes it by hand, given the eigensystem: nothing is checked.

Targets are projected once, and of a curve no output is formed: it is a product of (T, r) fractions
fitted with (r,) energies. Projections are Sᵀ U and not Uᵀ S, which is the faster order by rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ntk_air as na
from benchmarks._harness import Run


class Inputs(NamedTuple):
    """What contestants of the closed forms get."""

    kernel: jax.Array
    eigensystem: na.spectral.Eigensystem
    clean: jax.Array
    observed: jax.Array
    times: np.ndarray


def numpy_outputs(inputs: Inputs) -> Run:
    """One product of U with the coefficients at all times side by side."""
    u, values, _, observed, times = _arrays(inputs, np)

    def run() -> np.ndarray:
        fitted = -np.expm1(-values[:, None] * times)
        weights = fitted[:, :, None] * (observed.T @ u).T[:, None]
        outputs = u @ weights.reshape(len(u), -1)
        return np.moveaxis(outputs.reshape(len(u), len(times), -1), 1, 0)

    return run


def jax_outputs(inputs: Inputs) -> Run:
    """The same in one jit."""

    @jax.jit
    def outputs(
        u: jax.Array, values: jax.Array, observed: jax.Array, times: jax.Array
    ) -> jax.Array:
        fitted = -jnp.expm1(-values[:, None] * times)
        weights = fitted[:, :, None] * (observed.T @ u).T[:, None]
        found = (u @ weights.reshape(len(u), -1)).reshape(len(u), len(times), -1)
        return jnp.moveaxis(found, 1, 0)

    u, values, _, observed, times = _arrays(inputs, jnp)
    return lambda: outputs(u, values, observed, times)


def numpy_signal(inputs: Inputs) -> Run:
    """The draw's signal curve alone."""
    return _in_numpy(_signal, inputs)


def jax_signal(inputs: Inputs) -> Run:
    """The same in one jit."""
    return _in_jax(_signal, inputs)


def numpy_curves(inputs: Inputs) -> Run:
    """Signal, noise, both of the draw, and every direction."""
    return _in_numpy(_curves, inputs)


def jax_curves(inputs: Inputs) -> Run:
    """The same in one jit."""
    return _in_jax(_curves, inputs)


def _in_numpy(formula: Callable[..., Any], inputs: Inputs) -> Run:
    arrays = _arrays(inputs, np)
    return lambda: formula(np, *arrays)


def _in_jax(formula: Callable[..., Any], inputs: Inputs) -> Run:
    compiled, arrays = jax.jit(lambda *a: formula(jnp, *a)), _arrays(inputs, jnp)
    return lambda: compiled(*arrays)


def _signal(xp: Any, u: Any, values: Any, clean: Any, observed: Any, times: Any) -> Any:
    y, z = xp.split(xp.concatenate([clean, observed], axis=1).T @ u, 2)
    fitted = -xp.expm1(-times[:, None] * values)
    return fitted @ (y * z).sum(axis=0) / (clean**2).sum()


def _curves(xp: Any, u: Any, values: Any, clean: Any, observed: Any, times: Any) -> Any:
    noise = observed - clean
    y, xi = xp.split(xp.concatenate([clean, noise], axis=1).T @ u, 2)
    fitted = -xp.expm1(-times[:, None] * values)
    weights = [(a * b).sum(axis=0) for a, b in ((y, y), (xi, xi), (y, y + xi), (xi, y + xi))]
    signal, noisy, of_draw, noisy_of_draw = xp.stack(weights) @ fitted.T
    of_clean, of_noise = (clean**2).sum(), (noise**2).sum()
    curves = signal / of_clean, noisy / of_noise, of_draw / of_clean, noisy_of_draw / of_noise
    return (*curves, fitted)


def _arrays(inputs: Inputs, xp: Any) -> tuple[Any, ...]:
    """Eigenvectors, eigenvalues, clean and observed targets, times, as float32 arrays of xp."""
    es = inputs.eigensystem
    parts = es.eigenvectors, es.eigenvalues, inputs.clean, inputs.observed, inputs.times
    return tuple(xp.asarray(np.asarray(part, np.float32)) for part in parts)
