"""The theorem that early-stopped gradient descent recovers every clean label and stays close."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._checks import check_in_range
from ..._seeds import seed_list
from ..model._activations import Activation, activation_check, find_activation
from ..model._points import Points, as_points, cluster_groups, thin
from ..model._two_layer_training import ALGORITHM, CHECKED_STEPS, draw
from ..reporting._exponents import resolution_checks, scaling_check
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells
from ._early_stopping_runs import MAX_STEPS, StoppingCase, needed_width, run_groups
from ._network_checks import cluster_data_checks, spectrum_checks, worst

SLACK = 0.01
"""Part of an exponent that finite width and radius may make: 0.004 at most at a width of 200."""

NAME = "Early-stopped gradient descent recovers all clean labels close to initialisation"
SOURCE = "arXiv:1903.11680, robustness of early stopping, up to constants; constants derived"


def check_early_stopping(
    data: Any = None,
    *,
    width: int = 1200,
    activation: str | Callable[[Any], Any] = "softplus",
    fractions: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
    cluster_counts: Sequence[int] = (4, 8, 16, 32),
    time_factor: float = 2.0,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests early stopping on the two-layer network of which the first layer is trained.

    Statement, up to constants: on (epsilon_0, delta) clusterable data with a fraction rho <=
    delta / 8 of the labels of each cluster wrong, gradient descent of step eta = 1 / (Gamma^2
    ||C||^2 n_max) on half the squared distance summed over points gives, after T = time_factor
    log(1 / rho) / (eta n_min lambda(C)) steps, outputs whose nearest label is the clean one on
    every point, and ||W_T - W_0|| = O(sqrt(K)) up to logarithms, whatever n. The derived form of
    the last: ||W_T - W_0|| <= 2 [sqrt(2 K n_max / (lambda(C) n_min)) max|f_0 - observed| + what
    leaks into the other directions], the factor 2 for a kernel that changes by less than half.
    Exponents (derived). With clusters that are points, an infinitely wide network travels
    sqrt(sum_k (1 - (1 - eta mu_k)^T)^2 a_k^2 / mu_k) for mu_k the eigenvalues of D^(1/2) Sigma(C)
    D^(1/2), D the sizes of the clusters, and a_k the parts of D^(1/2) r along its eigenvectors, r
    (K,) the mean of f_0 - observed in each cluster. The sizes cancel, so that n enters by |r|
    alone, which the share of wrong labels sets; numbers of wrong labels are whole, so that |r|
    varies with n and is taken out. In K this is |r| ~ sqrt(K) times a mean of mu^(-1/2) per point,
    which grows as lambda(C) falls: that geometry of the centres is taken out, from Sigma(C) and
    never from the network's own kernel. What is travelled is itself held against the linearised
    network, and the first steps against the algorithm in float64. A finite width and radius are
    left, of order K / width and epsilon_0 / sqrt(n / K), hence the slack of 0.01 of both exponents.

    Args:
        data: a clusterable dataset with inputs (n, d), clean and observed (n, 1), clusters (n,)
            and centers (K, d); None draws 1280 points in 128 dimensions, 32 clusters of radius
            0.02, noise rate 0.2.
        width: hidden units, even.
        activation: of the network; one without bounded derivatives is reported as such.
        fractions: of the points of each cluster, for the scaling with n (on a quarter of the
            clusters).
        cluster_counts: for the scaling with K, those from 2 up to the clusters of the data, at the
            least fraction; the data is divided into groups of K clusters, and the distance is the
            root mean square over groups.
        time_factor: of the number of steps; 2 because the kernel's least eigenvalue may be half
            of lambda(C).
        seeds: how many initialisations, or their seeds; a conclusion must hold for every one.
            Fewer than three leave exponents undecided, and the report says "not applicable".
        quick: at most 3 seeds, width 300, 3 fractions and counts 2, 4, 8; if ``data`` is None,
            160 points in 8 clusters in 64 dimensions.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; its table "runs" has a row per dataset and seed. The width that the paper asks
        for, K^2 ||C||^4 / lambda(C)^4 up to a constant, is in table "data".

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.clusterable(num_points=20, num_clusters=4, dimension=6, radius=0.05)
        >>> report = na.theory.check_early_stopping(
        ...     data, width=64, fractions=(0.5, 1.0), cluster_counts=(2, 4), seeds=1)
        >>> report.verdict, len(report.conclusions)
        ('not applicable', 6)
    """
    check_in_range("time_factor", time_factor, 0.0, low_open=True)
    phi = find_activation(activation)
    if quick:
        width, fractions, cluster_counts = min(width, 300), (0.25, 0.5, 1.0), (2, 4, 8)
    chosen = seed_list(seeds, 3 if quick else None)
    points = as_points(_default_data(quick) if data is None else data)
    weights = draw(chosen, width, points.inputs.shape[1])
    total = len(points.centers)
    base = cluster_groups(points, max(total // 4, min(total, 2)))[0]
    thinned = thin(points, min(fractions), chosen[0])
    counts = sorted({int(k) for k in cluster_counts if 2 <= k <= total})
    with Cells("early_stopping", 1 + len(fractions) + len(counts), checkpoint, progress) as cells:

        def run(groups: list[Points]) -> list[StoppingCase]:
            return cells.run(run_groups, groups, weights, phi, time_factor)

        main = run([points])
        by_n = [run([thin(base, f, chosen[0])])[0] for f in fractions]
        by_k = [run(cluster_groups(thinned, k)) for k in counts]
    every = [*main, *by_n, *(case for cases in by_k for case in cases)]
    conclusions = _conclusions(every, by_n, by_k, phi, width)
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*_assumptions(every, phi, width), *resolution_checks(conclusions)),
        conclusions=conclusions,
        tables={
            "runs": tuple(row for case in every for row in _rows(case, chosen)),
            "data": tuple(_data_row(case, phi) for case in every),
        },
        histories={},
    )


