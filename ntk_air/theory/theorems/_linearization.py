"""The theorem that training follows the linearised network, ever closer with the width."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._checks import check_in_range, check_size
from ..._numerics import double_precision
from ..._seeds import seed_list
from ..model._activations import Activation, activation_check, find_activation
from ..model._cluster_kernel import cluster_kernel
from ..model._clusters import measure_clusters
from ..model._points import Points, as_points
from ..model._two_layer_training import descend, draw, jacobian_gram
from ..reporting._exponents import decay_check, resolution_checks, scaling_check
from ..reporting._records import record
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells
from ._network_checks import unit_norm_check, worst

NAME = "Training follows the linearised network, at least as fast as width^(-1/2)"
SOURCE = "arXiv:1902.06720, linearised training; constant-free bound derived"

FLOAT_SLACK = 1e-9


@record
class LinearizationCase(NamedTuple):
    """One width and initialisation: what is measured up to the last step, per root-n for outputs.

    ``error`` is sup_t ||f_t - f_t^lin||_2 / sqrt(n), ``bound`` the bound on it, ``kernel_change``
    ||K_T - K_0||_F / ||K_0||_F, ``distance`` sup_t ||W_t - W_0||, ``step`` eta lambda_1, ``scale``
    ||f_0 - observed||_2 / sqrt(n).
    ``limit`` is the bound times sqrt(width) with distance and sum as the infinitely wide kernel has
    them, from the same f_0.
    """

    width: int
    seed: int
    step: float
    error: float
    bound: float
    kernel_change: float
    distance: float
    scale: float
    limit: float


def check_linearization(
    data: Any = None,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    activation: str | Callable[[Any], Any] = "softplus",
    num_steps: int = 200,
    learning_rate: float | None = None,
    seeds: int | Sequence[int] = 10,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests sup_t ||f_t - f_t^lin|| of gradient descent against the width.

    f^lin is the network linearised at initialisation, trained by the same steps: f_s^lin - observed
    = (1 - eta K_0)^s (f_0 - observed) with the network's own NTK K_0. Statement (derived): let eta
    lambda_1(K_0) <= 2, inputs of norm at most 1 as rows of X, R = max ||W_s - W_0|| over s <= T.
    The Jacobian's norm is at most B = sup|phi'| ||X||_2, it changes by at most L R with L =
    sup|phi''| ||X||_2 / sqrt(width), so ||f_s - f_s^lin|| <= 2 eta B L R sum_{r < T} ||f_r -
    observed||: of order width^(-1/2). R and the sum depend on f_0, which is drawn anew at every
    width: their values under the infinitely wide kernel from the same f_0, sqrt(sum_k (1 - (1 - eta
    mu_k)^T)^2 a_k^2 / mu_k) and eta sum_r sqrt(sum_k (1 - eta mu_k)^(2r) a_k^2), are taken out, and
    what is left of order 1 / width is fitted beside the exponent. The error itself may fall faster:
    with half the output weights positive and half negative the first-order change of the kernel
    averages out.

    Args:
        data: inputs (n, d), clean and observed (n, 1), clusters (n,), centers (K, d); None draws
            60 points in 10 dimensions, 6 clusters of radius 0.05, noise rate 0.2.
        widths: hidden units, even, three or more.
        activation: of the network; one without bounded derivatives is reported as such.
        num_steps: T; time = learning_rate x step.
        learning_rate: of the loss summed over points; None is 1 / lambda_1(K_0) of each network.
        seeds: how many initialisations, or their seeds; fewer than three leave
            exponents undecided, and the report says "not applicable".
        quick: at most 100 steps.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; its table "networks" has a row per width and seed.

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.clusterable(num_points=12, num_clusters=3, dimension=4, radius=0.05)
        >>> report = na.theory.check_linearization(data, widths=(16, 32, 64), num_steps=5, seeds=1)
        >>> len(report.tables["networks"])
        3
    """
    check_size("num_steps", num_steps, 1)
    if learning_rate is not None:
        check_in_range("learning_rate", learning_rate, 0.0, low_open=True, high_open=True)
    phi = find_activation(activation)
    if quick:
        num_steps = min(num_steps, 100)
    if len(set(widths)) < 3:
        raise ValueError(f"widths are {tuple(widths)}, expected three or more for an exponent.")
    chosen = seed_list(seeds)
    points = as_points(_default_data() if data is None else data)
    values, vectors = np.linalg.eigh(np.asarray(cluster_kernel(points.inputs, phi).matrix))
    limit = (values, vectors)
    with Cells("linearization", len(widths), checkpoint, progress) as cells:
        cases = [
            cells.run(_cases, points, w, chosen, phi, num_steps, learning_rate, limit)
            for w in widths
        ]
    flat = [case for row in cases for case in row]
    conclusions = _conclusions(cases)
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*_assumptions(flat, points, phi), *resolution_checks(conclusions)),
        conclusions=conclusions,
        tables={"networks": tuple(_row(case) for case in flat)},
        histories={},
    )


def _default_data() -> Any:
    from ... import datasets

    return datasets.clusterable(
        num_points=60, num_clusters=6, dimension=10, radius=0.05, noise_rate=0.2
    )


