"""The theorem that the Jacobian of clusterable data has K large singular values and small rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._seeds import seed_list
from ..model._activations import Activation, activation_check, find_activation
from ..model._points import Points, as_points, contract
from ..model._two_layer_training import draw
from ..reporting._exponents import resolution_checks, scaling_check
from ..reporting._records import record
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells
from ._network_checks import (
    ClusterSpectrum,
    JacobianSplit,
    apart_check,
    measure_spectrum,
    small_clusters_check,
    spectrum_checks,
    split_jacobian,
    unit_norm_check,
    worst,
)

NAME = "The Jacobian is bimodal: K directions carry the clean labels, the rest is O(epsilon_0)"
SOURCE = "arXiv:1903.11680 (Jacobian on clusterable data); constant-free bounds derived"

ROUND_OFF = 1e-6


@record
class BimodalityCase(NamedTuple):
    """One radius and one initialisation."""

    seed: int
    points: Points
    spectrum: ClusterSpectrum
    split: JacobianSplit
    ceiling: float
    lost: float


def check_jacobian_bimodality(
    data: Any = None,
    *,
    width: int = 1000,
    activation: str | Callable[[Any], Any] = "softplus",
    factors: Sequence[float] = (1.0, 0.5, 0.25, 0.125, 0.0625),
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests the bimodality of the Jacobian of f(W, x) = v^T phi(W x) at initialisation.

    Statement: J_C, the Jacobian with every point moved to its cluster's centre, has rank K and
    sigma_K(J_C)^2 >= n_min lambda_min(K_W(C)), where K_W(C) is the network's kernel of the centres,
    at least lambda(C) / 2 at large width. Derived, without constants: ||J - J_C||_2 <= sqrt(n)
    epsilon_0 (sup|phi''| ||W_0||_2 / sqrt(width) + sup|phi'|) for unit-norm inputs, and by Weyl's
    inequality sigma_{K+1}(J) is below that too. Where ||J - J_C||_2 <= sigma_K(J_C) / 4, the first
    group is above three quarters of sigma_K(J_C), the second below one quarter, and labels that are
    constant on clusters have at least three quarters of their energy in the first K directions.
    The radius is swept by contracting each cluster to its centre.

    Args:
        data: a clusterable dataset with inputs (n, d), clean and observed (n, 1), clusters (n,)
            and centers (K, d); None draws 240 points in 20 dimensions, 8 clusters of radius 0.05.
        width: hidden units, even.
        activation: of the network; one without bounded derivatives is reported as such.
        factors: of the radius, in (0, 1], for the scaling law; checks are at every one.
        seeds: how many initialisations, or their seeds; fewer than three leave
            exponents undecided, and the report says "not applicable".
        quick: at most 3 seeds, width 400, 3 radii; if ``data`` is None, 100 points in 5 clusters.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; its table "spectrum" has a row per radius and seed.

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> na.theory.check_jacobian_bimodality(quick=True).verdict
        'confirmed'
    """
    phi = find_activation(activation)
    if quick:
        width, factors = min(width, 400), tuple(factors)[:3]
    chosen = seed_list(seeds, 3 if quick else None)
    points = as_points(_default_data(quick) if data is None else data)
    weights = draw(chosen, width, points.inputs.shape[1])
    cases = []
    with Cells("jacobian_bimodality", len(factors) * len(chosen), checkpoint, progress) as cells:
        for factor in factors:
            moved = contract(points, factor)
            spectrum = measure_spectrum(moved, weights, phi)
            cases += [
                cells.run(_case, seed, moved, spectrum, w, phi)
                for seed, w in zip(chosen, weights, strict=True)
            ]
    conclusions = _conclusions(cases, len(chosen))
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*_assumptions(cases, phi), *resolution_checks(conclusions)),
        conclusions=conclusions,
        tables={"spectrum": tuple(_row(case) for case in cases)},
        histories={},
    )


def _default_data(quick: bool) -> Any:
    from ... import datasets

    return datasets.clusterable(
        num_points=100 if quick else 240,
        num_clusters=5 if quick else 8,
        dimension=20,
        radius=0.05,
        noise_rate=0.2,
    )


