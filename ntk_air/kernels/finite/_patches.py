"""A convolution as a product: the patches of its input that each output position sees."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..._typing import Array


def patches(x: Array, kernel_shape: tuple[int, ...], params: dict[str, Any]) -> Array:
    """Patches of a convolution's input, (groups, positions, entries of one filter).

    Cut out by slices: a convolution with the identity, as usual, is many times slower on CPU.

    Args:
        x: the input, laid out as ``params["dimension_numbers"].lhs_spec`` says.
        kernel_shape: of the filters, laid out as ``rhs_spec`` says.
        params: of ``conv_general_dilated``.
    """
    spec = params["dimension_numbers"]
    x = _channels_last(x, spec.lhs_spec)
    window = [kernel_shape[d] for d in spec.rhs_spec[2:]]
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    interior = [d - 1 for d in params["lhs_dilation"]]
    config = [(lo, hi, i) for (lo, hi), i in zip(params["padding"], interior, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, (0, 0, 0)])
    batch, *sizes, channels = x.shape
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    out = [(s - r) // t + 1 for s, r, t in zip(sizes, reach, strides, strict=True)]
    slices = []
    for offset in itertools.product(*map(range, window)):
        begin = [o * d for o, d in zip(offset, dilation, strict=True)]
        end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, out, strides, strict=True)]
        part = lax.slice(x, (0, *begin, 0), (batch, *end, channels), (1, *strides, 1))
        slices.append(part.reshape(batch * math.prod(out), channels))
    return _split_groups(jnp.stack(slices, axis=1), params["feature_group_count"])


def by_position(z: Array, params: dict[str, Any]) -> Array:
    """A convolution's output as (groups, positions, filters of a group)."""
    z = _channels_last(z, params["dimension_numbers"].out_spec)
    return _split_groups(z.reshape(-1, 1, z.shape[-1]), params["feature_group_count"])


def _channels_last(x: Array, spec: tuple[int, ...]) -> Array:
    """To (batch, positions..., channels); ``spec`` starts with the axes of batch and channels."""
    return lax.transpose(x, (spec[0], *spec[2:], spec[1]))


def _split_groups(x: Array, groups: int) -> Array:
    """(positions, offsets, channels) to (groups, positions, offsets and channels of a group)."""
    positions, offsets, channels = x.shape
    x = x.reshape(positions, offsets, groups, channels // groups)
    return jnp.moveaxis(x, 2, 0).reshape(groups, positions, -1)
