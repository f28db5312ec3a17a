"""Gradient flow without one of its points, at many times, from a few ridge fits.

Flow is the inverse Laplace transform of ridge regression, also on the points that are left:

    f^{(−i)}(t) = (1/2πi) ∫ e^{zt} f^{(−i)}(z) dz / z.

One contour serves a window of times. It is the hyperbola of Weideman and Trefethen, Math. Comp. 76
(2007), which converges geometrically since all poles are real and not positive.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ..._typing import Array, Float
from ._left_out import LeftOutProblem, Parts, node_outputs, ridge_outputs, smallest, uncertainty

# Last over first time of a window, and how many times it holds at most.
_RATIO, _MOST = 10.0, 32
# Nodes by precision: measured relative errors 1e-5 and 1e-11 at every time of a window.
_NODES = {np.dtype("float32"): 18, np.dtype("float64"): 32}
# Uncertainties of many times are computed at so many a decade, each time at the next later one.
_PER_DECADE, _FEW = 4, 12


def flow_outputs(
    problem: LeftOutProblem, times: list[float]
) -> Iterator[tuple[slice, Float[Array, "T n C"], Float[np.ndarray, "T n C"]]]:
    """Outputs without the point and their uncertainty, window by window of increasing times."""
    scaled = np.asarray(times, np.float64) * problem.scale
    sensitivity = _Sensitivity(problem, scaled)
    shape = problem.parts.observed.shape
    for window in _windows(scaled):
        inside = scaled[window]
        if inside[0] == 0 or shape[0] == 1:  # Nothing is learned, or nothing left to learn from.
            outputs = jnp.zeros((len(inside), *shape))
        elif np.isinf(inside[0]):
            outputs = ridge_outputs(problem, np.full(1, smallest(problem)))
        else:
            outputs = _flow(problem, inside)
        yield window, outputs, np.stack([sensitivity(time) for time in inside])


def _windows(times: np.ndarray) -> Iterator[slice]:
    start = 0
    while start < len(times):
        stop = start + 1
        first = times[start]
        while (
            0 < first < np.inf
            and stop < len(times)
            and times[stop] <= _RATIO * first
            and stop - start < _MOST
        ):
            stop += 1
        yield slice(start, stop)
        start = stop


def _flow(problem: LeftOutProblem, times: np.ndarray) -> Float[Array, "T n C"]:
    count = len(times)
    # One shape for all windows, so that the sum compiles once.
    padded = np.append(times, np.full(_MOST - count, times[-1])) if count > 1 else times
    nodes, slopes = _hyperbola(_NODES[np.dtype("float32" if problem.eps > 1e-10 else "float64")])
    nodes, slopes = nodes / times[0], slopes / times[0]
    weights = np.exp(nodes[:, None] * padded) * (slopes / nodes)[:, None]
    weak = bool(times[-1] <= 1)
    return _contour(problem.parts, jnp.asarray(nodes), jnp.asarray(weights), weak)[:count]


@functools.cache
def _hyperbola(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes z and slopes 2 h z'/2πi of the upper half of the contour for times 1 to `_RATIO`."""
    angles = np.linspace(np.pi / 4, np.pi / 2, 2001)[1:-1]
    spread = ((np.pi - 2 * angles) * _RATIO + 4 * angles - np.pi) / (4 * angles - np.pi)
    steps = np.arccosh(spread / np.sin(angles))
    best = int(np.argmax((np.pi**2 - 2 * np.pi * angles) / steps))
    angle, step = angles[best], steps[best] / count
    width = (4 * np.pi * angle - np.pi**2) / (step * _RATIO)
    at = 1j * (np.arange(count) + 0.5) * step - angle
    # Conjugate pairs: twice the real part of the upper half.
    return width * (1 + np.sin(at)), step * width * np.cos(at) / np.pi


@functools.partial(jax.jit, static_argnums=3)
def _contour(parts: Parts, nodes: Array, weights: Array, weak: bool) -> Float[Array, "T n C"]:
    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        z, weight = node
        part, _ = node_outputs(parts, z, weak)
        return total + (weight[:, None, None] * part).real, None

    start = jnp.zeros((weights.shape[1], *parts.observed.shape))
    total = jax.lax.scan(add, start, (nodes, weights))[0]
    # The integral of the targets themselves, e^{zt} / z, is 1.
    return total if weak else parts.observed + total


class _Sensitivity:
    """The uncertainty at each time: of few times exactly there, of many at the next on a grid."""

    def __init__(self, problem: LeftOutProblem, times: np.ndarray) -> None:
        self._problem, self._few = problem, len(times) <= _FEW
        self._held: dict[float, np.ndarray] = {}

    def __call__(self, time: float) -> np.ndarray:
        if time == 0 or len(self._problem.parts.observed) == 1:
            return np.zeros(self._problem.parts.observed.shape)
        if np.isinf(time):
            strength = smallest(self._problem)
        else:
            tick = np.ceil(_PER_DECADE * np.log10(time)) / _PER_DECADE
            strength = 1 / time if self._few else 10.0**-tick
        if strength not in self._held:
            # Times come in order: an earlier one is not asked for again.
            self._held = {strength: uncertainty(self._problem, np.full(1, strength))[0]}
        return self._held[strength]
