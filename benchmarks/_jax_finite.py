"""Finite-width NTKs by hand in JAX: Jacobians after one forward pass, and layer by layer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._harness import Run

_Inputs = tuple[Callable, Any, jax.Array]
_BIAS = 0.1
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def jacobians(inputs: _Inputs) -> Run:
    """Any network: one forward pass and a pullback for every output of each point, one product."""
    apply_fn, params, x = inputs

    def one(params: Any, point: jax.Array) -> jax.Array:
        outputs, pullback = jax.vjp(lambda params: apply_fn(params, point[None])[0], params)
        (rows,) = jax.vmap(pullback)(jnp.eye(len(outputs), dtype=outputs.dtype))
        leaves = [leaf.reshape(len(outputs), -1) for leaf in jax.tree.leaves(rows)]
        return jnp.concatenate(leaves, axis=1).ravel() / len(outputs) ** 0.5

    @jax.jit
    def kernel(params: Any, x: jax.Array) -> jax.Array:
        jacobian = jax.vmap(one, (None, 0))(params, x)
        return jacobian @ jacobian.T

    return lambda: kernel(params, x)


def fully_connected(inputs: _Inputs) -> Run:
    """The trace NTK of weights (in, out) and biases with standard deviations √2 and 0.1."""
    _, params, x = inputs

    @jax.jit
    def kernel(leaves: list, x: jax.Array) -> jax.Array:
        weights = [(2.0 / len(w)) ** 0.5 * w for w in leaves[::2]]
        entering, z = [], x
        for layer, (w, b) in enumerate(zip(weights, leaves[1::2], strict=True)):
            entering.append(jax.nn.relu(z) if layer else z)
            z = entering[-1] @ w + _BIAS * b.ravel()
        outputs = weights[-1].shape[1]
        total: Any = 0.0
        back: Any = None
        for layer in range(len(weights) - 1, -1, -1):
            h = entering[layer]
            gram = h @ h.T * (2.0 / h.shape[1]) + _BIAS**2
            if back is None:
                # The derivatives are the identity: the mean of its squares is 1.
                total = gram
                back = weights[-1].T * (h > 0)[:, None]
                continue
            flat = back.reshape(len(x), -1)
            total += gram * (flat @ flat.T) / outputs
            back = (back @ weights[layer].T) * (h > 0)[:, None]
        return total

    leaves = jax.tree.leaves(params)
    return lambda: kernel(leaves, x)


def convolutional(inputs: _Inputs) -> Run:
    """The trace NTK of strided convolutions (height, width, in, out), all without biases."""
    _, params, x = inputs

    @jax.jit
    def kernel(leaves: list, x: jax.Array) -> jax.Array:
        filters = [w / w[..., 0].size ** 0.5 for w in leaves[:-1]]
        readout = leaves[-1] / len(leaves[-1]) ** 0.5
        entering, z = [], x
        for layer, w in enumerate(filters):
            hidden = jax.nn.relu(z) if layer else z
            entering.append(hidden)
            z = _convolve(hidden, w)
        flat = jax.nn.relu(z).reshape(len(x), -1)
        total = flat @ flat.T / flat.shape[1]
        outputs = readout.shape[1]
        back = readout.T.reshape(outputs, *z.shape[1:]) * (z > 0)[:, None]
        for layer in range(len(filters) - 1, -1, -1):
            w, h = filters[layer], entering[layer]
            total += _over_positions(h, back, len(w)) / (outputs * w[..., 0].size)
            if layer:
                # Linear in the images: its transpose takes what comes back to them.
                _, pullback = jax.vjp(functools.partial(_convolve, w=w), h)
                (back,) = jax.vmap(pullback, 1, 1)(back)
                back *= (h > 0)[:, None]
        return total

    leaves = jax.tree.leaves(params)
    return lambda: kernel(leaves, x)


def _convolve(images: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(images, w, (2, 2), "SAME", dimension_numbers=_DIMENSIONS)


def _over_positions(h: jax.Array, back: jax.Array, side: int) -> jax.Array:
    """Σ_c of products of the filters' derivatives (n, n), over positions or of Jacobians."""
    n, outputs, rows, columns, channels = back.shape
    padded = jnp.pad(h, ((0, 0), (0, 1), (0, 1), (0, 0)))
    cut = [
        padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
        for i in range(side)
        for j in range(side)
    ]
    count, m = rows * columns, outputs * channels
    patches = jnp.concatenate(cut, axis=-1).reshape(n, count, -1)
    k = patches.shape[2]
    back = back.reshape(n, outputs, count, channels).swapaxes(1, 2).reshape(n, count, m)
    if n * count**2 * (k + m) < count * k * m + n * k * m:

        def one(total: jax.Array, p: tuple) -> tuple[jax.Array, None]:
            pairs = (p[0] @ patches.reshape(-1, k).T) * (p[1] @ back.reshape(-1, m).T)
            return total + pairs.reshape(n, n, count).sum(2), None

        each = (patches.swapaxes(0, 1), back.swapaxes(0, 1))
        return jax.lax.scan(one, jnp.zeros((n, n), h.dtype), each)[0]
    jacobian = jnp.einsum("npk,npm->nkm", patches, back).reshape(n, -1)
    return jacobian @ jacobian.T
