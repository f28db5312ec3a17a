"""Points of the unit sphere at a chosen distance from given ones."""

from __future__ import annotations

import numpy as np


def at_distance(centers: np.ndarray, distance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (n, d) at Euclidean distances (n,), at most 2, from unit vectors (n, d)."""
    raw = rng.standard_normal(centers.shape)
    tangent = raw - np.sum(raw * centers, axis=1, keepdims=True) * centers
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # A chord of length r spans the angle 2 arcsin(r / 2).
    angle = 2 * np.arcsin(np.asarray(distance) / 2)[:, None]
    return np.cos(angle) * centers + np.sin(angle) * tangent


def within(centers: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (n, d) in a ball, drawn as `ntk_air.datasets.clusterable` draws its points."""
    distance = radius * rng.random(len(centers)) ** (1 / (centers.shape[1] - 1))
    return at_distance(centers, distance, rng)
