"""Infinite-width NTKs by hand: the arc-cosine recursion in JAX, NumPy and torch.

Weights have standard deviation √2 and biases 0.1 in every layer. Kernels K and T (NNGP and NTK) go
through ReLU as K' = √(qq') (sin θ + (π - θ) cos θ) / 2π and T' = T (π - θ) / 2π with the variances
q, and through a layer as 2 K' + 0.01 and 2 T' + 2 K' + 0.01, averaged over the layer's window.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._harness import Run
from benchmarks._torch_training import threads_of_torch

_GAIN, _BIAS = 2.0, 0.01
# Of arc cosine over √(1 - t) on [0, 1], error 2e-8: Abramowitz and Stegun, 4.4.46.
_ARC_COSINE = (
    *(1.5707963050, -0.2145988016, 0.0889789874, -0.0501743046),
    *(0.0308918810, -0.0170881256, 0.0066700901, -0.0012624911),
)
# Rows at a time, where all at once would leave the cache.
_ROWS, _IMAGES = 128, 8


def fully_connected(depth: int, x: jax.Array, *, polynomial: bool = False) -> Run:
    """One jitted function in JAX, X Xᵀ once; the arc cosine JAX's own, or a polynomial."""
    arc_cosine = _polynomial if polynomial else jnp.arccos

    @jax.jit
    def kernel(x: jax.Array) -> jax.Array:
        q = _GAIN * jnp.mean(x * x, 1) + _BIAS
        k = _GAIN / x.shape[1] * (x @ x.T) + _BIAS
        t = k
        for _ in range(depth):
            k, t = _relu(k, t, q[:, None], q[None, :], arc_cosine)
            k = _GAIN * k + _BIAS
            q, t = _GAIN / 2 * q + _BIAS, _GAIN * t + k
        return t

    return lambda: kernel(x)


def convolutional(depth: int, pooling: str, x: jax.Array) -> Run:
    """3 x 3 convolutions by shifts of the covariances in JAX, a few images at a time.

    Of equal positions for ``"flatten"``, of all pairs of positions for ``"gap"``.
    """
    pairs = pooling == "gap"

    def windowed(k: jax.Array, start: int, paired: bool) -> jax.Array:
        # Positions that come in pairs are shifted together.
        width = 2 if paired else 1
        for axis in (start, start + width):
            k = _shifted_sum(k, range(axis, axis + width))
        return k / 9

    def rows(x1: jax.Array, x2: jax.Array) -> jax.Array:
        subscripts = "ihwc,jvuc->ijhvwu" if pairs else "ihwc,jhwc->ijhw"
        k = jnp.einsum(subscripts, x1, x2) / x1.shape[3]
        q1, q2 = jnp.mean(x1**2, 3), jnp.mean(x2**2, 3)
        t: Any = 0.0
        for _ in range(depth):
            k = _GAIN * windowed(k, 2, pairs) + _BIAS
            t = k if isinstance(t, float) else _GAIN * windowed(t, 2, pairs) + k
            q1, q2 = (_GAIN * windowed(q, 1, False) + _BIAS for q in (q1, q2))
            if pairs:
                first, second = q1[:, None, :, None, :, None], q2[None, :, None, :, None, :]
            else:
                first, second = q1[:, None], q2[None]
            k, t = _relu(k, t, first, second, _polynomial)
            q1, q2 = q1 / 2, q2 / 2
        positions = tuple(range(2, k.ndim))
        return _GAIN * (t.mean(positions) + k.mean(positions)) + _BIAS

    @jax.jit
    def kernel(x: jax.Array) -> jax.Array:
        blocks = x.reshape(-1, math.gcd(len(x), _IMAGES), *x.shape[1:])
        return jax.lax.map(lambda block: rows(block, x), blocks).reshape(len(x), -1)

    return lambda: kernel(x)


