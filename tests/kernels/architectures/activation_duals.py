"""Expectations of pairs of Gaussians for every activation, in NumPy, from its literal formula."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import erf, expit

NORMAL = np.sqrt(2 * np.pi)
SLOPE = 1 / 2.4020563531719796


def positive(x):
    return np.heaviside(x, 0.5)


# Name of the activation: itself and its derivative.
FUNCTIONS = {
    "relu": (lambda x: np.maximum(x, 0), positive),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
    "erf": (erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2))),
    "gelu": (
        lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
        lambda x: (1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-(x**2) / 2) / NORMAL,
    ),
    "abs": (np.abs, np.sign),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "rbf": (
        lambda x: np.sqrt(2) * np.sin(np.sqrt(2) * x + np.pi / 4),
        lambda x: 2 * np.cos(np.sqrt(2) * x + np.pi / 4),
    ),
    "sigmoid_like": (
        lambda x: 0.5 * erf(SLOPE * x) + 0.5,
        lambda x: SLOPE / np.sqrt(np.pi) * np.exp(-((SLOPE * x) ** 2)),
    ),
    "identity": (lambda x: x, np.ones_like),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "softplus": (lambda x: np.logaddexp(x, 0), expit),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "sigmoid": (expit, lambda x: expit(x) * expit(-x)),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
}
KINKED = ("relu", "leaky_relu", "abs", "elu")


def expectations(name, cross, first, second, nodes=200):
    """E f(u) f(v) and E f'(u) f'(v) for covariances and variances that broadcast, by quadrature.

    With a kink at 0: in polar coordinates, within each quadrant of (u, v). Else on a grid, by the
    trapezoidal rule, which converges faster than Gauss-Hermite's for poles close by (tanh).
    """
    arrays = np.broadcast_arrays(cross, first, second)
    rule = _polar if name in KINKED else _grid
    found = [
        [rule(function, *case, nodes) for function in FUNCTIONS[name]]
        for case in zip(*(array.ravel() for array in arrays), strict=True)
    ]
    return np.array(found).T.reshape(2, *arrays[0].shape)


def _correlation(cross, first, second):
    return np.clip(cross / np.sqrt(first * second), -1.0, 1.0)


def _grid(function, cross, first, second, nodes):
    z = np.linspace(-9.0, 9.0, nodes)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()
    cosine = _correlation(cross, first, second)
    u = np.sqrt(first) * z[:, None]
    v = np.sqrt(second) * (cosine * z[:, None] + np.sqrt(1 - cosine**2) * z)
    return weights @ (function(u) * function(v)) @ weights


def _polar(function, cross, first, second, nodes):
    angle = np.arccos(_correlation(cross, first, second))
    rays = np.array([angle, np.pi, angle + np.pi, 2 * np.pi, angle + 2 * np.pi]) - np.pi / 2
    t, arc_weights = np.polynomial.legendre.leggauss(nodes // 5)
    s, weights = np.polynomial.legendre.leggauss(nodes // 2)
    radius = 6 * (s + 1)
    weights = 6 * weights * radius * np.exp(-(radius**2) / 2)
    total = 0.0
    for low, high in itertools.pairwise(rays):
        arc = (low + (high - low) * (t + 1) / 2)[:, None]
        u = np.sqrt(first) * radius * np.cos(arc)
        v = np.sqrt(second) * radius * np.cos(arc - angle)
        total += (high - low) / 2 * arc_weights @ (function(u) * function(v)) @ weights
    return total / (2 * np.pi)


def fully_connected_kernels(name, x1, x2, *, depth, weight_std, bias_std):
    """NNGP and NTK of a fully connected network of any activation, and both diagonals of x1."""
    w, b = weight_std**2, bias_std**2
    cross = w * x1 @ x2.T / x1.shape[1] + b
    first, second = (w * (x**2).mean(1) + b for x in (x1, x2))
    ntk, own = cross.copy(), first.copy()
    for _ in range(depth):
        after, slope = expectations(name, cross, first[:, None], second)
        cross = w * after + b
        ntk = cross + w * slope * ntk
        after, slope = expectations(name, first, first, first)
        second = w * expectations(name, second, second, second)[0] + b
        first = w * after + b
        own = first + w * slope * own
    return cross, ntk, first, own
