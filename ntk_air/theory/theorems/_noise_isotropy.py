"""Whether label noise is isotropic in the kernel's eigenbasis, as a chi-square test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ... import datasets
from ..._checks import check_in_range, check_labels, check_same_length, check_size
from ..._numerics import double_precision
from ..._seeds import seed_list
from ..._typing import ArrayLike
from ..model._label_directions import apart_check, follow_check, lead
from ..model._two_layer import two_layer_init, two_layer_ntk
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells
from ._noise_energies import (
    Draws,
    NoiseModel,
    draw_energies,
    nonzero_means,
    other_energies,
    relative,
    standard_error,
    unequal_energies,
)

NAME = "Label noise is isotropic over the kernel's eigenbasis"
SOURCE = (
    "after arXiv:1910.01255, anisotropic information retrieval; mean and covariance of the "
    "energies derived"
)

EQUAL_VARIANCES = 1.05
"""Largest ratio of the noise variances of two points that counts as equal."""

TESTS = 3
"""Tests of each seed that can reject: equal energies, mean zero, energies that follow variances."""


def check_noise_isotropy(
    inputs: Any = None,
    labels: Any = None,
    *,
    model: str | ArrayLike = "symmetric:0.4",
    contrast: str | ArrayLike | None = "asymmetric:0.4",
    width: int = 1000,
    num_draws: int = 400,
    num_groups: int = 8,
    significance: float = 0.01,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests that noise spreads evenly over the eigendirections while labels do not.

    Statement: let xi = observed - kappa clean, labels coded as centred one-hot, be independent over
    points, of mean zero and of equal variances. In any orthonormal basis chosen without the noise,
    E ||u_k^T xi||^2 is then the same for every k. Unequal variances v_i, as of class-dependent
    noise, give sum_i u_ki^2 v_i instead, and E[observed | clean] - kappa clean, zero for symmetric
    noise, adds the energy of a function of the class, as anisotropic as the labels are.

    Premises are that the labels follow the inputs, and that this kernel tells: the place of their
    energy among the directions, its mean rank, is apart from that of the same labels in random
    order. Which side is then a conclusion: they lie in the leading directions.

    Tested on energies that are not normalised: the ratio of a direction's energy to the total of
    the same draw has another mean, since noise is skewed and the total goes with the energy along
    the labels. The mean over draws of ``num_groups`` groups of directions is compared with equal
    energies, that of observed - E[observed | clean] with sum_i u_ki^2 v_i, and the mean of xi in
    each class with zero, by chi-square with the exact covariances under the noise model (derived),
    so that few draws will do. Each of the three tests of each seed has its share of the
    significance.

    Args:
        inputs: (n, ...) points whose kernel gives the basis, made unit-norm after their mean is
            subtracted; None is 400 of the digits.
        labels: (n,) integer clean labels of ``inputs``.
        model: noise as in `ntk_air.noise.apply`, without ``instance`` and ``human``, or a
            transition matrix (C, C) as in `ntk_air.noise.from_transition`.
        contrast: another noise model, reported in the tables only.
        width: hidden units of the two-layer network whose kernel is taken, even.
        num_draws: draws of the noise for each seed, R.
        num_groups: groups of directions of (almost) equal size in order of eigenvalue, B.
        significance: probability of rejecting isotropic noise, over all seeds and tests.
        seeds: how many networks and sequences of draws, or their seeds.
        quick: at most 2 seeds, 200 points and 100 draws.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report. Table "noise" has the test of each noise model and seed and the largest relative
        deviation from isotropy; table "directions" the energy of each group, as the ratio of its
        mean over draws to the mean over draws and directions.

    Raises:
        ValueError: on shapes, labels, noise models or numbers out of range, and on inputs with a
            point at their mean, such as inputs that are all the same: it has no direction.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.random.default_rng(0).normal(size=(40, 5))
        >>> report = na.theory.check_noise_isotropy(
        ...     x, (x[:, 0] > 0).astype(int), contrast=None, width=40, num_draws=50, seeds=1)
        >>> report.verdict
        'confirmed'
    """
    check_in_range("significance", significance, 0.0, 1.0, low_open=True, high_open=True)
    if (inputs is None) != (labels is None):
        raise ValueError("pass inputs and labels together, or neither.")
    if inputs is None:
        digits = datasets.load("digits", train_size=400, seed=0)
        inputs, labels = digits.train_inputs, digits.train_labels
    clean = check_labels("labels", labels)
    check_same_length("inputs", inputs, "labels", clean)
    if quick:
        inputs, clean, num_draws = np.asarray(inputs)[:200], clean[:200], min(num_draws, 100)
    check_size("num_groups", num_groups, 2, len(clean), "a group needs a direction")
    check_size("num_draws", num_draws, 2 * num_groups)
    chosen = seed_list(seeds, 2 if quick else None)
    points = _unit(np.asarray(inputs, np.float64))
    bases = {seed: _basis(points, width, seed) for seed in chosen}
    models = [_model(m) for m in (model, contrast) if m is not None]
    with Cells("noise_isotropy", len(models) * len(chosen), checkpoint, progress) as cells:
        draws = [
            [cells.run(draw_energies, m, bases[s], clean, num_draws, num_groups, s) for s in chosen]
            for m in models
        ]
    tested = draws[0]
    leads = [lead(bases[seed], clean) for seed in chosen]
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*_assumptions(tested), follow_check(points, clean), apart_check(leads)),
        conclusions=_conclusions(tested, significance / (TESTS * len(chosen)), leads),
        tables={
            "noise": tuple(_row(d) for every in draws for d in every),
            "directions": tuple(row for every in draws for row in _group_rows(every)),
        },
        histories={},
    )