def in_numpy(depth: int, x: jax.Array) -> Run:
    """X Xᵀ once, then some rows at a time."""
    points = np.asarray(x)

    def run() -> np.ndarray:
        first = _GAIN * np.mean(points * points, 1) + np.float32(_BIAS)
        kernel = points @ points.T
        for begin in range(0, len(kernel), _ROWS):
            k = kernel[begin : begin + _ROWS]
            k *= _GAIN / points.shape[1]
            k += _BIAS
            t, q = k.copy(), first
            for _ in range(depth):
                scale = np.sqrt(q[begin : begin + _ROWS])[:, None] * np.sqrt(q)
                cosine = np.clip(k / scale, -1, 1)
                slope = 0.5 - np.arccos(cosine) / np.float32(2 * np.pi)
                sine = np.sqrt((1 - cosine) * (1 + cosine))
                k = _GAIN * scale * (sine / np.float32(2 * np.pi) + slope * cosine)
                k += _BIAS
                t = _GAIN * slope * t + k
                q = _GAIN / 2 * q + np.float32(_BIAS)
            kernel[begin : begin + _ROWS] = t
        return kernel

    return run


def in_torch(depth: int, x: jax.Array, *, threads: int) -> Run:
    """The same in torch, in place."""
    import torch  # pyright: ignore[reportMissingImports]

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    points = torch.tensor(np.asarray(x), device=device)

    def rows(k: Any, first: Any, begin: int) -> Any:
        t, q = k.clone(), first
        for _ in range(depth):
            root = q.sqrt()
            scale = root[begin : begin + len(k), None] * root
            cosine = k.div_(scale).clamp_(-1, 1)
            slope = torch.acos(cosine).mul_(-0.5 / math.pi).add_(0.5)
            sine = cosine.square().neg_().add_(1).sqrt_()
            k = cosine.mul_(slope).add_(sine, alpha=0.5 / math.pi).mul_(scale)
            k = k.mul_(_GAIN).add_(_BIAS)
            t = torch.addcmul(k, t, slope, value=_GAIN)
            q = _GAIN / 2 * q + _BIAS
        return t

    def run() -> Any:
        with threads_of_torch(threads), torch.inference_mode():
            first = points.square().mean(1).mul_(_GAIN).add_(_BIAS)
            kernel = (points @ points.T).mul_(_GAIN / points.shape[1]).add_(_BIAS)
            for begin in range(0, len(kernel), _ROWS):
                kernel[begin : begin + _ROWS] = rows(kernel[begin : begin + _ROWS], first, begin)
            return kernel.cpu().numpy()

    return run


def _relu(k: Any, t: Any, q1: Any, q2: Any, arc_cosine: Any) -> tuple[Any, Any]:
    scale = jnp.sqrt(q1) * jnp.sqrt(q2)
    cosine = jnp.clip(k / scale, -1.0, 1.0)
    slope = 0.5 - arc_cosine(cosine) / (2 * math.pi)
    sine = jnp.sqrt((1 - cosine) * (1 + cosine))
    return scale * (sine / (2 * math.pi) + slope * cosine), slope * t


def _polynomial(cosine: jax.Array) -> jax.Array:
    size = jnp.abs(cosine)
    power = jnp.full_like(size, _ARC_COSINE[-1])
    for coefficient in _ARC_COSINE[-2::-1]:
        power = power * size + coefficient
    angle = jnp.sqrt(1 - size) * power
    return jnp.where(cosine < 0, math.pi - angle, angle)


def _shifted_sum(k: jax.Array, axes: range) -> jax.Array:
    """The sum of k and its two neighbours along all of ``axes`` at once, zeros outside."""
    edges = [(1, 1) if axis in axes else (0, 0) for axis in range(k.ndim)]
    padded = jnp.pad(k, edges)

    def shifted(by: int) -> jax.Array:
        part = [slice(by, by + s) if a in axes else slice(None) for a, s in enumerate(k.shape)]
        return padded[tuple(part)]

    return shifted(0) + shifted(1) + shifted(2)
