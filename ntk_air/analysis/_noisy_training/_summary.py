"""Numbers of a run at its best, at its end, and where held-out noisy labels would stop it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._typing import ArrayLike
from ._group import columns_of
from ._training import NoisyTraining

_DIGITS = 6
_SUMMARISED = ("test_accuracy", "l2_to_clean", "error_to_clean", "label_to_clean")


def noisy_training_summary(training: NoisyTraining) -> dict[str, Any]:
    """Numbers over the seeds at the best record, at the last and at stopping; ready for JSON.

    Args:
        training: result of `noisy_training`.

    Returns:
        ``best``: each quantity at the record of its own best value, which takes clean labels to
        know; ``final``: after the last step; ``stopped``: at the first record of the highest
        held-out accuracy. Each holds quantities with ``mean``, ``sd`` (over seeds; None for one)
        and ``each``. ``stopped`` has the ``step`` besides. ``history``: columns by name.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> settings = na.analysis.NoisySettings(noise="symmetric:0.4", epochs=1, batch_size=20)
        >>> numbers = na.analysis.noisy_training_summary(na.analysis.noisy_training(data, settings))
        >>> sorted(numbers)[:3]
        ['best', 'final', 'history']
    """
    columns = columns_of(training.history)
    steps = columns.pop("step")
    held = np.asarray(training.held_out_accuracy)
    stop = held.argmax(1)
    seeds = np.arange(len(held))
    best, final, stopped = {}, {}, {}
    for name in _SUMMARISED:
        values = columns[name]
        ends = values.max(1) if name == "test_accuracy" else values.min(1)
        best[name] = over_seeds(ends)
        final[name] = over_seeds(values[:, -1])
        stopped[name] = over_seeds(values[seeds, stop])
    stopped["step"] = over_seeds(steps[stop])
    return {
        "best": best,
        "final": final,
        "stopped": stopped,
        "history": {"step": steps.tolist(), "held_out_accuracy": _rounded(held)}
        | {name: _rounded(column) for name, column in columns.items()},
    }


def over_seeds(values: ArrayLike) -> dict[str, Any]:
    """Mean and standard deviation over seeds, ready for JSON.

    Args:
        values: (R,) one number for each seed.

    Returns:
        ``mean``, ``sd`` (over R - 1; None for one seed) and ``each``; None for what is not finite.

    Example:
        >>> import ntk_air as na
        >>> na.analysis.over_seeds([1.0, 3.0])
        {'mean': 2.0, 'sd': 1.414214, 'each': [1.0, 3.0]}
    """
    values = np.asarray(values, np.float64)
    each = [_number(value) for value in values]
    known = not any(value is None for value in each)
    many = known and len(each) > 1
    return {
        "mean": _number(np.mean(values)) if known else None,
        "sd": _number(np.std(values, ddof=1)) if many else None,
        "each": each,
    }


def _number(value: Any) -> float | None:
    return round(float(value), _DIGITS) if math.isfinite(value) else None


def _rounded(rows: np.ndarray) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in rows.astype(np.float64)]
