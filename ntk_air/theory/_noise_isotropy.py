"""Whether label noise is isotropic in the kernel's eigenbasis, as a chi-square test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

from .. import datasets, noise
from .._checks import check_in_range, check_labels, check_same_length, check_size
from .._numerics import double_precision
from ._cells import Cells
from ._report import Check, TheoremReport
from ._seeds import seed_list
from ._two_layer import two_layer_init, two_layer_ntk

NAME = "Label noise is isotropic over the kernel's eigenbasis"
SOURCE = (
    "after arXiv:1910.01255, anisotropic information retrieval; the test is Hotelling's T-squared"
)

EQUAL_VARIANCES = 1.05
"""Largest ratio of the noise variances of two points that counts as equal."""


class Draws(NamedTuple):
    """Noise drawn again and again over one eigenbasis.

    ``shares`` (R, B) is the energy per direction of each draw in B groups of directions, relative
    to its mean over all directions; ``expected`` (B,) its mean under isotropy corrected for unequal
    variances of the points; ``signal`` (B,) is that of the clean labels; ``bias`` (B,) that of
    E[observed | clean] - kappa clean, which only noise that prefers some classes has.
    """

    model: str
    seed: int
    shares: np.ndarray
    expected: np.ndarray
    signal: np.ndarray
    bias: np.ndarray
    bias_share: float
    variance_ratio: float


def check_noise_isotropy(
    inputs: Any = None,
    labels: Any = None,
    *,
    model: str = "symmetric:0.4",
    contrast: str | None = "asymmetric:0.4",
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

    Statement: let xi_i = observed_i - E[observed_i | clean_i] be independent over points with equal
    variances. In any orthonormal basis chosen without the noise, E ||u_k^T xi||^2 is then the same
    for every k. Unequal variances v_i, as of class-dependent noise, give sum_i u_ki^2 v_i instead,
    and E[observed | clean] - kappa clean, zero for symmetric noise, is a function of the class and
    as anisotropic as the labels are. Tested: energies in ``num_groups`` groups of directions, as
    shares of each draw's total, against equal shares, with Hotelling's T-squared over independent
    draws (chi-square with ``num_groups`` - 1 degrees of freedom as draws grow), at the significance
    divided by the number of seeds.

    Args:
        inputs: (n, ...) points whose kernel gives the basis, made unit-norm after their mean is
            subtracted; None is 400 of the digits.
        labels: (n,) integer clean labels of ``inputs``.
        model: noise as in `ntk_air.noise.apply`, without ``instance`` and ``human``.
        contrast: another noise model, reported in the tables only.
        width: hidden units of the two-layer network whose kernel is taken, even.
        num_draws: draws of the noise for each seed, R.
        num_groups: groups of directions of (almost) equal size in order of eigenvalue, B.
        significance: probability of rejecting isotropic noise, over all seeds.
        seeds: how many networks and sequences of draws, or their seeds.
        quick: at most 2 seeds, 200 points and 100 draws.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report. Table "noise" has the test of each noise model and seed and the largest relative
        deviation from isotropy; table "directions" the relative energy of each group.

    Raises:
        ValueError: on shapes, labels, noise models or numbers out of range.
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
    bases = {seed: _basis(np.asarray(inputs, np.float64), width, seed) for seed in chosen}
    models = [model] if contrast is None else [model, contrast]
    with Cells(len(models) * len(chosen), checkpoint, progress) as cells:
        draws = [
            cells.run(_draw, spec, bases[seed], clean, num_draws, num_groups, seed)
            for spec in models
            for seed in chosen
        ]
    tested = [d for d in draws if d.model == model]
    level = significance / len(chosen)
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=_assumptions(tested),
        conclusions=_conclusions(tested, level),
        tables={
            "noise": tuple(_row(d) for d in draws),
            "directions": tuple(
                row for m in models for row in _group_rows([d for d in draws if d.model == m])
            ),
        },
        histories={},
    )


def _basis(inputs: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Eigenvectors (n, n) of the two-layer network's kernel, largest eigenvalue first."""
    flat = inputs.reshape(len(inputs), -1)
    flat = flat - flat.mean(0)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    with double_precision():
        weights = two_layer_init(jax.random.key(seed), width, flat.shape[1])
        kernel = np.asarray(two_layer_ntk(weights, flat))
    return np.linalg.eigh(kernel)[1][:, ::-1]


