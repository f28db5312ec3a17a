"""What a run tells at its records: step, parameters, and the numbers of the record."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._typing import PyTree
from ._optimizer import Rate

Listener = Callable[[int, PyTree, dict[str, Any]], Any]


def as_listener(on_record: Any) -> Listener | None:
    """``on_record``, called with the numbers of a record where it has a place for them.

    Raises:
        ValueError: if it cannot be called so.
    """
    if on_record is None:
        return None
    needed = _needed(on_record) if callable(on_record) else None
    if needed is None or needed > 3:
        raise ValueError(
            f"on_record is {on_record!r}, expected a function (step, params) or (step, params, "
            "numbers)."
        )
    if needed == 3:
        return on_record
    return lambda step, params, numbers: on_record(step, params)


def _needed(function: Any) -> int | None:
    """Positional arguments that a function cannot do without; None where it takes fewer than 2."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return 2
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.default is p.empty for p in positional)


def numbers_of(
    row: dict[str, Any], rate: Rate, steps_per_epoch: int, num_steps: int
) -> dict[str, Any]:
    """The numbers of a record by name: Python numbers, or arrays (R,) over networks."""
    step = int(row["step"])
    loss = np.asarray(row["loss"])
    numbers: dict[str, Any] = {
        "step": step,
        "epoch": step // steps_per_epoch,
        "time": rate.times(np.asarray([step]))[..., 0],
        "learning_rate": rate.at(step, num_steps),
    }
    for name, value in row.items():
        if name not in ("step", "outputs", "test_outputs"):
            numbers[name] = np.full(loss.shape, np.nan) if value is None else np.asarray(value)
    return {name: _plain(value) for name, value in numbers.items()}


def _plain(value: Any) -> Any:
    return value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
