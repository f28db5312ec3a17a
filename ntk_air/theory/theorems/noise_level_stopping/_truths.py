"""Functions on the circle to be learned, what a kernel can learn of them, and how fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...._checks import check_choice

_GRID = 4096


def _tent(angles: np.ndarray) -> np.ndarray:
    """Distance of the angle to 0 along the circle, in [0, pi]."""
    return np.abs((angles + np.pi) % (2 * np.pi) - np.pi)


TRUTHS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "abs": lambda t: np.abs(np.cos(t)) - 2 / np.pi,
    "cos3": lambda t: np.cos(3 * t) / 3,
    "cos5": lambda t: np.cos(5 * t) / 5,
    "relu": lambda t: np.maximum(np.cos(t), 0) - 1 / np.pi,
    "even_tent": lambda t: np.abs(_tent(t) - np.pi / 2) - np.pi / 4,
    "odd_tent": lambda t: _tent(t) - np.pi / 2,
}
"""Functions of the angle, each 1-Lipschitz with mean zero. Those with odd harmonics from the third
on ("cos3", "cos5", "odd_tent") are not those of a network without biases."""


def values_at(truth: Any, angles: np.ndarray) -> np.ndarray:
    """Values (n,) of a named function or one of the user's at angles (n,).

    Raises:
        ValueError: for an unknown name, or values that are not one finite number per angle.
    """
    if not callable(truth):
        check_choice("truth", truth, tuple(TRUTHS))
        truth = TRUTHS[truth]
    values = np.asarray(truth(angles), np.float64)
    if values.shape != angles.shape or not np.isfinite(values).all():
        raise ValueError(
            f"truth returns values of shape {values.shape} for angles of shape {angles.shape}, "
            "expected one finite number per angle."
        )
    return values


def steepest(truth: Any) -> float:
    """Largest difference quotient along the circle on a fine grid: the Lipschitz constant."""
    values = values_at(truth, 2 * np.pi * np.arange(_GRID) / _GRID)
    return float(np.abs(np.diff(values, append=values[:1])).max() * _GRID / (2 * np.pi))


def unlearnable(truth: Any, bias: bool) -> float:
    """Mean square of what the kernel's functions are orthogonal to: odd harmonics from 3 on.

    A ReLU is half its argument plus half its modulus, so that a network without biases is a linear
    function plus an even one; its kernel has eigenvalue zero at odd harmonics k >= 3 (Basri et al.,
    arXiv:1906.00425). With biases every eigenvalue is positive.
    """
    if bias:
        return 0.0
    size = np.abs(np.fft.rfft(values_at(truth, 2 * np.pi * np.arange(_GRID) / _GRID))) / _GRID
    return float(2 * np.sum(size[3::2] ** 2))


def angle_kernel(cosine: np.ndarray, bias: bool) -> np.ndarray:
    """NTK of the first layer of an infinitely wide ReLU network, of the cosine of the angle.

    The weights are normal; biases, where there are any, are trained from zero (arXiv:1906.00425).
    """
    cosine = np.clip(cosine, -1.0, 1.0)
    return (cosine + bias) * (np.pi - np.arccos(cosine)) / (2 * np.pi)


def predicted_errors(
    truth: Any, num_points: int, noise: float, draws: int = 400
) -> tuple[float, float]:
    """Mean squared errors where stopped at the noise level, and at best, in the sequence model.

    The points are put on a regular grid, on which the kernel of a network with biases has the
    Fourier modes as eigenvectors: each coefficient is fitted at its own rate (derived). No random
    points and no training are in it, so it predicts what those show up to their irregularity.
    """
    place = 2 * np.pi * np.arange(num_points) / num_points
    spectrum = np.fft.rfft(angle_kernel(np.cos(place), True)).real
    rates = np.clip(spectrum / spectrum.max(), 0.0, 1 - 1e-12)
    fitted = -np.expm1(np.geomspace(1, 1e7, 250)[:, None] * np.log1p(-rates))
    count = np.full(len(rates), 2.0)
    count[0] = 1.0
    if num_points % 2 == 0:
        count[-1] = 1.0
    rng = np.random.default_rng([num_points, *b"sequence"])
    # Another shift of the grid for each draw: corners of the truth fall anywhere.
    shifts = 2 * np.pi * rng.random(draws)[:, None]
    signal = np.fft.rfft(values_at(truth, (place + shifts).ravel()).reshape(draws, -1)) / num_points
    error = np.fft.rfft(noise * rng.standard_normal((draws, num_points))) / num_points
    observed = signal + error
    residual = (np.abs(observed) ** 2 * count) @ ((1 - fitted) ** 2).T
    distance = (
        (np.abs(signal) ** 2 * count) @ ((1 - fitted) ** 2).T
        + (np.abs(error) ** 2 * count) @ (fitted**2).T
        - 2 * ((signal.conj() * error).real * count) @ (fitted * (1 - fitted)).T
    )
    under = residual <= noise**2
    stop = np.where(under.any(1), under.argmax(1), len(fitted) - 1)
    return float(distance[np.arange(draws), stop].mean()), float(distance.min(1).mean())