def _draw(
    spec: str, basis: np.ndarray, clean: np.ndarray, num_draws: int, num_groups: int, seed: int
) -> Draws:
    classes = int(clean.max()) + 1
    code = np.eye(classes) - 1.0 / classes
    first = noise.apply(spec, clean, num_classes=classes, seed=seed)
    mean = np.asarray(first.transition, np.float64) @ code
    variances = np.asarray(first.transition, np.float64) @ np.sum(code**2, 1) - np.sum(mean**2, 1)
    groups = np.array_split(np.arange(len(clean)), num_groups)
    shares = np.empty((num_draws, num_groups))
    for index in range(num_draws):
        drawn = noise.apply(spec, clean, num_classes=classes, seed=seed * num_draws + index)
        shares[index] = _shares(basis, groups, code[np.asarray(drawn.labels)] - mean[clean])
    expected = (basis**2).T @ variances[clean]
    bias = mean[clean] - first.retention * code[clean]
    noisy = variances[clean].sum()
    return Draws(
        model=spec,
        seed=seed,
        shares=shares,
        expected=np.array([expected[g].mean() for g in groups]) / expected.mean(),
        signal=_shares(basis, groups, code[clean]),
        bias=_shares(basis, groups, bias),
        bias_share=float(np.sum(bias**2) / (np.sum(bias**2) + noisy)),
        variance_ratio=_ratio(variances[clean]),
    )


def _ratio(variances: np.ndarray) -> float:
    least, largest = float(variances.min()), float(variances.max())
    return np.inf if least <= 1e-12 * largest else largest / least


def _shares(basis: np.ndarray, groups: list[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Mean energy of the directions of each group over the mean of all; 1 where there is none."""
    energies = np.sum((basis.T @ values) ** 2, axis=1)
    total = energies.mean()
    # What is round-off of exact zeros has no direction.
    if total < 1e-20:
        return np.ones(len(groups))
    return np.array([energies[g].mean() for g in groups]) / total


def hotelling(samples: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """T-squared of the mean of samples (R, B) from ``expected`` (B,), and its probability.

    The shares of a draw sum to a constant, so the last group is left out.
    """
    count, size = samples.shape[0], samples.shape[1] - 1
    gap = (samples.mean(0) - expected)[:size]
    covariance = np.cov(samples[:, :size], rowvar=False).reshape(size, size)
    statistic = float(count * gap @ np.linalg.solve(covariance, gap))
    ratio = statistic * (count - size) / (size * (count - 1))
    return statistic, float(stats.f.sf(ratio, size, count - size))


def _assumptions(tested: Sequence[Draws]) -> tuple[Check, ...]:
    ratio = max(d.variance_ratio for d in tested)
    bias = max(d.bias_share for d in tested)
    return (
        Check(
            name="equal variances",
            statement="noise variances of any two points, ratio",
            required=EQUAL_VARIANCES,
            measured=ratio,
            holds=ratio <= EQUAL_VARIANCES,
        ),
        Check(
            name="errors prefer no class",
            statement="|E[observed | clean] - kappa clean|^2 as a share of the noise energy",
            required=1e-6,
            measured=bias,
            holds=bias <= 1e-6,
        ),
    )


def _conclusions(tested: Sequence[Draws], level: float) -> tuple[Check, ...]:
    isotropic = min(hotelling(d.shares, np.ones(d.shares.shape[1]))[1] for d in tested)
    follows = min(hotelling(d.shares, d.expected)[1] for d in tested)
    signal = min(float(d.signal[0]) for d in tested)
    noisy = max(float(d.shares.mean(0)[0]) for d in tested)
    return (
        Check(
            name="isotropic noise",
            statement="probability of deviations as large under isotropy, least over seeds",
            required=level,
            measured=isotropic,
            holds=isotropic >= level,
        ),
        Check(
            name="energy follows the variances",
            statement="probability under E |u_k xi|^2 = sum_i u_ki^2 v_i, least over seeds",
            required=level,
            measured=follows,
            holds=follows >= level,
        ),
        Check(
            name="labels are anisotropic",
            statement="energy per direction of the clean labels in the first group, relative to "
            "the mean, above that of the noise",
            required=noisy,
            measured=signal,
            holds=signal > noisy,
        ),
    )


def _row(draws: Draws) -> dict[str, Any]:
    statistic, chance = hotelling(draws.shares, np.ones(draws.shares.shape[1]))
    mean = draws.shares.mean(0)
    with_bias = (1 - draws.bias_share) * mean + draws.bias_share * draws.bias
    return {
        "noise": draws.model,
        "seed": draws.seed,
        "T^2": statistic,
        "degrees of freedom": draws.shares.shape[1] - 1,
        "p": chance,
        "p, given variances": hotelling(draws.shares, draws.expected)[1],
        "variance ratio": draws.variance_ratio,
        "deviation of zero-mean part": float(np.abs(mean - 1).max()),
        "deviation of observed - kappa clean": float(np.abs(with_bias - 1).max()),
        "signal, first group": float(draws.signal[0]),
    }


def _group_rows(draws: Sequence[Draws]) -> list[dict[str, Any]]:
    """One row per group of directions, means over seeds."""
    count = sum(len(d.shares) for d in draws)
    shares = np.concatenate([d.shares for d in draws])
    return [
        {
            "noise": draws[0].model,
            "group": group + 1,
            "clean": float(np.mean([d.signal[group] for d in draws])),
            "zero-mean noise": float(shares[:, group].mean()),
            "standard error": float(shares[:, group].std(ddof=1) / np.sqrt(count)),
            "expected": float(np.mean([d.expected[group] for d in draws])),
        }
        for group in range(shares.shape[1])
    ]
