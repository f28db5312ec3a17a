"""Test points, and the accuracy of outputs there."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .._checks import check_finite, check_labels, check_same_length
from .._typing import ArrayLike


class HeldOut:
    """Test inputs with their classes, from labels (m,) or encoded targets (m, C)."""

    def __init__(self, inputs: ArrayLike, labels: ArrayLike, num_outputs: int) -> None:
        """Raises ValueError on labels that do not match the points or the outputs."""
        check_same_length("test labels", labels, "test inputs", inputs)
        check_finite("test inputs", inputs)
        self.inputs, given = jnp.asarray(inputs), np.asarray(labels)
        if given.ndim == 1:
            self._classes = check_labels("test labels", given, max(num_outputs, 2))
        elif given.shape[1:] == (num_outputs,):
            self._classes = _classes(given)
        else:
            raise ValueError(
                f"test targets have shape {given.shape}, expected labels (m,) or encoded targets "
                f"(m, {num_outputs})."
            )

    def accuracy(self, outputs: np.ndarray) -> float:
        """Fraction of the points whose class the outputs (m, C) name."""
        return float(np.mean(_classes(outputs) == self._classes))


def _classes(values: np.ndarray) -> np.ndarray:
    """The class of every row: argmax, or for a single output 1 where it is >= 0, (m,)."""
    return (values[:, 0] >= 0).astype(np.int32) if values.shape[1] == 1 else values.argmax(axis=1)
