"""Whether labels follow their inputs, and where they lie among a kernel's eigendirections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..reporting._report import Check

APART = 3.0
"""Standard deviations from random labels at which the labels' place among directions is told."""

SHUFFLES = 200
"""Random orders of the labels that say where labels lie by chance."""


def follow_check(points: np.ndarray, clean: np.ndarray) -> Check:
    """Whether inputs tell the labels at all, by a route that needs no kernel and no noise."""
    nearest = points @ points.T
    np.fill_diagonal(nearest, -np.inf)
    right = float(np.mean(clean[nearest.argmax(1)] == clean))
    chance = float(np.sum((np.bincount(clean) / len(clean)) ** 2))
    required = chance + 3 * float(np.sqrt(chance * (1 - chance) / len(clean)))
    return Check.above(
        "labels follow the inputs",
        "points whose nearest other point has their label, above chance by three standard errors",
        required=required,
        measured=right,
    )


def lead(basis: np.ndarray, clean: np.ndarray) -> float:
    """How far labels lie before the same labels in random order, in standard deviations of these.

    The place is the mean rank of their energy over the directions (n, n), weights 1 to -1.
    """
    code = np.eye(int(clean.max()) + 1)[clean] - np.bincount(clean) / len(clean)
    ranks = np.linspace(1.0, -1.0, len(clean))
    form = (basis * ranks) @ basis.T
    rng = np.random.default_rng(0)
    orders = [np.arange(len(clean)), *(rng.permutation(len(clean)) for _ in range(SHUFFLES))]
    found, *chance = (float(np.sum(code[o] * (form @ code[o]))) for o in orders)
    spread = float(np.std(chance))
    # Without a spread the labels are one class, or the directions tell nothing.
    return (found - float(np.mean(chance))) / spread if spread > 0 else 0.0


def apart_check(leads: Sequence[float]) -> Check:
    """The assumption that this kernel tells labels from random ones."""
    least = min(abs(lead) for lead in leads)
    return Check.at_least(
        "labels are anisotropic",
        "mean rank of the labels' energy over the directions, apart from that of random "
        "orders of the labels, in their standard deviations: least over seeds",
        required=APART,
        measured=least,
    )
