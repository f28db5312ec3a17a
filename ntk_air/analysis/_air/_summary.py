"""The numbers of an analysis as one JSON-ready dictionary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...distillation import History
from ...dynamics import RetrievalCurves
from .._recording._record import KernelMovement
from ._by_class import ClassRetrieval
from ._by_layer import LayerShares
from ._cross_entropy import CrossEntropyRetrieval
from ._held_out import HeldOutRetrieval
from ._result import AIRAnalysis

RANKS = (1, 5, 10, 50, 100, 500)
_TOP = 20


def summary(analysis: AIRAnalysis) -> dict[str, Any]:
    """The numbers of an analysis, plain types only; what does not exist is None.

    Times are learning rate × step (divided by 1 − momentum where there is momentum), for the loss
    ½‖f − target‖² summed over points and outputs.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=60, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> numbers = na.analysis.summary(na.analysis.air(data, noisy, steps=0))
        >>> numbers["num_points"], numbers["air"]["ranks"]
        (60, [1, 5, 10, 50, 60])
    """
    return {
        "dataset": analysis.dataset,
        "num_points": analysis.num_points,
        "num_test": analysis.num_test,
        "num_classes": analysis.num_classes,
        "noise": analysis.noise,
        "noise_rate": _number(analysis.noise_rate),
        "retention": _number(analysis.profile.retention),
        "architecture": analysis.architecture,
        "kernel": analysis.kernel,
        "seed": analysis.seed,
        "versions": dict(analysis.versions),
        "eigenvalues": _numbers(analysis.eigenvalues[:_TOP]),
        "trusted_rank": analysis.trusted_rank,
        "air": _air(analysis),
        "retrieval": _retrieval(analysis),
        "test": _held_out(analysis.test),
        "by_class": _by_class(analysis.by_class),
        "by_layer": _by_layer(analysis.by_layer),
        "kernel_movement": _movement(analysis.kernel_movement),
        "cross_entropy": _cross_entropy(analysis.cross_entropy),
        "stopping": stopping(analysis),
        "training": {
            "learning_rate": analysis.learning_rate,
            "momentum": analysis.momentum,
            "time_constant": analysis.time_constant,
        },
        "networks": {
            "plain": network(analysis.plain),
            "self_distilled": network(analysis.self_distilled),
        },
    }


def _air(analysis: AIRAnalysis) -> dict[str, Any]:
    held = len(analysis.eigenvalues)
    ranks = [k for k in RANKS if k < analysis.num_points] + [analysis.num_points]
    profile = analysis.profile

    def at(values: Any, k: int) -> float | None:
        return _number(values[k - 1]) if k <= held else None

    return {
        "index": _number(profile.index),
        "ranks": ranks,
        "cumulative_signal": {str(k): at(profile.cumulative_signal, k) for k in ranks},
        "cumulative_noise": {str(k): at(profile.cumulative_noise, k) for k in ranks},
        "isotropy_deviation": _number(profile.isotropy_deviation),
    }


def headline_rank(numbers: dict[str, Any]) -> int:
    """The rank of a `summary` to quote: the largest up to 100 that the eigensystem holds.

    Example:
        >>> import ntk_air as na
        >>> signal = {"1": 0.2, "5": 0.5, "10": None}  # an eigensystem of rank 5
        >>> na.analysis.headline_rank({"air": {"ranks": [1, 5, 10], "cumulative_signal": signal}})
        5
    """
    air = numbers["air"]
    held = [k for k in air["ranks"] if air["cumulative_signal"][str(k)] is not None]
    return max(k for k in held if k <= 100)


def _retrieval(analysis: AIRAnalysis) -> dict[str, Any]:
    """Measured curves beside the two predictions; the predictions are exact for this draw."""
    measured = analysis.measured
    if measured is None or analysis.predicted is None:
        curves = analysis.curves
        return {
            "times": _numbers(curves.times),
            "predicted_signal": _numbers(curves.draw_signal),
            "predicted_noise": _numbers(curves.draw_noise),
            "measured_signal": None,
            "measured_noise": None,
        }
    return _measured(measured, analysis.predicted, analysis.predicted_infinite)


def _measured(
    measured: RetrievalCurves, predicted: RetrievalCurves, infinite: RetrievalCurves | None
) -> dict[str, Any]:
    numbers = {
        "times": _numbers(measured.times),
        "measured_signal": _numbers(measured.signal),
        "measured_noise": _numbers(measured.noise),
        "predicted_signal": _numbers(predicted.draw_signal),
        "predicted_noise": _numbers(predicted.draw_noise),
        "largest_deviation": _deviation(measured, predicted),
    }
    if infinite is None:
        return numbers
    return numbers | {
        "infinite_width_signal": _numbers(infinite.draw_signal),
        "infinite_width_noise": _numbers(infinite.draw_noise),
        "largest_deviation_infinite_width": _deviation(measured, infinite),
    }


def _held_out(test: HeldOutRetrieval | None) -> dict[str, Any] | None:
    """Signal and noise at the test points."""
    if test is None:
        return None
    held = len(test.cumulative_signal)
    ranks = sorted({k for k in RANKS if k < held} | {held})
    numbers: dict[str, Any] = {
        "cumulative_signal": {str(k): _number(test.cumulative_signal[k - 1]) for k in ranks},
        "cumulative_noise": {str(k): _number(test.cumulative_noise[k - 1]) for k in ranks},
        "noise_energy": _number(test.noise_energy),
        "retrieval": None,
    }
    if test.measured is not None and test.predicted is not None:
        numbers["retrieval"] = _measured(test.measured, test.predicted, test.predicted_infinite)
    return numbers


def _cross_entropy(found: CrossEntropyRetrieval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return network(found.history) | {  # pyright: ignore[reportOptionalOperand]
        "retrieval": _measured(found.measured, found.predicted, None)
    }


def _by_class(classes: ClassRetrieval | None) -> list[dict[str, Any]] | None:
    """The classes, the one retrieved latest first."""
    if classes is None:
        return None
    names = list(classes.class_names)
    return [
        {
            "class": name,
            "count": int(classes.count[c]),
            "half_time": _number(classes.half_time[c]),
            "signal_at_last_time": _number(classes.signal[c, -1]),
            "noise_at_last_time": _number(classes.noise[c, -1]),
        }
        for name in classes.latest()
        for c in [names.index(name)]
    ]


def _by_layer(layers: LayerShares | None) -> list[dict[str, Any]] | None:
    if layers is None:
        return None
    return [
        {
            "layer": name,
            "parameters": layers.num_parameters[index],
            "trace": _number(layers.trace[index]),
            "signal": _number(layers.signal[index]),
            "noise": _number(layers.noise[index]),
        }
        for index, name in enumerate(layers.names)
    ]


def _movement(kernel: KernelMovement | None) -> dict[str, Any] | None:
    """The network's kernel after training beside that before it."""
    if kernel is None:
        return None
    names = ("air_index", "alignment_clean", "alignment_observed")
    return {
        "distance": _number(kernel.distance[-1]),
        "similarity": _number(kernel.similarity[-1]),
        "before": {name: _number(getattr(kernel, name)[0]) for name in names},
        "after": {name: _number(getattr(kernel, name)[-1]) for name in names},
    }


