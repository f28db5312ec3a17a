"""The theorem that a network must travel far to fit wrong labels, bounded without constants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._seeds import seed_list
from ..model._activations import Activation, activation_check, find_activation
from ..model._clusters import measure_clusters
from ..model._points import Points, as_points, contract, corrupt
from ..model._two_layer_training import draw
from ..reporting._exponents import decay_check, resolution_checks, scaling_check
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells
from . import _overfitting_runs as runs
from ._network_checks import cluster_data_checks, small_clusters_check, worst
from ._overfitting_runs import FITTED, DistanceCase

NAME = "Fitting wrong labels takes a distance of order delta / epsilon_0 from initialisation"
SOURCE = "arXiv:1903.11680, distance to overfit, up to constants; the constant-free bound derived"

DRAWS = 3
"""Draws of wrong labels for each seed of the sweep over rho; the distance is their rms."""


def check_overfitting_distance(
    data: Any = None,
    *,
    width: int = 400,
    activation: str | Callable[[Any], Any] = "softplus",
    factors: Sequence[float] = (1.0, 0.5, 0.25, 0.125),
    rate_factors: Sequence[float] = (0.25, 0.5, 1.0),
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests how far weights that fit all observed labels are from initialisation.

    Statement (derived, without constants): f is sup|phi'| ||v|| ||W||_2-Lipschitz in x, so for
    every two points of a cluster ||W - W_0||_F >= |f(x_i) - f(x_j)| / (sup|phi'| ||x_i - x_j||) -
    ||W_0||_2, where fitted labels differ by delta or more. Up to constants (the paper), with a
    fraction rho of the labels of each cluster wrong, the distance is of order sqrt(rho n / K) delta
    / epsilon_0 or more. For the network linearised at initialisation the exponents -1 in
    epsilon_0 and, as a share rho of the wrong labels lies along the clusters' means, that of
    sqrt(rho (1 - rho)) are derived; the network's own distance grows at least as fast: so far from
    initialisation its curvature costs more the farther it goes.

    The network that is tested is the nearest that fits: Gauss-Newton steps of least norm from
    initialisation, in float64. What holds for it is the hardest case of what holds for all.

    Args:
        data: a clusterable dataset with inputs (n, d), clean and observed (n, 1), clusters (n,)
            and centers (K, d); None draws 160 points in 128 dimensions, 4 clusters of radius 0.08,
            noise rate 0.1. Clusters should have at most d points: more can be told apart only
            through curvature, at order epsilon_0^2.
        width: hidden units, even.
        activation: of the network; one without bounded derivatives is reported as such.
        factors: of the radius, in (0, 1], for the scaling with epsilon_0.
        rate_factors: of the noise rate, in (0, 1], for the scaling with rho, at the median radius.
        seeds: how many initialisations, or their seeds; wrong labels of the sweep over rho differ
            between them. Fewer than three leave exponents undecided, and the report says "not
            applicable".
        quick: at most 5 seeds, width 200; if ``data`` is None, 80 points in 2 clusters.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; its table "networks" has a row per network.

    Raises:
        ValueError: on data that are not clusterable data, with so few wrong labels that a smaller
            rate has none, or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> na.theory.check_overfitting_distance(quick=True).verdict
        'confirmed'
    """
    phi = find_activation(activation)
    width = min(width, 200) if quick else width
    chosen = seed_list(seeds, 5 if quick else None)
    points = as_points(_default_data(quick) if data is None else data)
    weights = draw(chosen, width, points.inputs.shape[1])
    starts = tuple(zip(chosen, weights, strict=True))
    rate = measure_clusters(points).noise_rate
    near = contract(points, float(np.median(factors)))
    _check_rates(near, rate, rate_factors)
    by_radius, spreads = [], []
    count = len(starts) * (2 * len(factors) + DRAWS * len(rate_factors))
    with Cells("overfitting_distance", count, checkpoint, progress) as cells:
        for factor in factors:
            moved = contract(points, factor)
            by_radius.append([cells.run(runs.case, "epsilon_0", moved, *s, phi) for s in starts])
            spreads += [cells.run(runs.spread, moved, w, phi) for w in weights]

        def fitted(share: float, seed: int, w: np.ndarray) -> list[DistanceCase]:
            labels = [corrupt(near, share * rate, (seed, draw)) for draw in range(DRAWS)]
            return [cells.run(runs.case, "rho", moved, seed, w, phi) for moved in labels]

        by_rate = [[fitted(share, *start) for start in starts] for share in rate_factors]
    every = [case for row in by_radius for case in row]
    every += [case for row in by_rate for draws in row for case in draws]
    conclusions = _conclusions(every, by_radius, by_rate)
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*_assumptions(every, spreads, phi), *resolution_checks(conclusions)),
        conclusions=conclusions,
        tables={"networks": tuple(_row(case) for case in every)},
        histories={},
    )


