"""Residual networks for images of about 32 x 32."""

from __future__ import annotations

import flax.linen as nn
import jax

from .._checks import check_size
from .._typing import Array
from ._network import Layers, Network, check_features, check_images


class ResNet(Network, kw_only=True):
    """A residual network of basic blocks with the stem for small images.

    A 3 x 3 convolution, stages of blocks with ``stem_features`` · 1, 2, 4, ... channels, each after
    the first halving the image, global average, dense layer. A block is convolution, BatchNorm,
    ReLU, convolution, BatchNorm, plus the input, ReLU; where the shape changes the input goes
    through a 1 x 1 convolution and BatchNorm.

    Called as ``module.apply(variables, images, train=False, mask=None)``, with
    ``mutable=["batch_stats"]`` in training; images (n, H, W, channels) to (n, num_outputs).

    Source: He, Zhang, Ren, Sun (arXiv:1512.03385), their ImageNet networks with the 7 x 7 stem and
    its pooling replaced, as is common on CIFAR; initialised as in arXiv:1502.01852.

    Attributes:
        num_outputs: outputs C.
        blocks: blocks of each stage.
        stem_features: channels of the first stage.
        zero_init_residual: start each block as the identity, with scale 0 in its last BatchNorm
            (Goyal et al., arXiv:1706.02677).
        parameterization: as in `MLP`, like ``weight_std``, ``bias_std`` and ``dtype``.

    Raises:
        ValueError: as `MLP`, and on images too small to be halved that often.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> module = na.networks.ResNet(num_outputs=10, blocks=(1, 1), stem_features=8)
        >>> images = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
        >>> outputs, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
        >>> outputs.shape, sorted(variables)
        ((4, 10), ['batch_stats', 'params'])
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    stem_features: int = 64
    zero_init_residual: bool = False

    def __post_init__(self) -> None:
        check_features("blocks", self.blocks)
        check_size("stem_features", self.stem_features, 1)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """Images (n, H, W, channels) to outputs (n, num_outputs)."""
        check_images(x, mask, halvings=max(len(self.blocks) - 1, 0))
        layers = self.layers(train, mask)
        x = jax.nn.relu(layers.norm(layers.conv(x, self.stem_features, "stem"), "stem_norm"))
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"stage_{stage}_block_{block}"
                x = self._block(layers, x, self.stem_features * 2**stage, stride, name)
        return layers.readout(x.mean((1, 2)), self.num_outputs)

    def _block(self, layers: Layers, x: Array, width: int, stride: int, name: str) -> Array:
        branch = layers.conv(x, width, f"{name}_conv_0", stride=stride)
        branch = jax.nn.relu(layers.norm(branch, f"{name}_norm_0"))
        branch = layers.conv(branch, width, f"{name}_conv_1")
        branch = layers.norm(branch, f"{name}_norm_1", zero=self.zero_init_residual)
        if x.shape != branch.shape:
            x = layers.conv(x, width, f"{name}_shortcut", side=1, stride=stride)
            x = layers.norm(x, f"{name}_shortcut_norm")
        return jax.nn.relu(branch + x)


class ResNet18(ResNet, kw_only=True):
    """`ResNet` of two blocks in each of four stages: 11 173 962 parameters for 10 classes.

    Raises:
        ValueError: as `ResNet`.

    Example:
        >>> import ntk_air as na
        >>> na.networks.ResNet18(num_outputs=10).blocks
        (2, 2, 2, 2)
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)


class ResNet34(ResNet, kw_only=True):
    """`ResNet` of 3, 4, 6 and 3 blocks: 21 282 122 parameters for 10 classes.

    Raises:
        ValueError: as `ResNet`.

    Example:
        >>> import ntk_air as na
        >>> na.networks.ResNet34(num_outputs=10).blocks
        (3, 4, 6, 3)
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
