"""What the theorem on self-distillation asks of the schedule of alpha."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._clusters import ClusterGeometry
from ._report import Check
from ._self_distillation_runs import SeedRuns, Start, targets


def schedule_checks(
    every: Sequence[SeedRuns], geometry: ClusterGeometry, accuracy: float, data: Any
) -> tuple[Check, ...]:
    """That alpha ends near zero and stays large until the majority of each cluster shows.

    A cluster whose outputs still have the wrong sign is pulled to alpha (1 - 2 rho) y -
    (1 - alpha) y on average: towards the clean label y only while alpha > 1 / (2 (1 - rho)).
    The step until which that is needed is the first at which gradient descent from the same
    initialisation, in function space, has every sign right. Labels other than +-1 have no such
    threshold, and only the end is checked. (Derived.)
    """
    last = max(float(np.asarray(r.function_sd.alpha)[-1]) for r in every) * geometry.label_error
    # The other four fifths are left to what has not been fitted yet.
    allowed = 0.2 * accuracy * geometry.average_error
    ends = Check(
        name="the schedule ends",
        statement="alpha_S |observed - clean| / sqrt(n) <= "
        f"{0.2 * accuracy:g} x the early-stopping floor",
        required=allowed,
        measured=last,
        holds=last <= allowed,
    )
    if not np.allclose(np.abs(targets(data)[0]), 1.0):
        return (ends,)
    threshold = 1 / (2 * (1 - geometry.worst_noise_rate))
    weights = [_least_weight(run, data) for run in every]
    return (
        ends,
        Check(
            name="the network is not trusted too early",
            statement="alpha_s > 1 / (2 (1 - rho)) until gradient descent has every sign right",
            required=threshold,
            measured=min(weights),
            holds=min(weights) > threshold,
        ),
    )


def _least_weight(run: SeedRuns, data: Any) -> float:
    alpha = np.asarray(run.function_sd.alpha)
    return float(alpha[: max(_right_from(run.start, data, len(alpha)), 1)].min())


def _right_from(start: Start, data: Any, num_steps: int, chunk: int = 256) -> int:
    """First step at which gradient descent has every sign right, in closed form; or the last."""
    clean, observed = targets(data)
    rates = 1 - start.learning_rate * start.eigenvalues
    left = start.eigenvectors.T @ (start.initial - observed)[:, 0]
    for first in range(0, num_steps, chunk):
        steps = np.arange(first, min(first + chunk, num_steps))
        outputs = observed[:, 0] + (rates ** steps[:, None] * left) @ start.eigenvectors.T
        right = np.all(outputs * clean[:, 0] > 0, axis=1)
        if right.any():
            return int(steps[right.argmax()])
    return num_steps
