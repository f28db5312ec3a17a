"""Convolution and pooling in the form in which each platform differentiates them fastest."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(images: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolution with zeros around the images, (side - 1) / 2 on every edge.

    On CPUs, where it is differentiated, it is one matrix product of all patches: XLA computes the
    gradient of a convolution's weights there about a hundred times slower inside a loop than
    outside (jax#12868), and mapped convolutions, those of replicas, group by group. Where it is
    only evaluated, XLA's own takes less than half of the product's time. The numbers agree to
    round-off.

    Args:
        images: (n, H, W, channels).
        kernel: (side, side, channels, features), side odd.
        stride: along both axes.

    Returns:
        (n, ceil(H / stride), ceil(W / stride), features).
    """
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=lambda images, kernel: _on_cpu(images, kernel, stride),
        default=lambda images, kernel: _native(images, kernel, stride),
    )


def _native(images: Array, kernel: Array, stride: int) -> Array:
    edges = [(side // 2, side // 2) for side in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), edges, dimension_numbers=_LAYOUT
    )


def _product(images: Array, kernel: Array, stride: int) -> Array:
    patches = _patches(images, kernel.shape[0], stride)
    flat = kernel.reshape(-1, kernel.shape[-1])
    outputs = patches.reshape(-1, len(flat)) @ flat
    return outputs.reshape(*patches.shape[:3], -1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _on_cpu(images: Array, kernel: Array, stride: int) -> Array:
    # In other precisions XLA's convolution is a plain loop on CPUs.
    single = images.dtype == kernel.dtype == jnp.float32
    return (_evaluated(stride) if single else functools.partial(_product, stride=stride))(
        images, kernel
    )


@_on_cpu.defjvp
def _(stride: int, primals: Any, tangents: Any) -> Any:
    return jax.jvp(functools.partial(_product, stride=stride), primals, tangents)


@functools.cache
def _evaluated(stride: int) -> Any:
    """XLA's convolution, and the product where it is mapped over kernels."""

    @jax.custom_batching.custom_vmap
    def one(images: Array, kernel: Array) -> Array:
        return _native(images, kernel, stride)

    @one.def_vmap
    def _(size: int, batched: Any, images: Array, kernel: Array) -> Any:
        del size
        form = functools.partial(_product if batched[1] else _native, stride=stride)
        return jax.vmap(form, tuple(0 if one else None for one in batched))(images, kernel), True

    return one


def as_flax(images: Array, kernel: Array, strides: Any, *_: Any, **__: Any) -> Array:
    """`convolve` as the ``conv_general_dilated`` of ``flax.linen.Conv``, for `Layers.conv` only."""
    return convolve(images, kernel, strides[0])


def _patches(images: Array, side: int, stride: int) -> Array:
    """The patch around each position kept, (n, rows, columns, side · side · channels)."""
    edge, (height, width) = side // 2, images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    shifted = [
        padded[:, row : row + height : stride, column : column + width : stride]
        for row in range(side)
        for column in range(side)
    ]
    return jnp.concatenate(shifted, axis=-1)


def max_pool(images: Array) -> Array:
    """Maxima over 2 x 2 windows side by side; a last odd row or column is left out.

    The gradient is shared by equal maxima. Not a windowed maximum, whose gradient takes a third of
    a small network's step on CPUs; nor one over axes, whose gradient divides by the number of
    maxima and is NaN where XLA rounds the images differently when it computes them once more.
    """
    rows, columns = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    upper, lower = images[:, 0:rows:2], images[:, 1:rows:2]
    rowwise = jnp.maximum(upper, lower)
    return jnp.maximum(rowwise[:, :, 0:columns:2], rowwise[:, :, 1:columns:2])
