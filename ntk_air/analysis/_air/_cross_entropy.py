"""Training by cross-entropy beside that by the squared loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from ... import dynamics
from ..._results import result
from ...distillation import History
from ...dynamics import RetrievalCurves
from ._settings import Pace
from ._targets import Targets
from ._training import Problem, trained


@result
class CrossEntropyRetrieval:
    """Retrieval of a network trained by cross-entropy, in its probabilities.

    The outputs grow without limit, so what is retrieved is measured on p_t − 1/C with
    p = softmax(f): ⟨p_t − 1/C, y⟩ / (κ‖y‖²) and the same of ξ. As long as the probabilities are
    near uniform, softmax is its derivative (I − 11ᵀ/C)/C, and p_t − 1/C follows the closed form of
    the squared loss at the time t/C; that is ``predicted``. It does not say what comes after: where
    probabilities saturate, their points hardly move any more, the others are fitted faster than
    their eigenvalue says, and there is no time at which all is retrieved. Derived.

    Attributes:
        history: of training on the observed labels, the loss summed over points.
        measured: retrieval in the probabilities; its times are learning rate × step.
        predicted: by the network's own NTK at initialisation, at those times over C.
    """

    history: History
    measured: RetrievalCurves
    predicted: RetrievalCurves


def check_cross_entropy(targets: Targets, classes: int) -> None:
    """Raises ValueError if the targets are not one output for each class."""
    if not targets.classes or targets.clean.shape[1] != classes:
        raise ValueError(
            f"cross_entropy needs an output for each class, the network has "
            f"{targets.clean.shape[1]}; leave it out, or give the network {classes}."
        )


def cross_entropy_retrieval(problem: Problem, num_steps: int, pace: Pace) -> CrossEntropyRetrieval:
    """Trains the network by cross-entropy and measures retrieval."""
    targets, classes = problem.targets, problem.dataset.num_classes
    one_hot = dataclasses.replace(
        targets,
        clean=targets.clean + 1 / classes,
        observed=targets.observed + 1 / classes,
        test=targets.test + 1 / classes,
    )
    with_codes = dataclasses.replace(problem, targets=one_hot)
    history, _ = trained(with_codes, 1.0, num_steps, pace, loss="cross_entropy")
    assert history.outputs is not None
    times = [pace.time(int(step)) for step in history.step]
    common: dict[str, Any] = {
        "clean": targets.clean,
        "observed": targets.observed,
        "times": times,
        "retention": targets.retention,
    }
    rate, beta = pace.learning_rate / classes, pace.momentum
    filters = [dynamics.heavy_ball(rate, int(step), beta) for step in history.step]
    return CrossEntropyRetrieval(
        history=dataclasses.replace(history, outputs=None, test_outputs=None),
        measured=dynamics.measured_retrieval(jax.nn.softmax(history.outputs), **common),
        predicted=dynamics.retrieval(
            problem.meter.first,
            filters=filters,
            **common,
        ),
    )