def _deviation(measured: RetrievalCurves, predicted: RetrievalCurves) -> float:
    pairs = ((measured.signal, predicted.draw_signal), (measured.noise, predicted.draw_noise))
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def stopping(analysis: AIRAnalysis) -> dict[str, Any]:
    """Stopping times of kernel gradient flow and the test accuracy at each."""
    accuracy = np.asarray(analysis.test_accuracy)
    # Not the score's: it is NaN where it is not known.
    chosen = int(np.argmax(np.asarray(analysis.times) == np.asarray(analysis.stopping.time)))
    if not np.isfinite(accuracy).all():
        oracle_time = oracle_accuracy = None
    else:
        best = int(np.argmax(accuracy))
        oracle_time, oracle_accuracy = _number(analysis.times[best]), _number(accuracy[best])
    return {
        "oracle_time": oracle_time,
        "gcv_time": _number(analysis.stopping.time),
        "test_accuracy": {
            "oracle": oracle_accuracy,
            "gcv": _number(accuracy[chosen]),
            "converged": _number(analysis.converged_accuracy),
        },
    }


def network(history: History | None) -> dict[str, Any] | None:
    """Best and last test accuracy of a trained network, and how close it came to the clean labels.

    ``l2_to_clean`` and ``margin`` are those of the last record; ``best_l2_to_clean`` is the
    least over training.
    """
    if history is None:
        return None
    accuracy = np.asarray(history.test_accuracy)
    known = np.isfinite(accuracy).all()
    return {
        "best_test_accuracy": _number(accuracy.max()) if known else None,
        "best_step": int(history.step[int(accuracy.argmax())]) if known else None,
        "last_test_accuracy": _number(accuracy[-1]),
        "last_step": int(history.step[-1]),
        "l2_to_clean": _number(history.l2_to_clean[-1]),
        "best_l2_to_clean": _number(np.asarray(history.l2_to_clean).min()),
        "margin": _number(history.margin[-1]),
        "error_to_clean": _number(history.error_to_clean[-1]),
        "error_to_observed": _number(history.error_to_observed[-1]),
    }


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _numbers(values: Any) -> list[float | None]:
    return [_number(v) for v in np.asarray(values)]