def _check_rates(points: Points, rate: float, factors: Sequence[float]) -> None:
    for factor in factors:
        if not np.any(corrupt(points, factor * rate, 0).observed != points.clean):
            raise ValueError(
                f"data has a fraction {rate:.3g} of wrong labels in clusters of "
                f"{int(np.max(points.sizes))} points or fewer: {factor:g} of it (rate_factors) is "
                "none; expected a wrong label at every rate: take more points, or larger factors."
            )


def _default_data(quick: bool) -> Any:
    from ... import datasets

    return datasets.clusterable(
        num_points=80 if quick else 160,
        num_clusters=2 if quick else 4,
        dimension=128,
        radius=0.08,
        noise_rate=0.1,
    )


def _assumptions(
    every: Sequence[DistanceCase], spreads: Sequence[float], phi: Activation
) -> tuple[Check, ...]:
    error = worst([c.error for c in every])
    informative = sum(c.informative for c in every)
    return (
        *cluster_data_checks([c.geometry for c in every]),
        activation_check(phi),
        small_clusters_check(spreads, " at initialisation"),
        Check.at_most(
            "the networks overfit",
            "max |f - observed| over points and networks",
            required=FITTED,
            measured=error,
        ),
        Check.at_least(
            "bounds that say something",
            "conflicting pairs, over all networks, whose bound is positive: at least 1",
            required=1,
            measured=informative,
        ),
    )


def _conclusions(
    every: Sequence[DistanceCase],
    by_radius: Sequence[Sequence[DistanceCase]],
    by_rate: Sequence[Sequence[Sequence[DistanceCase]]],
) -> tuple[Check, ...]:
    ratio = worst([c.ratio for c in every])
    radii = [[c.geometry.radius for c in row] for row in by_radius]
    rates = np.array([[draws[0].geometry.noise_rate for draws in row] for row in by_rate])
    return (
        Check.at_most(
            "bound of every conflicting pair",
            "(|f_i - f_j| / (sup|phi'| |x_i - x_j|) - |W_0|_2) / |W - W_0|_F <= 1 for "
            f"all {sum(c.pairs for c in every)} pairs, the largest",
            required=1.0,
            measured=ratio,
        ),
        decay_check(
            "scaling with the radius",
            "|W - W_0|",
            "epsilon_0",
            radii,
            [[c.distance for c in row] for row in by_radius],
            -1.0,
            "growing",
        ),
        scaling_check(
            "scaling of the linearised network's distance",
            "sqrt((observed - f_0)^T K_0^-1 (observed - f_0))",
            "epsilon_0",
            radii,
            [[c.linear for c in row] for row in by_radius],
            -1.0,
            # Parts along the cluster means and the curvature of phi, of relative order epsilon_0.
            next_order=1.0,
        ),
        decay_check(
            "scaling with the noise rate",
            "|W - W_0| / sqrt(1 - rho)",
            "1 / rho",
            1 / rates,
            _rms(by_rate, "distance") / np.sqrt(1 - rates),
            -0.5,
        ),
        scaling_check(
            "scaling of the linearised network's distance with the noise rate",
            "sqrt((observed - f_0)^T K_0^-1 (observed - f_0))",
            "rho",
            rates,
            _rms(by_rate, "linear"),
            0.5,
            # A share rho of the wrong labels' energy lies along their clusters' means.
            correction=np.sqrt(1 - rates),
            because="sqrt(1 - rho)",
        ),
    )


def _rms(by_rate: Sequence[Sequence[Sequence[DistanceCase]]], field: str) -> np.ndarray:
    """Root mean square over the draws of wrong labels, one row per rate, one column per seed."""
    return np.array(
        [[np.sqrt(np.mean([getattr(c, field) ** 2 for c in d])) for d in row] for row in by_rate]
    )


def _row(case: DistanceCase) -> dict[str, Any]:
    geometry = case.geometry
    size = np.sqrt(geometry.noise_rate) * geometry.label_gap / max(geometry.radius, 1e-300)
    return {
        "sweep": case.sweep,
        "seed": case.seed,
        "epsilon_0": geometry.radius,
        "rho": geometry.noise_rate,
        "|W - W_0|": case.distance,
        "/ (sqrt(rho) delta / epsilon_0)": float(case.distance / size) if size > 0 else None,
        "largest bound": case.bound,
        "pairs": case.pairs,
        "with a positive bound": case.informative,
        "max |f - observed|": case.error,
    }