def _default_data(quick: bool) -> Any:
    from ... import datasets

    return datasets.clusterable(
        num_points=160 if quick else 1280,
        num_clusters=8 if quick else 32,
        dimension=64 if quick else 128,
        radius=0.02,
        noise_rate=0.2,
    )


def _assumptions(cases: Sequence[StoppingCase], phi: Activation, width: int) -> tuple[Check, ...]:
    weakest = min(cases, key=lambda c: c.spectrum.weakest / c.spectrum.least)
    needed = worst([needed_width(c, phi) for c in cases])
    leak = worst([c.leak.max() for c in cases])
    return (
        *cluster_data_checks([c.spectrum.geometry for c in cases]),
        activation_check(phi),
        *spectrum_checks(weakest.spectrum),
        Check.at_least(
            "wide enough to keep its Jacobian",
            "width >= (2 sup|phi''| |C| |W_T - W_0|)^2 / (lambda(C) / 2): the centres' "
            "Jacobian moves by less than half its least singular value",
            required=needed,
            measured=width,
        ),
        Check.at_most(
            "small clusters",
            "eta T sigma_{K+1}(J)^2 <= 1/4: no direction beyond K is fitted by more than "
            "a quarter at T",
            required=0.25,
            measured=leak,
        ),
        Check(
            "a stopping step in reach",
            f"T < {MAX_STEPS}",
            required=MAX_STEPS,
            measured=max(c.num_steps for c in cases),
            holds=all(c.num_steps < MAX_STEPS for c in cases),
        ),
    )


