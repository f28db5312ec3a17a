"""What an analysis says of the network itself: trained, and measured beside its NTK."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from ... import dynamics, kernels
from ..._typing import Array, Float
from ...spectral import Eigensystem
from ._by_class import measured_by_class
from ._cross_entropy import cross_entropy_retrieval
from ._held_out import measured_at_test, noise_at_test, predicted_at_test
from ._settings import Pace, Settings
from ._training import Problem, TrainedNetworks, trained_networks

_Pair = tuple[Eigensystem, Float[Array, "m n"] | None]


def of_network(
    problem: Problem, studied: _Pair, found: dict[str, Any], settings: Settings, kind: str
) -> tuple[dict[str, Any], Pace]:
    """Fields of an `AIRAnalysis` of a trained network, and how fast it was trained.

    Args:
        problem: points, targets and network.
        studied: eigensystem of the analysed kernel, and that between test and training points.
        found: fields that are known already.
        settings: of the analysis.
        kind: of the analysed kernel.
    """
    own, targets = problem.meter.first, problem.targets
    fastest, stopping = studied[0], found["stopping"]
    # The time of a kernel that is not the network's is another one.
    if kind not in ("infinite", "finite"):
        fastest, stopping = own, dynamics.stopping_time(own, targets.observed)
    assert settings.steps is not None
    pace = settings.paced(float(fastest.eigenvalues[0]), float(stopping.time))
    trained = trained_networks(problem, settings.steps, pace)
    outputs = trained.plain.outputs
    assert outputs is not None
    common: dict[str, Any] = {
        "clean": targets.clean,
        "observed": targets.observed,
        "times": trained.times,
        "retention": targets.retention,
    }
    filters = trained.filters
    fields: dict[str, Any] = {
        "plain": dataclasses.replace(trained.plain, outputs=None, test_outputs=None),
        "self_distilled": trained.self_distilled,
        "measured": dynamics.measured_retrieval(outputs, eigensystem=own, **common),
        "predicted": dynamics.retrieval(own, filters=filters, **common),
        "kernel_movement": trained.movement,
    }
    if settings.cross_entropy:
        fields["cross_entropy"] = cross_entropy_retrieval(problem, settings.steps, pace)
    if "by_class" in found:
        dataset = problem.dataset
        fields["by_class"] = dataclasses.replace(
            found["by_class"],
            measured_times=jnp.asarray(trained.times, outputs.dtype),
            **measured_by_class(outputs, targets, dataset.train_labels, dataset.num_classes),
        )
    if kind == "infinite":
        infinite = dynamics.retrieval(studied[0], filters=filters, **common)
        fields["predicted_infinite"] = infinite
    if "test" in found:
        fields["test"] = _at_test(problem, trained, own, studied, found["test"], kind)
    return fields, pace


def _at_test(
    problem: Problem,
    trained: TrainedNetworks,
    own: Eigensystem,
    studied: _Pair,
    known: Any,
    kind: str,
) -> Any:
    """The network at the test points, beside what its own NTK and the analysed one predict."""
    targets, times, filters = problem.targets, trained.times, trained.filters
    es, cross = studied
    assert cross is not None
    own_cross: Any = cross
    if kind != "finite":
        own_cross = kernels.empirical_ntk(
            *problem.started,
            problem.dataset.test_inputs,
            problem.dataset.train_inputs,
            **problem.how,
        )
    noise = noise_at_test(own, own_cross, targets)
    assert trained.plain.test_outputs is not None
    infinite = None
    if kind == "infinite":
        infinite = predicted_at_test(es, cross, targets, times, noise=noise, filters=filters)
    return dataclasses.replace(
        known,
        measured=measured_at_test(trained.plain.test_outputs, targets, times, noise=noise),
        predicted=predicted_at_test(own, own_cross, targets, times, noise=noise, filters=filters),
        predicted_infinite=infinite,
    )
