"""Independent NumPy routes to kernels: arc-cosine recursion, Jacobians by finite differences."""

from __future__ import annotations

import copy
import itertools
import math

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


class Covariances:
    """NNGP and NTK of a ReLU network, layer by layer, between all positions of all points.

    Both are (n, n, P, P) in float64, P positions of an image in rows. Nothing of JAX.
    """

    def __init__(self, x, weight_std, bias_std):
        n, *self.sides, channels = x.shape
        flat = np.asarray(x, np.float64).reshape(n, -1, channels)
        self.nngp = np.einsum("ipc,jqc->ijpq", flat, flat) / channels
        self.ntk = np.zeros_like(self.nngp)
        self.weight, self.bias = weight_std**2, bias_std**2

    def copy(self):
        return copy.copy(self)

    def _linear(self, average, own=1.0):
        """Weights after an average over positions, of which each layer adds its gradients' own."""
        before = average(self.nngp)
        self.nngp = self.weight * before + self.bias
        self.ntk = own * self.weight * before + self.bias + self.weight * average(self.ntk)

    def dense(self):
        self._linear(lambda k: k)

    def relu(self):
        n, p = range(len(self.nngp)), range(self.nngp.shape[-1])
        size = np.sqrt(self.nngp[n, n][:, p, p])
        scale = size[:, None, :, None] * size[None, :, None, :]
        # In float64 it holds the angle to 1e-8 next to 0, where the slope is what loses by it.
        cosine = np.clip(self.nngp / np.where(scale > 0, scale, 1), -1.0, 1.0)
        for i in n:
            cosine[i, i, p, p] = 1.0
        angle = np.arccos(cosine)
        self.nngp = scale * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)
        self.ntk = (np.pi - angle) / (2 * np.pi) * self.ntk

    def convolution(self, size=3, stride=1):
        """Each position of the output averages its patch; outside of the image there is 0."""
        sides = [-(-side // stride) for side in self.sides]
        # As much before as after, the odd one after.
        gaps = [
            max((out - 1) * stride + size - side, 0) // 2
            for out, side in zip(sides, self.sides, strict=True)
        ]
        shifts = []
        for offset in itertools.product(range(size), repeat=2):
            shift = np.zeros((math.prod(sides), math.prod(self.sides)))
            for row, place in enumerate(itertools.product(*map(range, sides))):
                at = [stride * a + o - g for a, o, g in zip(place, offset, gaps, strict=True)]
                if all(0 <= a < side for a, side in zip(at, self.sides, strict=True)):
                    shift[row, at[0] * self.sides[1] + at[1]] = 1.0
            shifts.append(shift)
        self._linear(lambda k: sum(s @ k @ s.T for s in shifts) / size**2)
        self.sides = sides

    def pool(self, size=2):
        """The mean of each size x size block."""
        rows = [np.kron(np.eye(side // size), np.full(size, 1 / size)) for side in self.sides]
        mean = np.kron(*rows)
        self.nngp, self.ntk = (mean @ k @ mean.T for k in (self.nngp, self.ntk))
        self.sides = [side // size for side in self.sides]

    def global_pool(self):
        self.nngp, self.ntk = (k.mean(axis=(2, 3), keepdims=True) for k in (self.nngp, self.ntk))

    def flatten(self):
        self.nngp, self.ntk = (
            np.einsum("ijpp->ij", k)[..., None, None] / k.shape[-1] for k in (self.nngp, self.ntk)
        )

    def attention(self, query_key_std):
        """Hron et al. 2020, theorem 3: queries are keys and become deterministic."""
        n = range(len(self.nngp))
        weights = np.exp(query_key_std * self.nngp[n, n])
        weights /= weights.sum(axis=-1, keepdims=True)
        # Values' and outputs' weights have a gradient each.
        self._linear(lambda k: np.einsum("ixp,ijpq,jyq->ijxy", weights, k, weights), own=2.0)

    def __add__(self, other):
        total = self.copy()
        total.nngp, total.ntk = self.nngp + other.nngp, self.ntk + other.ntk
        return total

    def kernels(self):
        """(n, n) NNGP and NTK of outputs, which have one position."""
        return self.nngp[..., 0, 0], self.ntk[..., 0, 0]