def _case(
    seed: int, points: Points, spectrum: ClusterSpectrum, weights: np.ndarray, phi: Activation
) -> BimodalityCase:
    split = split_jacobian(points, weights, phi)
    stretch = phi.max_curvature * np.linalg.norm(weights, 2) / len(weights) ** 0.5
    ceiling = (
        len(points.inputs) ** 0.5
        * spectrum.geometry.radius
        * (stretch * spectrum.geometry.max_input_norm + phi.max_slope)
    )
    clean = points.clean[:, 0]
    top = split.vectors[:, : len(points.centers)]
    inside = float(np.sum((top.T @ clean) ** 2) / np.sum(clean**2))
    return BimodalityCase(seed, points, spectrum, split, float(ceiling), 1.0 - inside)


def _assumptions(cases: Sequence[BimodalityCase], phi: Activation) -> tuple[Check, ...]:
    widest = max(cases, key=lambda case: case.spectrum.geometry.radius)
    weakest = min(cases, key=lambda case: case.spectrum.weakest / case.spectrum.least)
    ratios = [c.split.difference / c.split.center_value for c in cases]
    return (
        unit_norm_check(widest.spectrum.geometry),
        apart_check(widest.spectrum.geometry),
        activation_check(phi),
        *spectrum_checks(weakest.spectrum),
        small_clusters_check(ratios, ": the radius against the cluster kernel"),
    )


def _conclusions(cases: Sequence[BimodalityCase], num_seeds: int) -> tuple[Check, ...]:
    clusters = len(cases[0].points.centers)
    large = min(
        c.split.values[clusters - 1] ** 2 / (c.points.sizes.min() * c.spectrum.least) for c in cases
    )
    gap = worst([c.split.values[clusters] / c.split.values[clusters - 1] for c in cases])
    weyl = worst([_ratio(c.split.values[clusters], c.split.difference) for c in cases])
    bound = worst([_ratio(c.split.difference, c.ceiling) for c in cases])
    lost = worst([c.lost for c in cases])
    return (
        Check.at_least(
            "K large singular values",
            "sigma_K(J)^2 / (n_min lambda(C)) >= (3/4)^2 / 2",
            required=9 / 32,
            measured=float(large),
        ),
        Check.at_most(
            "two groups", "sigma_{K+1}(J) / sigma_K(J) <= 1/3", required=1 / 3, measured=gap
        ),
        Check.at_most(
            "the rest is below the distance to the centres' Jacobian",
            "sigma_{K+1}(J) / |J - J_C|_2 <= 1",
            required=1.0,
            measured=weyl,
            slack=ROUND_OFF,
        ),
        Check.at_most(
            "that distance is at most proportional to the radius",
            "|J - J_C|_2 / (sqrt(n) epsilon_0 (sup|phi''| |W_0|_2 / sqrt(k) + sup|phi'|)) <= 1",
            required=1.0,
            measured=bound,
            slack=ROUND_OFF,
        ),
        Check.at_most(
            "clean labels in the K directions",
            "energy of y outside the first K left singular vectors <= 1/4",
            required=0.25,
            measured=lost,
        ),
        scaling_check(
            "scaling with the radius",
            "sigma_{K+1}(J)",
            "epsilon_0",
            np.reshape([c.spectrum.geometry.radius for c in cases], (-1, num_seeds)),
            np.reshape([c.split.values[clusters] for c in cases], (-1, num_seeds)),
            1.0,
            # phi'' moves J by O(epsilon_0^2) beside its first order.
            next_order=1.0,
        ),
    )


def _ratio(value: float, bound: float) -> float:
    return float(value / bound) if bound > 0 else (0.0 if value == 0 else np.inf)


def _row(case: BimodalityCase) -> dict[str, Any]:
    clusters = len(case.points.centers)
    return {
        "seed": case.seed,
        "epsilon_0": case.spectrum.geometry.radius,
        "sigma_1": float(case.split.values[0]),
        "sigma_K": float(case.split.values[clusters - 1]),
        "sigma_K+1": float(case.split.values[clusters]),
        "|J - J_C|_2": case.split.difference,
        "bound on it": case.ceiling,
        "energy of y outside": case.lost,
        "lambda(C)": case.spectrum.least,
        "at this width": case.spectrum.weakest,
    }