def _model(model: Any) -> NoiseModel:
    """The specification, or the rows of the matrix as plain numbers, which tell checkpoints."""
    if isinstance(model, str):
        return model
    matrix = np.asarray(model, np.float64)
    if matrix.ndim != 2:
        raise ValueError(
            f"model has shape {matrix.shape}, expected a noise specification or a transition "
            "matrix (C, C)."
        )
    return tuple(tuple(float(v) for v in row) for row in matrix)


def _unit(inputs: np.ndarray) -> np.ndarray:
    """Points (n, d) of unit norm, after their mean is subtracted."""
    flat = inputs.reshape(len(inputs), -1)
    size = np.linalg.norm(flat, axis=1).max()
    flat = flat - flat.mean(0)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    lost = np.flatnonzero(~(norms[:, 0] > 1e-12 * size))
    if lost.size:
        raise ValueError(
            f"inputs at row {lost[0]} ({lost.size} in all) are equal to the mean of the points or "
            "not finite: nothing of unit norm is left once it is subtracted."
        )
    return flat / norms


def _basis(points: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Eigenvectors (n, n) of the two-layer network's kernel, largest eigenvalue first."""
    with double_precision():
        weights = two_layer_init(jax.random.key(seed), width, points.shape[1])
        kernel = np.asarray(two_layer_ntk(weights, points))
    return np.linalg.eigh(kernel)[1][:, ::-1]


def _assumptions(tested: Sequence[Draws]) -> tuple[Check, ...]:
    ratio = max(d.variance_ratio for d in tested)
    noisy = min(float(d.expected.mean()) for d in tested)
    bias = max(_bias_share(d) for d in tested)
    return (
        Check.above(
            "there is noise",
            "E |observed - E[observed | clean]|^2 per point > 0",
            required=0.0,
            measured=noisy,
        ),
        Check.at_most(
            "equal variances",
            "noise variances of any two points, ratio",
            required=EQUAL_VARIANCES,
            measured=ratio,
        ),
        Check.at_most(
            "errors prefer no class",
            "|E[observed | clean] - kappa clean|^2 as a share of the noise energy",
            required=1e-6,
            measured=bias,
        ),
    )


def _conclusions(
    tested: Sequence[Draws], level: float, leads: Sequence[float]
) -> tuple[Check, ...]:
    isotropic = min(min(unequal_energies(d)[2], nonzero_means(d)[2]) for d in tested)
    follows = min(other_energies(d)[2] for d in tested)
    return (
        Check.at_least(
            "isotropic noise",
            "probability, if observed - kappa clean has mean zero and equal variances, "
            "of energies as unequal over groups or of class means as large, least over seeds",
            required=level,
            measured=isotropic,
        ),
        Check.at_least(
            "energy follows the variances",
            "probability under E |u_k xi|^2 = sum_i u_ki^2 v_i, xi = observed - "
            "E[observed | clean], least over seeds",
            required=level,
            measured=follows,
        ),
        Check.above(
            "labels lie in the leading directions",
            "mean rank of the labels' energy before that of random orders of the labels, "
            "in their standard deviations: least over seeds",
            required=0.0,
            measured=min(leads),
        ),
    )


def _bias_share(draws: Draws) -> float:
    bias, noisy = float(draws.bias.mean()), float(draws.expected.mean())
    return bias / (bias + noisy) if bias > 0 else 0.0


def _row(draws: Draws) -> dict[str, Any]:
    statistic, freedom, chance = unequal_energies(draws)
    return {
        "noise": draws.model,
        "seed": draws.seed,
        "chi-square": statistic,
        "degrees of freedom": freedom,
        "p": chance,
        "p, mean zero": nonzero_means(draws)[2],
        "p, given variances": other_energies(draws)[2],
        "variance ratio": draws.variance_ratio,
        "deviation of zero-mean part": float(np.abs(relative(draws.centred) - 1).max()),
        "deviation of observed - kappa clean": float(np.abs(relative(draws.energies) - 1).max()),
        "signal, first group": float(draws.signal[0] / draws.signal.mean()),
    }


def _group_rows(draws: Sequence[Draws]) -> list[dict[str, Any]]:
    """One row per group of directions, means over seeds."""
    centred = np.mean([relative(d.centred) for d in draws], axis=0)
    energies = np.mean([relative(d.energies) for d in draws], axis=0)
    expected = np.mean([relative(d.expected[None]) for d in draws], axis=0)
    errors = np.mean([standard_error(d) ** 2 for d in draws], axis=0) / len(draws)
    return [
        {
            "noise": draws[0].model,
            "group": group + 1,
            "clean": float(np.mean([d.signal[group] / d.signal.mean() for d in draws])),
            "zero-mean noise": float(centred[group]),
            "standard error": float(np.sqrt(errors[group])),
            "expected": float(expected[group]),
            "observed - kappa clean": float(energies[group]),
        }
        for group in range(len(expected))
    ]
