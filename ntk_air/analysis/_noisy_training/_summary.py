"""Numbers of a run at its best, at its end, and where held-out noisy labels would stop it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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
        best[name] = spread(ends)
        final[name] = spread(values[:, -1])
        stopped[name] = spread(values[seeds, stop])
    stopped["step"] = spread(steps[stop])
    return {
        "best": best,
        "final": final,
        "stopped": stopped,
        "history": {"step": steps.tolist(), "held_out_accuracy": _rounded(held)}
        | {name: _rounded(column) for name, column in columns.items()},
    }


def spread(values: np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation over seeds (n - 1) and the values; None for what is not known."""
    each = [_number(value) for value in np.asarray(values, np.float64)]
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
