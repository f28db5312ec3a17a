"""Dense and convolutional layers in NTK parameterisation."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
from flax.linen.dtypes import promote_dtype

from .._typing import Array
from ._convolution import convolve

HE = math.sqrt(2.0)
"""The ``weight_std`` that keeps the variance of ReLU layers constant (arXiv:1502.01852)."""

_standard_normal = nn.initializers.normal(1.0)


class NTKDense(nn.Module, kw_only=True):
    """``weight_std / sqrt(fan_in) * x W + bias_std * b`` with standard normal W and b.

    The layer of `ntk_air.kernels.fully_connected`. The factor stays in the forward pass, so that
    under one learning rate outputs of networks of any width change at the same speed (Jacot,
    Gabriel, Hongler, arXiv:1806.07572).

    Attributes:
        features: units.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: factor of the biases; 0 leaves them without effect.
        use_bias: False for a layer without biases.
        dtype: of the computation; default: that of inputs and parameters.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> layer = na.networks.NTKDense(features=4, weight_std=2.0)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 9)))
        >>> kernel = variables["params"]["kernel"]  # unit variance: 2 / sqrt(9) scales the product
        >>> outputs = layer.apply(variables, jnp.ones((1, 9)))
        >>> bool(jnp.allclose(outputs, 2 / 3 * kernel.sum(0), atol=1e-5))
        False
    """

    features: int
    weight_std: float = HE
    bias_std: float = 0.1
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Inputs (..., fan_in) to (..., features)."""
        fan_in = x.shape[-1]
        kernel = self.param("kernel", _standard_normal, (fan_in, self.features))
        kernel = kernel * (self.weight_std / math.sqrt(fan_in))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return _plus_bias(self, x @ kernel)


class NTKConv(nn.Module, kw_only=True):
    """A convolution in NTK parameterisation, zero-padded; the layer of `kernels.convolutional`.

    ``weight_std / sqrt(fan_in) * (x * W) + bias_std * b``, fan_in = side² · input channels.

    Attributes:
        features: output channels.
        side: of the square filter, odd; ``(side - 1) / 2`` zeros on each edge of the image.
        stride: along both axes.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: factor of the biases; 0 leaves them without effect.
        use_bias: False for a layer without biases.
        dtype: of the computation; default: that of inputs and parameters.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> layer = na.networks.NTKConv(features=4, stride=2)
        >>> outputs, _ = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
        >>> outputs.shape
        (1, 4, 4, 4)
    """

    features: int
    side: int = 3
    stride: int = 1
    weight_std: float = HE
    bias_std: float = 0.1
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Images (n, H, W, channels) to (n, ceil(H / stride), ceil(W / stride), features)."""
        shape = (self.side, self.side, x.shape[-1], self.features)
        kernel = self.param("kernel", _standard_normal, shape)
        kernel = kernel * (self.weight_std / math.sqrt(math.prod(shape[:3])))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return _plus_bias(self, convolve(x, kernel, self.stride))


def _plus_bias(layer: NTKDense | NTKConv, y: Array) -> Array:
    if not layer.use_bias:
        return y
    bias = layer.param("bias", _standard_normal, (layer.features,)) * layer.bias_std
    return y + bias.astype(y.dtype)
