"""Retrieval curves: how much signal and how much noise is fitted, when; predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite, check_same_length
from .._numerics import as_float, in_precision, power_of_two, share
from .._results import result, static
from .._typing import Array, ArrayLike, FilterLike, Float
from ..spectral import Eigensystem, resolve_retention
from ._banks import bank_at
from ._inputs import check_times, matching
from ._partial_spectrum import evaluate, outside, spectrum, spread
from ._trust import warn_where_untrusted


@result
class RetrievalCurves:
    """Retrieved signal and noise over training time; 1 is all of it.

    Attributes:
        times: (T,), learning rate × step.
        signal: (T,), predicted: Σ s_k g(λ_k), the expectation over the noise at f_0 = 0;
            measured: ⟨f_t − f_0, y⟩ / (κ‖y‖²).
        noise: (T,), predicted: Σ e_k g(λ_k); measured: ⟨f_t − f_0, ξ⟩ / ‖ξ‖².
        per_direction: (T, r), g(λ_k), or measured u_kᵀ(f_t − f_0) / u_kᵀ(ỹ − f_0) projected on
            the target's own coefficients; (T, 0) if no eigensystem was given.
        draw_signal: (T,), the signal curve exact for this draw: with f_0 and cross terms.
        draw_noise: (T,), the noise curve exact for this draw.
        signal_bound: (T,), how far a partial eigensystem can put ``signal`` from that of the full
            one; zero for a full one, None for measured curves.
        noise_bound: (T,), the same for ``noise``.
        source: ``"predicted"`` or ``"measured"``.
    """

    times: Float[Array, " T"]
    signal: Float[Array, " T"]
    noise: Float[Array, " T"]
    per_direction: Float[Array, "T r"]
    draw_signal: Float[Array, " T"]
    draw_noise: Float[Array, " T"]
    signal_bound: Float[Array, " T"] | None = None
    noise_bound: Float[Array, " T"] | None = None
    source: str = static(default="predicted")


@in_precision
def retrieval(
    eigensystem: Eigensystem,
    clean: Float[ArrayLike, "n C"],
    observed: Float[ArrayLike, "n C"],
    times: Sequence[float] | ArrayLike,
    *,
    retention: float | None = None,
    initial: Float[ArrayLike, "n C"] | None = None,
    filters: Sequence[FilterLike] | None = None,
) -> RetrievalCurves:
    """Predicted retrieval curves of kernel gradient flow (or of other filters).

    Args:
        eigensystem: of the training kernel; the directions outside a partial one are retrieved at
            their mean eigenvalue (tr Θ − Σ λ_k)/(n − r), and the result bounds the error.
        clean: clean targets y (n, C).
        observed: observed targets ỹ (n, C).
        times: T non-negative, increasing times (learning rate × step).
        retention: κ; default the least-squares κ of this draw.
        initial: outputs f_0 (n, C) before training; default zero. Enters the draw's curves only.
        filters: T filters to use in place of gradient flow, e.g. `gradient_descent` at the steps
            behind ``times``.

    Returns:
        `RetrievalCurves` with ``source="predicted"``.

    Raises:
        ValueError: on shapes that do not match, times negative or decreasing, or a filter that
            counts more directions than a partial eigensystem holds.

    Source: Dong, Hou, Lu, Zhang (arXiv:1910.01255), section 3; the exact form for a draw derived.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> clean, observed = np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])
        >>> curves = na.dynamics.retrieval(es, clean, observed, [0.0, 1.0], retention=1.0)
        >>> print(curves.signal.round(4))  # 1 - exp(-2 t)
        [0. 0.8647]
    """
    matching(eigensystem, clean=clean, observed=observed, initial=initial)
    times = check_times(times)
    bank = bank_at(times, filters)
    held = spectrum(eigensystem)
    fitted, rest = evaluate(eigensystem, bank, held)
    kappa = resolve_retention(retention, clean, observed)
    start = None if initial is None else as_float(initial)
    curves, sizes = _curves(
        eigensystem.eigenvectors,
        (fitted, rest, spread(eigensystem, bank, held)),
        (as_float(clean), as_float(observed), start, kappa),
    )
    warn_where_untrusted(eigensystem, bank, sizes, fitted=fitted, held=held)
    return RetrievalCurves(
        times=jnp.asarray(np.asarray(times, fitted.dtype)), per_direction=fitted, **curves
    )


@jax.jit
def _curves(
    eigenvectors: Array,
    filters: tuple[Array, Array, Array],
    signals: tuple[Array, Array, Array | None, Array],
) -> tuple[dict[str, Array], Array]:
    """Curves (T,) by name, and the size (r, 1) of what is retrieved in each direction.

    Args:
        eigenvectors: (n, r).
        filters: fractions fitted (T, r), of the remainder (T,), and its spread (T,).
        signals: clean targets, observed ones, f_0 or None, κ.
    """
    (fitted, rest, widest), (clean, observed, start, kappa) = filters, signals
    goal = observed if start is None else observed - start
    # Curves are ratios of energies: squares must neither overflow nor underflow.
    scale = power_of_two(clean, observed, goal)
    clean, observed, goal = clean / scale, observed / scale, goal / scale
    noise = observed - kappa * clean
    apart = [clean, noise] if start is None else [clean, noise, goal]
    # Sᵀ U and not Uᵀ S: row by row of U, which XLA's CPU backend does two to four times as fast.
    stacked = jnp.concatenate(apart, axis=1)
    y, xi, *z = jnp.split(jnp.matmul(stacked.T, eigenvectors, precision="highest"), len(apart))
    z = z[0] if z else xi + kappa * y
    signal_total, noise_total = jnp.sum(clean**2), jnp.sum(noise**2)
    none_left = eigenvectors.shape[0] == eigenvectors.shape[1]

    def left_of(*signals: Array) -> Array | float:
        return 0.0 if none_left else outside(*signals)

    energies = (
        ("signal", y, y, left_of(clean, clean, y, y), signal_total),
        ("noise", xi, xi, left_of(noise, noise, xi, xi), noise_total),
        ("draw_signal", y, z, left_of(clean, goal, y, z), kappa * signal_total),
        ("draw_noise", xi, z, left_of(noise, goal, xi, z), noise_total),
    )
    weights = jnp.stack([jnp.sum(a * b, axis=0) for _, a, b, _, _ in energies])
    tracked = jnp.matmul(weights, fitted.T, precision="highest")
    curves = {
        name: share(inside + rest * left, total)
        for inside, (name, _, _, left, total) in zip(tracked, energies, strict=True)
    }
    for name, _, _, left, total in energies[:2]:
        curves[f"{name}_bound"] = share(widest * left, total)
    return curves, jnp.sqrt(jnp.sum(y**2, axis=0) + jnp.sum(xi**2, axis=0))[:, None]


@in_precision
def measured_retrieval(
    outputs: Float[ArrayLike, "T n C"],
    clean: Float[ArrayLike, "n C"],
    observed: Float[ArrayLike, "n C"],
    times: Sequence[float] | ArrayLike,
    *,
    retention: float | None = None,
    eigensystem: Eigensystem | None = None,
) -> RetrievalCurves:
    """Retrieval curves of a trained network, from its outputs at T times, the first untrained.

    Args:
        outputs: f_t (T, n, C) on the training points; ``outputs[0]`` is f_0.
        clean: clean targets y (n, C).
        observed: observed targets ỹ (n, C).
        times: T times (learning rate × step), the first 0.
        retention: κ; default the least-squares κ of this draw.
        eigensystem: basis for the per-direction curves; default none.

    Returns:
        `RetrievalCurves` with ``source="measured"``; its draw's curves are the measured ones.

    Raises:
        ValueError: on shapes that do not match.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> clean, observed = np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])
        >>> outputs = np.stack([0 * observed, 0.5 * observed])
        >>> curves = na.dynamics.measured_retrieval(outputs, clean, observed, [0, 1], retention=1.0)
        >>> print(curves.signal, curves.noise)
        [0.  0.5] [0.  0.5]
    """
    for name, value in (("outputs", outputs), ("clean", clean), ("observed", observed)):
        check_finite(name, value)
    check_same_length("outputs", outputs, "times", times)
    times = check_times(times)
    kappa = resolve_retention(retention, clean, observed)
    outputs, clean, observed = as_float(outputs), as_float(clean), as_float(observed)
    scale = power_of_two(outputs, clean, observed)
    outputs, clean, observed = outputs / scale, clean / scale, observed / scale
    if outputs.shape[1:] != clean.shape or clean.shape != observed.shape:
        raise ValueError(
            f"outputs has shape {outputs.shape}, clean {clean.shape}, observed {observed.shape}; "
            "expected (T, n, C), (n, C), (n, C)."
        )
    noise = observed - kappa * clean
    moved = outputs - outputs[0]
    signal = share(jnp.einsum("tnc,nc->t", moved, clean), kappa * jnp.sum(clean**2))
    retrieved_noise = share(jnp.einsum("tnc,nc->t", moved, noise), jnp.sum(noise**2))
    per_direction = jnp.zeros((len(times), 0), outputs.dtype)
    if eigensystem is not None:
        matching(eigensystem, clean=clean, observed=observed)
        per_direction = _per_direction(eigensystem.eigenvectors, moved, observed - outputs[0])
    return RetrievalCurves(
        times=jnp.asarray(times, outputs.dtype),
        signal=signal,
        noise=retrieved_noise,
        per_direction=per_direction,
        draw_signal=signal,
        draw_noise=retrieved_noise,
        source="measured",
    )


@jax.jit
def _per_direction(eigenvectors: Array, moved: Array, target: Array) -> Array:
    goal = jnp.matmul(eigenvectors.T, target, precision="highest")
    done = jnp.einsum("nr,tnc->trc", eigenvectors, moved, precision="highest")
    return share(jnp.sum(done * goal, axis=2), jnp.sum(goal**2, axis=1))
