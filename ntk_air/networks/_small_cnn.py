"""A small convolutional network for images of 28 x 28 or 32 x 32."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn

from .._checks import check_choice
from .._typing import Array
from ._activations import as_activation
from ._convolution import max_pool
from ._network import Network, check_features, check_images


class SmallCNN(Network, kw_only=True):
    """Blocks of 3 x 3 convolution, BatchNorm, activation and 2 x 2 max-pooling, then a dense layer.

    Called as ``module.apply(variables, images, train=False, mask=None)``, with
    ``mutable=["batch_stats"]`` in training; images (n, H, W, channels) to (n, num_outputs).

    Attributes:
        num_outputs: outputs C.
        features: channels of each block; each halves the image.
        use_batch_norm: False for biases instead.
        pooling: ``"flatten"`` (one readout weight per position) or ``"gap"`` (global average).
        activation: a name in ``ntk_air.networks.ACTIVATIONS``, or a function.
        parameterization: as in `MLP`, like ``weight_std``, ``bias_std`` and ``dtype``.

    Raises:
        ValueError: as `MLP`, and on images too small to be halved that often.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> module = na.networks.SmallCNN(num_outputs=10, use_batch_norm=False)
        >>> images = jax.ShapeDtypeStruct((8, 28, 28, 1), jnp.float32)
        >>> sorted(jax.eval_shape(module.init, jax.random.key(0), images))
        ['params']
    """

    features: tuple[int, ...] = (32, 64, 128)
    use_batch_norm: bool = True
    pooling: str = "flatten"
    activation: str | Callable[[Array], Array] = "relu"

    def __post_init__(self) -> None:
        check_features("features", self.features)
        check_choice("pooling", self.pooling, ("flatten", "gap"))
        as_activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """Images (n, H, W, channels) to outputs (n, num_outputs)."""
        check_images(x, mask, halvings=len(self.features))
        layers, activation = self.layers(train, mask), as_activation(self.activation)
        for index, width in enumerate(self.features):
            x = layers.conv(x, width, f"conv_{index}", use_bias=not self.use_batch_norm)
            if self.use_batch_norm:
                x = layers.norm(x, f"norm_{index}")
            x = max_pool(activation(x))
        x = x.mean((1, 2)) if self.pooling == "gap" else x.reshape(len(x), -1)
        return layers.readout(x, self.num_outputs)
