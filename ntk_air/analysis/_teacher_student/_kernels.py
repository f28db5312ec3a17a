"""What kernels say about a teacher and its students: closed forms and supervision complexity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import distillation, dynamics, kernels, spectral
from ..._classes import class_of
from ..._numerics import double_precision
from ..._typing import Array, FilterLike
from ...datasets import Dataset

CLOSED_FORM = ("predicted", "predicted_teacher", "stopping_time")


def closed_form(
    network: kernels.Architecture,
    dataset: Dataset,
    es: spectral.Eigensystem,
    observed: Array,
    trained: distillation.TeacherStudentResult,
    alpha: float,
    after: Callable[[int], FilterLike],
    budget: int,
) -> dict[str, Any]:
    """Accuracies of training with the infinite-width kernel for the same steps, (G, S)."""
    cross = kernels.infinite_ntk(
        network, dataset.test_inputs, dataset.train_inputs, memory_budget=budget
    )
    teachers = [after(int(step)) for step in trained.checkpoints]
    student = after(int(trained.students.step[-1]))
    filters = [*teachers, *(dynamics.distilled(one, student, alpha) for one in teachers)]
    accuracies, chosen = [], []
    for one in observed:
        outputs = dynamics.predict(es, filters, one, cross)
        right = class_of(outputs) == jnp.asarray(dataset.test_labels)
        accuracies.append(jnp.mean(right, axis=-1, dtype=outputs.dtype).reshape(2, len(teachers)))
        chosen.append(dynamics.stopping_time(es, one).time)
    both = jnp.stack(accuracies)
    return {
        "predicted_teacher": both[:, 0],
        "predicted": both[:, 1],
        "stopping_time": jnp.stack(chosen),
    }


def complexities(
    network: kernels.Architecture,
    students: Any,
    dataset: Dataset,
    targets: Array,
    observed: Array,
    clean: Array,
    budget: int,
) -> dict[str, Any]:
    """Supervision complexity of targets (G, S, K, n, C) under each seed's student, in float64."""
    soft, given, true = [], [], []
    grid = targets.shape[1:3]
    with double_precision():
        inputs = jnp.asarray(np.asarray(dataset.train_inputs), jnp.float64)
        for g in range(len(targets)):
            params = jax.tree.map(lambda leaf, g=g: jnp.asarray(leaf[g], jnp.float64), students)
            kernel = kernels.empirical_ntk(network.apply_fn, params, inputs, memory_budget=budget)
            es = spectral.eigendecompose(kernel)
            taught = [_complexity(es, one) for row in targets[g] for one in row]
            soft.append(np.reshape(taught, grid))
            given.append(_complexity(es, observed[g]))
            true.append(_complexity(es, clean))
    return {
        "complexity": jnp.asarray(np.stack(soft)),
        "observed_complexity": jnp.asarray(given),
        "clean_complexity": jnp.asarray(true),
    }


def _complexity(es: spectral.Eigensystem, targets: Array) -> float:
    """Of targets minus their mean over classes, which the softmax does not see."""
    centred = np.asarray(targets, np.float64)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    return float(spectral.supervision_complexity(es, centred))