def _cases(
    points: Points,
    width: int,
    seeds: tuple[int, ...],
    phi: Activation,
    num_steps: int,
    learning_rate: float | None,
    limit: tuple[np.ndarray, np.ndarray],
) -> list[LinearizationCase]:
    weights = draw(seeds, width, points.inputs.shape[1])
    kernels = [jacobian_gram(w, points.inputs, points.inputs, phi) for w in weights]
    rates = [learning_rate or 1.0 / float(np.linalg.eigvalsh(k)[-1]) for k in kernels]
    count, observed = len(seeds), points.observed[:, 0]
    with double_precision():
        run = descend(
            jnp.asarray(weights),
            jnp.asarray(np.broadcast_to(points.inputs, (count, *points.inputs.shape))),
            jnp.asarray(np.broadcast_to(observed, (count, len(observed)))),
            jnp.asarray(rates),
            num_steps=num_steps,
            phi=phi,
        )
        run = type(run)(*(np.asarray(v) for v in run))
    cases = []
    for i, (seed, kernel, rate) in enumerate(zip(seeds, kernels, rates, strict=True)):
        values, vectors = np.linalg.eigh(kernel)
        residual = run.outputs[i] - observed
        with np.errstate(over="ignore", invalid="ignore"):  # a step too large: infinity is right
            decay = (1 - rate * values) ** np.arange(num_steps + 1)[:, None]
            linear = (decay * (vectors.T @ residual[0])) @ vectors.T
            far, long = _at_infinite_width(*limit, residual[0], rate, num_steps)
            error = np.linalg.norm(residual - linear, axis=1).max()
        final = jacobian_gram(run.weights[i], points.inputs, points.inputs, phi)
        distance = run.distance[i].max()
        size = np.linalg.norm(points.inputs, 2)
        factor = 2 * phi.max_slope * phi.max_curvature * size**2
        travelled = rate * np.linalg.norm(residual[:-1], axis=1).sum()
        root = len(observed) ** 0.5
        cases.append(
            LinearizationCase(
                width=width,
                seed=seed,
                step=rate * float(values[-1]),
                error=float(error / root),
                bound=float(factor * distance / width**0.5 * travelled / root),
                kernel_change=float(np.linalg.norm(final - kernel) / np.linalg.norm(kernel)),
                distance=float(distance),
                scale=float(np.linalg.norm(residual[0]) / root),
                limit=float(factor * far * long / root),
            )
        )
    return cases


def _at_infinite_width(
    values: np.ndarray, vectors: np.ndarray, residual: np.ndarray, rate: float, num_steps: int
) -> tuple[float, float]:
    """R and eta sum_{r < T} |f_r - observed| under the kernel with this eigensystem."""
    values, parts = np.maximum(values, 0.0), vectors.T @ residual
    decay = (1 - rate * values) ** np.arange(num_steps + 1)[:, None]
    shares = np.divide(1, np.sqrt(values), out=np.zeros_like(values), where=values > 0)
    distance = np.linalg.norm((1 - decay) * shares * parts, axis=1).max()
    return float(distance), float(rate * np.linalg.norm(decay[:-1] * parts, axis=1).sum())


def _assumptions(
    cases: Sequence[LinearizationCase], points: Points, phi: Activation
) -> tuple[Check, ...]:
    step = worst([c.step for c in cases])
    widest = max(cases, key=lambda c: c.width)
    change = worst([c.kernel_change for c in cases if c.width == widest.width])
    return (
        unit_norm_check(measure_clusters(points)),
        activation_check(phi),
        Check.at_most(
            "small step",
            "eta lambda_1 <= 2, kernel at initialisation",
            required=2.0,
            measured=step,
            slack=FLOAT_SLACK,
        ),
        Check.at_most(
            "wide enough",
            "|K_T - K_0|_F / |K_0|_F <= 1/10 at the largest width",
            required=0.1,
            measured=change,
        ),
    )


def _conclusions(cases: Sequence[Sequence[LinearizationCase]]) -> tuple[Check, ...]:
    flat = [case for row in cases for case in row]
    widths = [row[0].width for row in cases]
    ratio = worst([c.error / c.bound if c.bound > 0 else np.inf for c in flat])
    last = worst([c.error / c.scale for c in max(cases, key=lambda row: row[0].width)])
    return (
        Check.at_most(
            "error below its bound",
            "sup_t |f_t - f_t^lin| / (2 eta B L R sum |f_r - observed|) <= 1, largest",
            required=1.0,
            measured=ratio,
            slack=FLOAT_SLACK,
        ),
        scaling_check(
            "scaling of the bound with the width",
            "2 eta B L R sum |f_r - observed|",
            "width",
            widths,
            [[c.bound for c in row] for row in cases],
            -0.5,
            correction=[[c.limit for c in row] for row in cases],
            because="the same under the kernel of infinite width",
            # Means of the network's kernel leave their limit by O(1 / width).
            next_order=-1.0,
            replicates=True,
        ),
        decay_check(
            "scaling of the error with the width",
            "sup_t |f_t - f_t^lin|",
            "width",
            widths,
            [[c.error for c in row] for row in cases],
            -0.5,
            replicates=True,
        ),
        decay_check(
            "scaling of the kernel's change with the width",
            "|K_T - K_0|_F / |K_0|_F",
            "width",
            widths,
            [[c.kernel_change for c in row] for row in cases],
            -0.5,
            replicates=True,
        ),
        Check.at_most(
            "the linearised network predicts training",
            "sup_t |f_t - f_t^lin| / |f_0 - observed| at the largest width <= 1/20",
            required=0.05,
            measured=last,
        ),
    )


def _row(case: LinearizationCase) -> dict[str, Any]:
    return {
        "width": case.width,
        "seed": case.seed,
        "sup |f - f lin| / sqrt(n)": case.error,
        "bound": case.bound,
        "kernel change": case.kernel_change,
        "|W_T - W_0|": case.distance,
        "eta lambda_1": case.step,
    }
