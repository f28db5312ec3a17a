"""Wide residual networks for images of about 32 x 32."""

from __future__ import annotations

import flax.linen as nn
import jax

from .._checks import check_in_range, check_size
from .._typing import Array
from ._network import Layers, Network, check_images


class WideResNet(Network, kw_only=True):
    """WRN-depth-widen: three groups of pre-activation blocks of 16, 32 and 64 · widen channels.

    A 3 x 3 convolution of 16 channels, the groups, of (depth - 4) / 6 blocks each, the second and
    third halving the image, BatchNorm, ReLU, global average, dense layer. A block is BatchNorm,
    ReLU, convolution, BatchNorm, ReLU, dropout, convolution, plus the input, which goes through
    the first BatchNorm and ReLU and a 1 x 1 convolution where the shape changes.

    Called as ``module.apply(variables, images, train=False, mask=None)``, in training with
    ``mutable=["batch_stats"]`` and, where there is dropout, ``rngs={"dropout": key}``; images
    (n, H, W, channels) to (n, num_outputs).

    Source: Zagoruyko & Komodakis (arXiv:1605.07146).

    Attributes:
        num_outputs: outputs C.
        depth: 10, 16, 22, 28, 34, 40, ...
        widen: width in multiples of 16 channels.
        stem_features: 16, or less for a narrow network.
        dropout: fraction dropped between a block's convolutions; 0.3 in the paper's CIFAR runs.
        parameterization: as in `MLP`, like ``weight_std``, ``bias_std`` and ``dtype``.

    Raises:
        ValueError: as `MLP`, on another depth, and on images too small to be halved twice.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> module = na.networks.WideResNet(num_outputs=10, depth=10, widen=1)
        >>> images = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
        >>> outputs, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
        >>> outputs.shape
        (4, 10)
    """

    depth: int = 28
    widen: int = 10
    stem_features: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_size("depth", self.depth, 10)
        if self.depth % 6 != 4:
            raise ValueError(
                f"depth is {self.depth}, expected 6·N + 4 for N blocks in each group: 10, 16, 22, "
                "28, 34 or 40, for example."
            )
        check_size("widen", self.widen, 1)
        check_size("stem_features", self.stem_features, 1)
        check_in_range("dropout", self.dropout, 0.0, 1.0, high_open=True)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """Images (n, H, W, channels) to outputs (n, num_outputs)."""
        check_images(x, mask, halvings=2)
        layers = self.layers(train, mask)
        x = layers.conv(x, self.stem_features, "stem")
        for group in range(3):
            for block in range((self.depth - 4) // 6):
                stride = 2 if group > 0 and block == 0 else 1
                width = self.stem_features * 2**group * self.widen
                x = self._block(layers, x, width, stride, f"group_{group}_block_{block}")
        x = jax.nn.relu(layers.norm(x, "norm"))
        return layers.readout(x.mean((1, 2)), self.num_outputs)

    def _block(self, layers: Layers, x: Array, width: int, stride: int, name: str) -> Array:
        active = jax.nn.relu(layers.norm(x, f"{name}_norm_0"))
        branch = layers.conv(active, width, f"{name}_conv_0", stride=stride)
        branch = jax.nn.relu(layers.norm(branch, f"{name}_norm_1"))
        drop = nn.Dropout(self.dropout, deterministic=not layers.train, name=f"{name}_dropout")
        branch = layers.conv(drop(branch), width, f"{name}_conv_1")
        if x.shape != branch.shape:
            x = layers.conv(active, width, f"{name}_shortcut", side=1, stride=stride)
        return branch + x
