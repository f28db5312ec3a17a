"""Energies of label noise over an eigenbasis: drawn, and their exact mean and covariance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ... import noise
from ..reporting._records import record

_CHUNK = 2**22
"""Numbers of one block of draws, so that many draws of many points fit into memory."""

NoiseModel = str | tuple[tuple[float, ...], ...]
"""A specification of `ntk_air.noise.apply`, or the rows of a transition matrix."""


@record
class Draws(NamedTuple):
    """Noise drawn again and again over one eigenbasis, in B groups of directions.

    Energies are means over the directions of a group of |u_k^T xi|^2, not normalised: ``centred``
    (R, B) of observed - E[observed | clean], ``energies`` (R, B) of observed - kappa clean.
    ``expected`` (B,) and ``covariance`` (B, B) are the exact ones of a draw of ``centred``, from
    the noise model; ``bias`` (B,) the energies of E[observed | clean] - kappa clean, which only
    noise that prefers some classes has; ``signal`` (B,) those of the clean labels. ``means``
    (K, C) is the mean of observed - kappa clean over draws and points of each class that there is,
    ``mean_covariances`` (K, C, C) its covariance.
    """

    model: str
    seed: int
    centred: np.ndarray
    energies: np.ndarray
    expected: np.ndarray
    covariance: np.ndarray
    signal: np.ndarray
    bias: np.ndarray
    means: np.ndarray
    mean_covariances: np.ndarray
    variance_ratio: float


class _Moments(NamedTuple):
    """Moments of coded labels given the clean class.

    Means (C, C), covariances (C, C, C), traces of the products of two of them (C, C), their own
    traces (C,), and variances of |xi|^2 (C,).
    """

    mean: np.ndarray
    covariances: np.ndarray
    products: np.ndarray
    variances: np.ndarray
    spreads: np.ndarray


def draw_energies(
    model: NoiseModel, basis: np.ndarray, clean: np.ndarray, count: int, groups: int, seed: int
) -> Draws:
    """Draws label noise ``count`` times and measures it in ``groups`` groups of directions.

    Args:
        model: the noise.
        basis: (n, n) orthonormal columns u_k.
        clean: (n,) classes; they are coded as one-hot - 1/C.
        count: R.
        groups: B, of (almost) equally many directions.
        seed: of the draws.
    """
    classes = int(clean.max()) + 1 if isinstance(model, str) else len(model)
    code = np.eye(classes) - 1.0 / classes
    # The labels of a point are independent of the others': R draws are one of R times the points.
    drawn = _apply(model, np.tile(clean, count), classes, seed)
    labels = np.asarray(drawn.labels).reshape(count, len(clean))
    moments = _moments(np.asarray(drawn.transition, np.float64), code)
    bias = moments.mean[clean] - drawn.retention * code[clean]
    split = np.array_split(np.arange(len(clean)), groups)
    centred, energies = np.empty((count, groups)), np.empty((count, groups))
    sums = np.zeros((len(clean), classes))
    block = max(1, _CHUNK // (len(clean) * classes))
    for start in range(0, count, block):
        rows = slice(start, start + block)
        xi = code[labels[rows]] - moments.mean[clean]
        centred[rows] = _grouped(basis, split, xi)
        energies[rows] = _grouped(basis, split, xi + bias)
        sums += np.sum(xi + bias, axis=0)
    expected, covariance = _exact(basis, split, moments, clean)
    variances = moments.variances[clean]
    there, sizes = np.unique(clean, return_counts=True)
    return Draws(
        model=model if isinstance(model, str) else "transition",
        seed=seed,
        centred=centred,
        energies=energies,
        expected=expected,
        covariance=covariance,
        signal=_grouped(basis, split, code[clean][None])[0],
        bias=_grouped(basis, split, bias[None])[0],
        means=np.stack([sums[clean == c].mean(0) for c in there]) / count,
        mean_covariances=moments.covariances[there] / (count * sizes)[:, None, None],
        variance_ratio=_ratio(variances),
    )


def unequal_energies(draws: Draws) -> tuple[float, int, float]:
    """Chi-square of equal energies of observed - kappa clean in all groups, see `chi_square`."""
    size = len(draws.expected)
    centring = np.eye(size) - 1 / size
    covariance = centring @ draws.covariance @ centring / len(draws.energies)
    return chi_square(centring @ draws.energies.mean(0), covariance, draws.expected.mean())


def other_energies(draws: Draws) -> tuple[float, int, float]:
    """Chi-square of energies of the zero-mean part against sum_i u_ki^2 v_i."""
    gap = draws.centred.mean(0) - draws.expected
    return chi_square(gap, draws.covariance / len(draws.centred), draws.expected.mean())


def nonzero_means(draws: Draws) -> tuple[float, int, float]:
    """Chi-square of E[observed - kappa clean] = 0 in every class."""
    found = [
        chi_square(mean, covariance, 1.0)
        for mean, covariance in zip(draws.means, draws.mean_covariances, strict=True)
    ]
    statistic, freedom = sum(f[0] for f in found), sum(f[1] for f in found)
    return statistic, freedom, _chance(statistic, freedom)


def chi_square(gap: np.ndarray, covariance: np.ndarray, scale: float) -> tuple[float, int, float]:
    """Size of a mean over draws, of known covariance and expectation zero.

    Args:
        gap: (B,) the mean less its expectation under the hypothesis.
        covariance: (B, B) of the mean. Directions without variance, such as a total that never
            changes, must have no gap up to round-off: else the probability is 0.
        scale: size of the numbers whose mean it is, for what counts as round-off.

    Returns:
        The statistic, its degrees of freedom, and the probability of a larger one: chi-square as
        draws grow, by the central limit theorem.
    """
    values, vectors = np.linalg.eigh(covariance)
    along = vectors.T @ gap
    varied = values > 1e-12 * max(float(values[-1]), 1e-6 * scale**2)
    # 1e-6 allows for transitions in float32.
    if np.any(np.abs(along[~varied]) > 1e-6 * scale):
        return np.inf, int(varied.sum()), 0.0
    statistic, freedom = float(np.sum(along[varied] ** 2 / values[varied])), int(varied.sum())
    return statistic, freedom, _chance(statistic, freedom)


def _chance(statistic: float, freedom: int) -> float:
    return float(stats.chi2.sf(statistic, freedom)) if freedom else float(statistic == 0)


def relative(energies: np.ndarray) -> np.ndarray:
    """Ratio of means: of each group over draws, and over draws and groups; 1 without energy."""
    mean = energies.mean(0)
    return mean / mean.mean() if mean.any() else np.ones(len(mean))


def standard_error(draws: Draws) -> np.ndarray:
    """Of `relative` of the zero-mean part, (B,), to first order."""
    size, mean = len(draws.expected), draws.expected.mean()
    if mean == 0:
        return np.zeros(size)
    slope = np.eye(size) - np.outer(draws.expected / mean, np.full(size, 1 / size))
    variances = np.einsum("ab,bc,ac->a", slope, draws.covariance, slope)
    return np.sqrt(np.maximum(variances, 0) / len(draws.centred)) / mean


def _apply(model: NoiseModel, clean: np.ndarray, classes: int, seed: int) -> Any:
    if isinstance(model, str):
        return noise.apply(model, clean, num_classes=classes, seed=seed)
    return noise.from_transition(clean, np.asarray(model), seed=seed)


def _moments(transition: np.ndarray, code: np.ndarray) -> _Moments:
    mean = transition @ code
    xi = code[None] - mean[:, None]
    covariances = np.einsum("co,coa,cob->cab", transition, xi, xi)
    sizes = np.sum(xi**2, axis=2)
    variances = np.sum(transition * sizes, axis=1)
    return _Moments(
        mean=mean,
        covariances=covariances,
        products=np.einsum("cab,dab->cd", covariances, covariances),
        variances=variances,
        spreads=np.sum(transition * sizes**2, axis=1) - variances**2,
    )


def _exact(
    basis: np.ndarray, split: list[np.ndarray], moments: _Moments, clean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (B,) and covariance (B, B) of group energies sum_ij A_ij xi_i xi_j, xi independent.

    Derived: pairs i != j give 2 A_ij B_ij tr(S_i S_j), a point itself A_ii B_ii Var|xi_i|^2, and
    the two kinds are uncorrelated since E xi = 0.
    """
    forms = [basis[:, g] @ basis[:, g].T / len(g) for g in split]
    diagonals = np.stack([np.diag(form) for form in forms])
    weights = moments.products[np.ix_(clean, clean)]
    pairs = np.array([[np.sum(a * b * weights) for b in forms] for a in forms])
    own = moments.spreads[clean] - 2 * np.diag(moments.products)[clean]
    return diagonals @ moments.variances[clean], 2 * pairs + (diagonals * own) @ diagonals.T


def _grouped(basis: np.ndarray, split: list[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Mean energy per direction of each group, (R, B), of values (R, n, C)."""
    energies = np.sum(np.tensordot(values, basis, (1, 0)) ** 2, axis=1)
    return np.stack([energies[:, group].mean(1) for group in split], axis=1)


def _ratio(variances: np.ndarray) -> float:
    least, largest = float(variances.min()), float(variances.max())
    return np.inf if least <= 1e-12 * largest else largest / least
