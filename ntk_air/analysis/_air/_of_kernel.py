"""What an analysis says of a kernel alone: where signal and noise lie, and when they are fitted."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ... import dynamics, spectral
from ..._classes import class_of
from ..._typing import Array, Float
from ...datasets import Dataset
from ...spectral import Eigensystem
from ._by_class import class_retrieval
from ._held_out import HeldOutRetrieval, held_out_profile, noise_at_test, predicted_at_test
from ._targets import Targets


def of_kernel(
    es: Eigensystem, cross: Float[Array, "m n"] | None, dataset: Dataset, targets: Targets
) -> dict[str, Any]:
    """Fields of an `AIRAnalysis` that need no trained network."""
    signals = (targets.clean, targets.observed)
    stopping = dynamics.stopping_time(es, targets.observed)
    times = stopping.times
    filters = [dynamics.gradient_flow(float(t)) for t in times]
    labels = dataset.train_labels
    found: dict[str, Any] = {
        "eigenvalues": es.eigenvalues,
        "profile": spectral.air_profile(es, *signals, retention=targets.retention),
        "stopping": stopping,
        "times": times,
        "curves": dynamics.retrieval(es, *signals, times, retention=targets.retention),
        "by_class": class_retrieval(es, targets, labels, dataset.class_names, filters, times),
        "train_accuracy": _accuracy(dynamics.fit(es, filters, targets.observed), labels),
    }
    if cross is None:
        nothing = jnp.full(len(times), jnp.nan)
        return found | {"test_accuracy": nothing, "converged_accuracy": nothing[0], "test": None}
    ever = [*filters, dynamics.gradient_flow(float("inf"))]
    test = _accuracy(dynamics.predict(es, ever, targets.observed, cross), dataset.test_labels)
    noise = noise_at_test(es, cross, targets)
    return found | {
        "test_accuracy": test[:-1],
        "converged_accuracy": test[-1],
        "test": HeldOutRetrieval(
            curves=predicted_at_test(es, cross, targets, times, noise=noise),
            **held_out_profile(es, cross, targets, noise),
        ),
    }


def _accuracy(outputs: Array, labels: Array) -> Array:
    right = class_of(outputs) == jnp.asarray(labels)
    return jnp.mean(right, axis=-1, dtype=outputs.dtype)
