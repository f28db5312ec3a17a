"""Residual networks: fully connected, and wide residual networks on images."""

from __future__ import annotations

import functools
import math
from typing import Any

from ... import _neural_tangents
from ..._checks import check_size
from ._architectures import (
    Architecture,
    activation_layer,
    check_sizes,
    is_closed_form,
    quiet,
)
from ._convolution import convolution
from ._registry import IMAGES, VECTORS, architecture


@architecture(VECTORS)
@functools.lru_cache(maxsize=64)
def residual(
    depth: int = 3,
    width: int = 512,
    *,
    num_outputs: int = 1,
    activation: str = "relu",
    weight_std: float = math.sqrt(2.0),
    bias_std: float = 0.1,
) -> Architecture:
    """A fully connected residual network: ``h <- h + dense(activation(h))`` after a dense layer.

    The branches are not scaled down, so ReLU layers with the default ``weight_std`` double the
    variance in each block.

    Args:
        depth: number of residual blocks, of one hidden layer each.
        width: units of each hidden layer (the infinite-width kernel ignores it).
        num_outputs: outputs C.
        activation: one of `ACTIVATIONS`.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: standard deviation of the biases.

    Raises:
        ValueError: on sizes below 1, an unknown activation or a standard deviation out of range.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Source: He, Zhang, Ren, Sun (arXiv:1603.05027), without normalisation.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> network = na.kernels.residual(depth=1)
        >>> na.kernels.infinite_ntk(network, np.eye(3)).shape
        (3, 3)
    """
    check_sizes(depth, width, num_outputs, weight_std, bias_std)
    stax = _neural_tangents.load().stax
    dense = functools.partial(stax.Dense, W_std=weight_std, b_std=bias_std)
    layers = [dense(width)]
    for _ in range(depth):
        layers.append(_sum_of([activation_layer(activation), dense(width)], stax.Identity()))
    layers += [activation_layer(activation), dense(num_outputs)]
    name = f"residual(depth={depth}, width={width}, activation={activation})"
    network = quiet(stax.serial(*layers))
    return Architecture(name, *network, is_closed_form(activation), VECTORS)


@architecture(IMAGES, resnet={})
@functools.lru_cache(maxsize=16)
def wide_resnet(
    block_size: int = 1,
    widen_factor: int = 1,
    *,
    num_outputs: int = 10,
    activation: str = "relu",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
) -> Architecture:
    """A wide residual network on images (n, H, W, channels), with global average pooling.

    A convolution of 16 channels, then three groups of blocks of 16, 32 and 64 times
    ``widen_factor`` channels, the second and third halving the image. A block is two pre-activated
    3 x 3 convolutions beside the identity, or beside a convolution where the shape changes; no
    normalisation. Its infinite-width kernel takes memory n1·n2·(H·W)².

    Args:
        block_size: blocks in each group.
        widen_factor: width in multiples of 16 channels (the infinite-width kernel ignores it).
        num_outputs: outputs C.
        activation: one of `ACTIVATIONS`.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: standard deviation of the biases.

    Raises:
        ValueError: on sizes below 1, an unknown activation or a standard deviation out of range.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Source: Zagoruyko & Komodakis (arXiv:1605.07146), as in Novak et al. (arXiv:1912.02803).

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> network = na.kernels.wide_resnet(block_size=1, num_outputs=5)
        >>> params = jax.eval_shape(lambda key: network.init_fn(key, (1, 8, 8, 3))[1],
        ...                         jax.random.key(0))
        >>> images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
        >>> jax.eval_shape(network.apply_fn, params, images).shape
        (2, 5)
    """
    check_size("block_size", block_size, 1)
    check_size("widen_factor", widen_factor, 1)
    check_sizes(block_size, widen_factor, num_outputs, weight_std, bias_std)
    stax = _neural_tangents.load().stax
    conv = functools.partial(convolution, filter_size=3, weight_std=weight_std, bias_std=bias_std)
    layers = [conv(16)]
    for group, factor in enumerate((1, 2, 4)):
        channels = 16 * factor * widen_factor
        for block in range(block_size):
            stride = 2 if group > 0 and block == 0 else 1
            main = [activation_layer(activation), conv(channels, stride=stride)]
            main += [activation_layer(activation), conv(channels)]
            shortcut = conv(channels, stride=stride) if block == 0 else stax.Identity()
            layers.append(_sum_of(main, shortcut))
    layers += [stax.GlobalAvgPool(), stax.Dense(num_outputs, W_std=weight_std, b_std=bias_std)]
    name = f"wide_resnet(block_size={block_size}, widen_factor={widen_factor}, {activation})"
    network = quiet(stax.serial(*layers))
    return Architecture(name, *network, is_closed_form(activation), IMAGES)


def _sum_of(branch: list[Any], shortcut: Any) -> Any:
    """``branch(h) + shortcut(h)``."""
    stax = _neural_tangents.load().stax
    both = stax.parallel(stax.serial(*branch), shortcut)
    return stax.serial(stax.FanOut(2), both, stax.FanInSum())
