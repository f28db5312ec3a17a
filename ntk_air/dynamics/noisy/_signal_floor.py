"""How much of the labels' tail energy a decaying signal can explain."""

from __future__ import annotations

import numpy as np

from ..._typing import Float

_LEADING = 0.05
_BINS, _FEWEST_BINS, _LEVELS, _NEWTON = 48, 5, 101, 6
# Slower than the slowest of these no signal of a kernel with a decaying spectrum was seen to fall.
_EXPONENTS = np.linspace(0.2, 1.5, 14)
# Of χ² with one degree of freedom: a one-sided limit of 95 %.
_DROP = 2.706


def noise_floor(
    energy: Float[np.ndarray, " B"],
    values: Float[np.ndarray, " B"],
    counts: Float[np.ndarray, " B"],
    dof: int,
) -> tuple[float, float]:
    """The constant v of the best energies v + a λ^b, a ≥ 0, and the least one nearly as good.

    The energy of a direction is the noise's, the same in each, and the signal's, which falls as a
    power b of the eigenvalue. Means over bins of directions are gamma variables around their sum.
    The limit is the lower end of the 95 % interval (one-sided) by the likelihood ratio, a and b at
    their best for each v. A misfit larger than the bins' own scatter widens it.

    Args:
        energy: mean energy of each block of directions, leading ones first.
        values: mean eigenvalue of each.
        counts: directions in each.
        dof: squares of nearly normal coefficients that one direction's energy sums.

    Returns:
        v and its lower limit; 0 where there are too few directions to tell, or all but the leading
        ones have eigenvalue zero: any signal there may be noise, and any noise signal.
    """
    bins = np.array_split(np.arange(len(energy))[int(_LEADING * counts.sum()) :], _BINS)
    bins = [b for b in bins if len(b)]
    if len(bins) < _FEWEST_BINS or not values.any():
        return 0.0, 0.0
    weights = np.array([counts[b].sum() for b in bins]) * dof
    means = np.array([np.average(energy[b], weights=counts[b]) for b in bins])
    levels = np.array([np.average(values[b], weights=counts[b]) for b in bins])
    highest = float(np.average(means, weights=weights))
    if not highest > 0:
        return 0.0, 0.0
    means = np.maximum(means / highest, 1e-12)
    if not levels.max() > 0:
        return 0.0, 0.0
    levels = np.maximum(levels / levels.max(), 1e-12)
    floors = np.linspace(0.0, 1.2, _LEVELS)
    deviance = np.min([_deviance(means, weights, levels**b, floors) for b in _EXPONENTS], axis=0)
    least = deviance.min()
    scatter = max(1.0, least / (len(bins) - 3))
    lowest = float(floors[deviance <= least + _DROP * scatter].min())
    return highest * float(floors[np.argmin(deviance)]), highest * lowest


def _deviance(
    means: np.ndarray, weights: np.ndarray, shape: np.ndarray, floors: np.ndarray
) -> Float[np.ndarray, " V"]:
    """Gamma deviance of means around v + a·shape with the best a ≥ 0, for each v."""
    offset = floors[:, None]
    slope = np.full((len(floors), 1), float(weights @ means / (weights @ shape)))
    for _ in range(_NEWTON):
        fitted = np.maximum(offset + slope * shape, 1e-12)
        weighted = weights * shape / fitted**2
        slope = np.sum(weighted * (means - offset), axis=1, keepdims=True)
        slope = np.maximum(slope / np.sum(weighted * shape, axis=1, keepdims=True), 0.0)
    ratio = means / np.maximum(offset + slope * shape, 1e-12)
    return np.sum(weights * (ratio - 1 - np.log(ratio)), axis=1)
