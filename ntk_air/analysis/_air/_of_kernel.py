"""What an analysis says of a kernel alone: where signal and noise lie, and when they are fitted."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ... import dynamics, spectral
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
    found: dict[str, Any] = {
        "eigenvalues": es.eigenvalues,
        "profile": spectral.air_profile(es, *signals, retention=targets.retention),
        "stopping": stopping,
        "times": times,
        "curves": dynamics.retrieval(es, *signals, times, retention=targets.retention),
        "train_accuracy": targets.score(dynamics.fit(es, filters, targets.observed), test=False),
    }
    if targets.classes:
        found["by_class"] = class_retrieval(
            es, targets, dataset.train_labels, dataset.class_names, found["curves"]
        )
    if cross is None:
        nothing = jnp.full(len(times), jnp.nan)
        return found | {"test_accuracy": nothing, "converged_accuracy": nothing[0]}
    ever = [*filters, dynamics.gradient_flow(float("inf"))]
    test = targets.score(dynamics.predict(es, ever, targets.observed, cross), test=True)
    noise = noise_at_test(es, cross, targets)
    return found | {
        "test_accuracy": test[:-1],
        "converged_accuracy": test[-1],
        "test": HeldOutRetrieval(
            curves=predicted_at_test(es, cross, targets, times, noise=noise),
            **held_out_profile(es, cross, targets, noise),
        ),
    }
