"""The optimiser as compiled in, and the learning rate that goes with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from ..._checks import check_finite, check_learning_rate
from .._alpha_given import tabulate


@dataclasses.dataclass(frozen=True)
class Rate:
    """A learning rate.

    Attributes:
        values: () constant, (num_steps,) per step, or (R,) per network; None: not known.
        kind: "constant", "steps" or "networks".
    """

    values: np.ndarray | None
    kind: str = "constant"

    def times(self, steps: np.ndarray) -> np.ndarray:
        """Learning rate x step at every record, (records,), or (R, records) per network."""
        if self.values is None:
            return np.full(len(steps), np.nan)
        if self.kind == "steps":
            return np.concatenate([[0.0], np.cumsum(self.values)])[steps]
        return self.values[..., None] * steps

    def at(self, step: int, num_steps: int) -> np.ndarray | float:
        """The learning rate of the step to come, after the last one that of the last."""
        if self.values is None:
            return float("nan")
        return self.values[min(step, num_steps - 1)] if self.kind == "steps" else self.values


def resolve_optimizer(
    optimizer: Any, learning_rate: Any, num_steps: int, replicas: int | None
) -> tuple[Any, Rate]:
    """The optimiser and its learning rate.

    Raises:
        ValueError: a learning rate that is missing, given twice, or no positive number.
    """
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):  # also optax.MultiSteps
        return optimizer, _rate(learning_rate, num_steps, replicas)
    if callable(optimizer):
        if learning_rate is None:
            raise ValueError(
                "optimizer is a function of the learning rate; pass learning_rate too, or a "
                "finished transformation such as optax.adam(1e-3)."
            )
        return optimizer, _rate(learning_rate, num_steps, replicas)
    if optimizer is None or isinstance(optimizer, str):
        raise ValueError(
            f"optimizer is {optimizer!r}, expected a learning rate (a number: gradient descent), a "
            "function such as optax.adam with learning_rate, or a finished optax transformation."
        )
    if learning_rate is not None:
        raise ValueError(
            "the learning rate was given twice: as optimizer, which as a number means gradient "
            "descent with that rate, and as learning_rate; drop one, or pass optimizer=optax.sgd."
        )
    return optax.sgd, _rate(optimizer, num_steps, replicas)


def made(optimizer: Callable[..., Any], learning_rate: Any) -> optax.GradientTransformation:
    """What an optimiser function returns for a learning rate, or for a function of the step.

    Raises:
        ValueError: if it is no transformation.
    """
    transformation = optimizer(learning_rate)
    if not hasattr(transformation, "init") or not hasattr(transformation, "update"):
        raise ValueError(
            f"optimizer returns a {type(transformation).__name__} for a learning rate, expected an "
            "optax transformation, as optax.adam returns; a schedule goes in learning_rate."
        )
    return transformation


def _rate(value: Any, num_steps: int, replicas: int | None) -> Rate:
    if value is None:
        return Rate(None)
    if callable(value):
        table = np.asarray(tabulate("learning_rate", value, num_steps))
        check_finite("learning_rate", table)
        if table.min() < 0:
            raise ValueError(
                f"learning_rate is {table.min():g} at step {table.argmin()}, expected a rate >= 0 "
                "at every step."
            )
        return Rate(table, "steps")
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"the learning rate is {value!r}, expected a number, a function of the step, or with "
            "replicas one number for each network."
        ) from None
    if values.ndim > (0 if replicas is None else 1):
        raise ValueError(
            f"the learning rate has shape {values.shape}, expected a number, a function of the "
            "step, or with replicas one number for each network."
        )
    if values.ndim and len(values) != replicas:
        raise ValueError(
            f"the learning rate is given for {len(values)} networks, expected {replicas} "
            "(replicas)."
        )
    for one in np.ravel(values):
        check_learning_rate(float(one))
    return Rate(values, "networks" if values.ndim else "constant")
