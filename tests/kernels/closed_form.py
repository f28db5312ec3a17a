"""Independent NumPy routes to kernels: arc-cosine recursion, Jacobians by finite differences."""

from __future__ import annotations

import numpy as np


def relu_kernels(x1, x2, *, depth, weight_std, bias_std):
    """NNGP and NTK of a fully connected ReLU network by the arc-cosine recursion, in float64.

    Cho & Saul 2009 for the expectations, Jacot et al. 2018 for the recursion; nothing of JAX.
    """
    x1, x2 = np.asarray(x1, np.float64), np.asarray(x2, np.float64)
    w, b = weight_std**2, bias_std**2
    cross = w * x1 @ x2.T / x1.shape[1] + b
    first = w * (x1**2).mean(1) + b
    second = w * (x2**2).mean(1) + b
    ntk = cross.copy()
    for _ in range(depth):
        scale = np.sqrt(np.outer(first, second))
        angle = np.arccos(np.clip(cross / scale, -1.0, 1.0))
        expectation = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        derivative = (np.pi - angle) / (2 * np.pi)
        cross = w * expectation + b
        ntk = cross + w * derivative * ntk
        first, second = w * first / 2 + b, w * second / 2 + b
    return cross, ntk


def finite_difference_jacobian(apply_fn, flat_params, x, step=1e-6):
    """(n, C, p) central differences of a function of flat parameters, in float64."""
    columns = []
    for index in range(flat_params.size):
        up, down = flat_params.copy(), flat_params.copy()
        up[index] += step
        down[index] -= step
        columns.append((np.asarray(apply_fn(up, x)) - np.asarray(apply_fn(down, x))) / (2 * step))
    return np.stack(columns, axis=-1)
