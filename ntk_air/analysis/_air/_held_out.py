"""Signal and noise at test points: how much of each gets there, in closed form and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ... import dynamics
from ..._numerics import share
from ..._results import result
from ..._typing import Array, FilterLike, Float
from ...dynamics import RetrievalCurves
from ...spectral import Eigensystem
from ._targets import Targets


@result
class HeldOutRetrieval:
    """Signal and noise in a network's outputs at m test points.

    The clean signal there is y*, the test points' own targets. The noise is what the kernel makes
    of the label noise once all of it is fitted, ξ* = k(x*, X) Θ⁻¹ ξ; at a training point that is ξ
    itself. Retrieval is as on the training points: ⟨f_t − f_0, y*⟩ / (κ‖y*‖²), which need not reach
    1, and ⟨f_t − f_0, ξ*⟩ / ‖ξ*‖². Source: arXiv:1910.01255 for the training points; at test
    points derived.

    Attributes:
        cumulative_signal: (r,), share of y* that the first k eigendirections bring to the test
            points, ⟨Σ_{j≤k} k(x*, X)u_j u_jᵀy / λ_j, y*⟩ / ‖y*‖².
        cumulative_noise: (r,), the same of ξ and ξ*.
        curves: predicted by the analysed kernel on the grid of times.
        noise_energy: (), ‖ξ*‖²/m over ‖ξ‖²/n: how much of the noise gets to a test point at all.
        measured: of the trained network at its recorded times; None if none was trained.
        predicted: at those times by the network's own NTK at initialisation.
        predicted_infinite: the same by the analysed kernel.
    """

    cumulative_signal: Float[Array, " r"]
    cumulative_noise: Float[Array, " r"]
    curves: RetrievalCurves
    noise_energy: Float[Array, ""]
    measured: RetrievalCurves | None = None
    predicted: RetrievalCurves | None = None
    predicted_infinite: RetrievalCurves | None = None


def held_out_profile(
    es: Eigensystem, cross: Float[Array, "m n"], targets: Targets, noise: Float[Array, "m C"]
) -> dict[str, Any]:
    """What each leading direction brings to the test points, see `HeldOutRetrieval`.

    ``noise`` is ξ*, see `noise_at_test`.
    """
    features = jnp.matmul(cross, es.eigenvectors, precision="highest")
    trusted = jnp.arange(es.rank) < es.trusted_rank
    inverse = jnp.where(trusted, 1.0 / jnp.where(trusted, es.eigenvalues, 1.0), 0.0)

    def brought(signal: Array, goal: Array) -> Array:
        at_training = jnp.matmul(es.eigenvectors.T, signal, precision="highest")
        at_test = jnp.matmul(features.T, goal, precision="highest")
        shares = jnp.sum(at_training * at_test, axis=1) * inverse
        return jnp.cumsum(share(shares, jnp.sum(goal**2)))

    energy = share(jnp.mean(noise**2), jnp.mean(targets.noise**2))
    return {
        "cumulative_signal": brought(targets.clean, targets.test),
        "cumulative_noise": brought(targets.noise, noise),
        "noise_energy": energy,
    }


def noise_at_test(
    es: Eigensystem, cross: Float[Array, "m n"], targets: Targets
) -> Float[Array, "m C"]:
    """ξ*, the label noise as the kernel brings it to the test points once all of it is fitted.

    Directions that round-off hides bring none.
    """
    rank = min(es.trusted_rank, es.rank)
    return dynamics.predict(es, dynamics.truncation(rank), targets.noise, cross)


def predicted_at_test(
    es: Eigensystem,
    cross: Float[Array, "m n"],
    targets: Targets,
    times: Sequence[float] | Float[Array, " T"],
    *,
    noise: Float[Array, "m C"],
    filters: Sequence[FilterLike] | None = None,
) -> RetrievalCurves:
    """Retrieval at the test points in closed form; ``noise`` is ξ*, of which it is a share."""
    chosen = filters or [dynamics.gradient_flow(float(t)) for t in times]
    stacked = jnp.concatenate([targets.clean, targets.noise, targets.observed], axis=1)

    def along(goal: Array) -> Array:
        """⟨f, goal⟩ of the flows from clean targets, noise and both, (3, T)."""
        # The kernel along each output of the goal: no outputs at all points at all times.
        rows = jnp.matmul(goal.T, cross, precision="highest")
        outputs = dynamics.predict(es, chosen, stacked, rows)
        apart = outputs.reshape(len(chosen), goal.shape[1], 3, goal.shape[1])
        return share(jnp.einsum("tcsc->st", apart), jnp.sum(goal**2))

    to_signal, to_noise = along(targets.test), along(noise)
    return RetrievalCurves(
        times=jnp.asarray(times, to_signal.dtype),
        signal=to_signal[0],
        noise=to_noise[1],
        per_direction=jnp.zeros((len(chosen), 0), to_signal.dtype),
        draw_signal=share(to_signal[2], jnp.asarray(targets.retention)),
        draw_noise=to_noise[2],
    )


def measured_at_test(
    outputs: Float[Array, "T m C"],
    targets: Targets,
    times: Sequence[float],
    *,
    noise: Float[Array, "m C"],
) -> RetrievalCurves:
    """Retrieval at the test points in a network's outputs there, the first untrained."""
    return dynamics.measured_retrieval(
        outputs,
        targets.test,
        targets.retention * targets.test + noise,
        times,
        retention=targets.retention,
    )
