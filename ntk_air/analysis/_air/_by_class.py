"""Which classes are retrieved when."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..._numerics import share
from ..._results import result, static
from ..._typing import Array, Float, Int
from ...dynamics import RetrievalCurves
from ...spectral import Eigensystem
from ._targets import Targets


@result
class ClassRetrieval:
    """Signal and noise of each class's own points.

    With y_c the clean targets of the points of class c and zero elsewhere, y is the sum of the y_c,
    so whatever is shared out by ⟨u_kᵀy_c, u_kᵀy⟩ sums to the whole; where classes interfere, a
    share may be negative. Derived from the definitions of arXiv:1910.01255, section 3.

    Attributes:
        count: (C,), training points of each class by their clean label.
        cumulative_signal: (C, r), Σ_{j≤k} ⟨u_jᵀy_c, u_jᵀy⟩ / ‖y‖²; over classes they sum to S_k.
        cumulative_noise: (C, r), the same of ξ; they sum to N_k.
        times: (T,), learning rate × step.
        signal: (C, T), predicted share of the class's own signal that is retrieved,
            Σ_k g(λ_k) ⟨u_kᵀy_c, u_kᵀy⟩ / ‖y_c‖²; a class without points has NaN.
        noise: (C, T), the same of the noise on its points.
        half_time: (C,), the first of ``times`` at which half of the class's signal is retrieved;
            infinity where it is not within them.
        measured_times: (S,), of the trained network; None if none was trained.
        measured_signal: (C, S), ⟨f_t − f_0, y_c⟩ / (κ‖y_c‖²) of the trained network.
        measured_noise: (C, S), likewise of the noise.
        class_names: their names.
    """

    count: Int[Array, " C"]
    cumulative_signal: Float[Array, "C r"]
    cumulative_noise: Float[Array, "C r"]
    times: Float[Array, " T"]
    signal: Float[Array, "C T"]
    noise: Float[Array, "C T"]
    half_time: Float[Array, " C"]
    measured_times: Float[Array, " S"] | None = None
    measured_signal: Float[Array, "C S"] | None = None
    measured_noise: Float[Array, "C S"] | None = None
    class_names: tuple[str, ...] = static(default=())

    def latest(self) -> tuple[str, ...]:
        """Names of the classes that have points, the one retrieved latest first."""
        half = np.asarray(self.half_time)
        # Of two that are not half retrieved, the one further from it is the later.
        last, held = np.asarray(self.signal)[:, -1], np.asarray(self.count) > 0
        return tuple(self.class_names[c] for c in np.lexsort((last, -half)) if held[c])


def class_retrieval(
    es: Eigensystem,
    targets: Targets,
    labels: Int[Array, " n"],
    class_names: tuple[str, ...],
    curves: RetrievalCurves,
) -> ClassRetrieval:
    """Shares of each class in closed form, at the times of predicted ``curves``."""
    fitted, times = curves.per_direction, curves.times
    which = np.arange(len(class_names))[:, None] == np.asarray(labels)
    cumulative_signal, signal = _shares(es.eigenvectors, targets.clean, which, fitted)
    cumulative_noise, noise = _shares(es.eigenvectors, targets.noise, which, fitted)
    reached = signal >= 0.5
    half = jnp.where(reached.any(axis=1), times[reached.argmax(axis=1)], jnp.inf)
    return ClassRetrieval(
        count=jnp.asarray(which.sum(axis=1)),
        cumulative_signal=cumulative_signal,
        cumulative_noise=cumulative_noise,
        times=times,
        signal=signal,
        noise=noise,
        half_time=half,
        class_names=class_names,
    )


def measured_by_class(
    outputs: Float[Array, "T n C"], targets: Targets, labels: Int[Array, " n"], num_classes: int
) -> dict[str, Array]:
    """Retrieved signal and noise of each class in a network's outputs, the first untrained."""
    which = jnp.arange(num_classes)[:, None] == jnp.asarray(labels)
    moved = outputs - outputs[0]

    def of_classes(goal: Array) -> Array:
        along = jnp.einsum("tnc,nc->tn", moved, goal, precision="highest")
        total = jnp.sum(goal**2, axis=1)
        return share(which.astype(along.dtype) @ along.T, (which @ total)[:, None], jnp.nan)

    return {
        "measured_signal": of_classes(targets.clean) / targets.retention,
        "measured_noise": of_classes(targets.noise),
    }


@jax.jit
def _shares(
    eigenvectors: Array, signal: Array, which: Array, fitted: Float[Array, "T r"]
) -> tuple[Float[Array, "C r"], Float[Array, "C T"]]:
    """Cumulative shares of the whole, and each class's own share over time."""
    whole = jnp.matmul(eigenvectors.T, signal, precision="highest")
    total = jnp.sum(signal**2)

    def of_class(points: Array) -> tuple[Array, Array]:
        own = jnp.where(points[:, None], signal, 0.0)
        along = jnp.sum(jnp.matmul(eigenvectors.T, own, precision="highest") * whole, axis=1)
        retrieved = jnp.matmul(fitted, along, precision="highest")
        return jnp.cumsum(along), share(retrieved, jnp.sum(own**2), jnp.nan)

    cumulative, retrieved = jax.lax.map(of_class, which)
    return share(cumulative, total), retrieved
