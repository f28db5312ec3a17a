"""Checks of a noise transition: rows of probabilities, by which the labels can have come about."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import check_finite, real_array
from .._numerics import as_float, eps_of


def check_rows(matrix: np.ndarray) -> np.ndarray:
    """A transition (..., C, C) as floats; ValueError unless its rows are probabilities."""
    check_finite("transition", matrix)
    rounding = eps_of(matrix.dtype)
    matrix = np.asarray(as_float(matrix, "transition"))
    if matrix.min() < 0 or not np.allclose(matrix.sum(-1), 1, atol=max(1e-4, rounding)):
        raise ValueError(
            f"transition has least entry {matrix.min():g} and rows that sum to "
            f"{matrix.sum(-1).min():g}..{matrix.sum(-1).max():g}; expected rows of probabilities."
        )
    return matrix


def check_yields(matrix: np.ndarray, targets: np.ndarray) -> None:
    """Raises ValueError if targets (..., C) name a class that a transition never yields."""
    classes = targets.shape[-1]
    seen = np.any(targets > 0, axis=tuple(range(targets.ndim - 1)))
    missing = np.flatnonzero(seen & (matrix.reshape(-1, classes, classes).max(1).min(0) == 0))
    if missing.size:
        raise ValueError(
            f"class {missing[0]} is observed, and the transition never yields it: column "
            f"{missing[0]} is zero."
        )


def square(transition: Any) -> np.ndarray:
    """A transition (C, C) of two classes or more, checked, in float64."""
    matrix = real_array("transition", transition)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(
            f"transition has shape {matrix.shape}, expected (C, C): row c the probabilities of the "
            "observed classes given class c."
        )
    check_rows(matrix)
    return matrix.astype(np.float64)
