"""Test points, and the accuracy of outputs there."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite
from ..._classes import class_of, classes_given, threshold_of
from ..._typing import ArrayLike


class HeldOut:
    """Test inputs with their classes, from labels (m,) or encoded targets (m, C)."""

    def __init__(self, inputs: ArrayLike, labels: ArrayLike, observed: np.ndarray) -> None:
        """Raises ValueError on labels that do not match the points or the targets (n, C)."""
        check_finite("test inputs", inputs)
        self.inputs = jnp.asarray(inputs)
        self._classes = np.asarray(classes_given(labels, len(self.inputs), observed.shape[1]))
        self._threshold = threshold_of(observed)

    def accuracy(self, outputs: np.ndarray) -> float:
        """Fraction of the points whose class the outputs (m, C) name."""
        return float(np.mean(class_of(np.asarray(outputs), self._threshold) == self._classes))
