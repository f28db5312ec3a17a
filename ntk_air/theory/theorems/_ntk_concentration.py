"""The theorem that the NTK at initialisation concentrates around its infinite-width limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._power_laws import student
from ..._seeds import seed_list
from ..model._activations import Activation, find_activation
from ..model._cluster_kernel import cluster_kernel
from ..model._points import Points, as_points
from ..model._two_layer_training import draw, jacobian_gram
from ..reporting._exponents import resolution_checks, scaling_check
from ..reporting._records import record
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells
from ..reporting._scaling import CONFIDENCE

NAME = "The NTK at initialisation concentrates like width^(-1/2)"
SOURCE = "arXiv:1806.07572 (limit); arXiv:1903.11680 (this network); variance derived"


@record
class ConcentrationCase(NamedTuple):
    """One width and initialisation: ||K - Sigma||_F / ||Sigma||_F, and its predicted mean square.

    ``relative`` is width x ||K - Sigma||_F^2 over its expectation, whose mean is 1.
    """

    width: int
    seed: int
    deviation: float
    relative: float


def check_ntk_concentration(
    data: Any = None,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 1024, 2048, 4096),
    activation: str | Callable[[Any], Any] = "softplus",
    num_samples: int = 20_000,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests ||K_W - Sigma||_F / ||Sigma||_F of the two-layer network against the width.

    K_W is the NTK of f(W, x) = v^T phi(W x) with only W trained and v = +-1/sqrt(width), Sigma its
    infinite-width limit (`cluster_kernel` at the data). K_W is a mean over independent hidden
    units, so (derived) width E||K_W - Sigma||_F^2 = sum_ij (x_i x_j)^2 Var[phi'(x_i g)
    phi'(x_j g)], exactly, at every width: the exponent -1/2 and its constant.

    Args:
        data: inputs (n, d), clean and observed (n, 1), clusters (n,), centers (K, d); None draws
            60 points, uniform on the sphere in 30 dimensions.
        widths: hidden units, even, three or more.
        activation: of the network; the theorem needs phi' bounded, which is unknown for a function.
        num_samples: of the Monte Carlo estimate of the variance.
        seeds: how many initialisations, or their seeds; fewer than three leave
            exponents undecided, and the report says "not applicable".
        quick: at most 3 seeds, the first 5 widths.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; its table "kernels" has a row per width and seed.

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> na.theory.check_ntk_concentration(quick=True).verdict
        'confirmed'
    """
    phi = find_activation(activation)
    if quick:
        widths = tuple(widths)[:5]
    if len(set(widths)) < 3:
        raise ValueError(f"widths are {tuple(widths)}, expected three or more for an exponent.")
    chosen = seed_list(seeds, 3 if quick else None)
    points = as_points(_default_data() if data is None else data)
    with Cells("ntk_concentration", 1 + len(widths), checkpoint, progress) as cells:
        limit = cells.run(_limit, points, phi, num_samples)
        cases = [cells.run(_cases, points, width, chosen, phi, *limit) for width in widths]
    flat = [case for row in cases for case in row]
    conclusions = (
        scaling_check(
            "scaling with the width",
            "|K_W - Sigma|_F / |Sigma|_F",
            "width",
            widths,
            [[c.deviation for c in row] for row in cases],
            -0.5,
            replicates=True,
        ),
        _variance_check(flat),
    )
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(
            Check(
                "bounded slope",
                f"sup|phi'| < infinity for {phi.name}",
                required="finite",
                measured="unknown" if np.isnan(phi.max_slope) else phi.max_slope,
                holds=bool(np.isfinite(phi.max_slope)),
            ),
            *resolution_checks(conclusions),
        ),
        conclusions=conclusions,
        tables={"kernels": tuple(_row(case) for case in flat)},
        histories={},
    )


def _default_data() -> Any:
    from ... import datasets

    return datasets.clusterable(
        num_points=60, num_clusters=60, dimension=30, radius=0.0, noise_rate=0.0
    )


def _limit(points: Points, phi: Activation, samples: int) -> tuple[np.ndarray, float]:
    """Sigma (n, n), and the expectation of width x ||K_W - Sigma||_F^2."""
    x = points.inputs
    limit = np.asarray(cluster_kernel(x, phi, num_nodes=32).matrix)
    drawn = cluster_kernel(x, phi, "monte_carlo", num_samples=samples)
    # The standard error of a mean of samples is the deviation of one, over their root.
    return limit, float(np.sum(np.asarray(drawn.standard_error) ** 2)) * samples


def _cases(
    points: Points,
    width: int,
    seeds: tuple[int, ...],
    phi: Activation,
    limit: np.ndarray,
    expected: float,
) -> list[ConcentrationCase]:
    x = points.inputs
    weights = draw(seeds, width, x.shape[1])
    errors = [np.linalg.norm(jacobian_gram(w, x, x, phi) - limit) for w in weights]
    return [
        ConcentrationCase(
            width, s, float(e / np.linalg.norm(limit)), float(width * e**2 / expected)
        )
        for s, e in zip(seeds, errors, strict=True)
    ]


def _variance_check(cases: Sequence[ConcentrationCase]) -> Check:
    ratios = np.asarray([c.relative for c in cases])
    mean, error = float(ratios.mean()), float(ratios.std(ddof=1) / len(ratios) ** 0.5)
    reach = student(CONFIDENCE, len(ratios) - 1) * error
    return Check(
        "constant",
        "mean of width |K_W - Sigma|_F^2 / its expectation, with 95 % interval, is 1",
        required=1.0,
        measured=f"{mean:.3f} in [{mean - reach:.3f}, {mean + reach:.3f}]",
        holds=bool(abs(mean - 1) <= reach),
    )


def _row(case: ConcentrationCase) -> dict[str, Any]:
    return {
        "width": case.width,
        "seed": case.seed,
        "|K - Sigma| / |Sigma|": case.deviation,
        "width |K - Sigma|^2 / expected": case.relative,
    }
