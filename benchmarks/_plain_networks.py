"""Convolutional networks as people write them in flax, with XLA's convolutions and pooling.

Layers have the names of `ntk_air.networks`, so that they take the same parameters.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class SmallCNN(nn.Module):
    """`ntk_air.networks.SmallCNN` with its default numbers."""

    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for i, width in enumerate((32, 64, 128)):
            x = nn.Conv(width, (3, 3), use_bias=False, name=f"conv_{i}")(x)
            norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, name=f"norm_{i}")
            x = nn.max_pool(nn.relu(norm(x)), (2, 2), strides=(2, 2))
        return nn.Dense(self.num_outputs, name="readout")(x.reshape(len(x), -1))


class ResNet(nn.Module):
    """`ntk_air.networks.ResNet`, by default ResNet-18."""

    num_outputs: int
    blocks: tuple[int, ...] = (2, 2, 2, 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        norm: Any = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        conv: Any = functools.partial(nn.Conv, use_bias=False)
        x = nn.relu(norm(name="stem_norm")(conv(64, (3, 3), name="stem")(x)))
        for stage, count in enumerate(self.blocks):
            width = 64 * 2**stage
            for block in range(count):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if width > 64 and block == 0 else 1
                branch = conv(width, (3, 3), stride, padding=1, name=f"{name}_conv_0")(x)
                branch = nn.relu(norm(name=f"{name}_norm_0")(branch))
                branch = conv(width, (3, 3), padding=1, name=f"{name}_conv_1")(branch)
                branch = norm(name=f"{name}_norm_1")(branch)
                if stride > 1:
                    x = conv(width, (1, 1), stride, name=f"{name}_shortcut")(x)
                    x = norm(name=f"{name}_shortcut_norm")(x)
                x = nn.relu(branch + x)
        return nn.Dense(self.num_outputs, name="readout")(jnp.mean(x, (1, 2)))