def _conclusions(
    every: Sequence[StoppingCase],
    by_n: Sequence[StoppingCase],
    by_k: Sequence[Sequence[StoppingCase]],
    phi: Activation,
    width: int,
) -> tuple[Check, ...]:
    wrong = max(int(c.wrong.max()) for c in every)
    ratio = worst([c.distance / c.bound for c in every])
    off = worst([c.residual.max() for c in every])
    return (
        Check.at_most(
            "the algorithm's steps",
            "W_{s+1} = W_s - eta J^T (f_s - observed): outputs and |W_s - W_0| of the "
            f"first {CHECKED_STEPS} steps, largest deviation relative to how far they move",
            required=ALGORITHM,
            measured=off,
        ),
        _linear_check(every, phi, width),
        Check(
            "all clean labels recovered",
            "points whose rounded output at T is not the clean label, of all points, "
            "every dataset and initialisation",
            required=0,
            measured=wrong,
            holds=wrong == 0,
        ),
        Check.at_most(
            "close to initialisation",
            "|W_T - W_0| / bound of order sqrt(K / lambda(C)) <= 1",
            required=1.0,
            measured=ratio,
        ),
        *_exponents(by_n, by_k),
    )


def _linear_check(every: Sequence[StoppingCase], phi: Activation, width: int) -> Check:
    """The distance itself, not how it scales: against that of the linearised network.

    The centres' Jacobian moves by a share q = sqrt(needed width / width) / 2 of its least singular
    value. Output weights come in both signs, so that its first order averages out: q^2 is left.
    """
    shares = [needed_width(c, phi) / (4 * width) + ALGORITHM for c in every]
    off = [np.abs(c.distance / c.linear - 1).max() for c in every]
    furthest = int(np.argmax(np.asarray(off) / np.asarray(shares)))
    return Check.at_most(
        "distance of the linearised network",
        "| |W_T - W_0| / that of the network linearised at initialisation - 1 | <= q^2 "
        f"+ {ALGORITHM:g}, q the share of its least singular value by which the centres' Jacobian "
        "moves",
        required=float(shares[furthest]),
        measured=float(off[furthest]),
    )


def _exponents(
    by_n: Sequence[StoppingCase], by_k: Sequence[Sequence[StoppingCase]]
) -> tuple[Check, Check]:
    # Root mean squares over the groups of clusters, so that every K sees the same clusters.
    spread, points = (
        np.sqrt([np.mean([getattr(c, name) ** 2 for c in cases], axis=0) for cases in by_k])
        for name in ("distance", "of_points")
    )
    counts = np.array([cases[0].num_clusters for cases in by_k])
    return (
        scaling_check(
            "independence of n",
            "|W_T - W_0|",
            "n",
            [len(c.points.inputs) for c in by_n],
            np.stack([c.distance for c in by_n]),
            0.0,
            correction=np.stack([c.pull for c in by_n]),
            because="|mean residual of each cluster|",
            slack=SLACK,
        ),
        scaling_check(
            "scaling with K",
            "|W_T - W_0|",
            "K",
            counts,
            spread,
            0.5,
            correction=points / np.sqrt(counts)[:, None],
            because="(the closed form of Sigma(C) / sqrt(K))",
            slack=SLACK,
        ),
    )


def _rows(case: StoppingCase, seeds: Sequence[int]) -> list[dict[str, Any]]:
    scale = np.sqrt(case.num_clusters / case.spectrum.least)
    return [
        {
            "seed": seed,
            "n": len(case.points.inputs),
            "K": case.num_clusters,
            "T": case.num_steps,
            "wrong": int(case.wrong[i]),
            "|W_T - W_0|": float(case.distance[i]),
            "/ sqrt(K / lambda(C))": float(case.distance[i] / scale),
            "bound": float(case.bound[i]),
            "leak": float(case.leak[i]),
        }
        for i, seed in enumerate(seeds)
    ]


def _data_row(case: StoppingCase, phi: Activation) -> dict[str, Any]:
    spectrum, clusters = case.spectrum, case.num_clusters
    return {
        "n": len(case.points.inputs),
        "K": clusters,
        "epsilon_0": spectrum.geometry.radius,
        "rho": spectrum.geometry.worst_noise_rate,
        "lambda(C)": spectrum.least,
        "|C|": spectrum.norm,
        "eta": case.learning_rate,
        "T": case.num_steps,
        "width, derived": needed_width(case, phi),
        "width, paper x constant": clusters**2 * spectrum.norm**4 / spectrum.least**4,
    }
