"""Convolutional networks as people write them in flax, with XLA's convolutions and pooling."""

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
        for width in (32, 64, 128):
            x = nn.Conv(width, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(self.num_outputs)(x.reshape(len(x), -1))


class ResNet(nn.Module):
    """`ntk_air.networks.ResNet`, by default ResNet-18."""

    num_outputs: int
    blocks: tuple[int, ...] = (2, 2, 2, 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        norm: Any = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        conv: Any = functools.partial(nn.Conv, use_bias=False)
        x = nn.relu(norm()(conv(64, (3, 3))(x)))
        for stage, count in enumerate(self.blocks):
            width = 64 * 2**stage
            for block in range(count):
                stride = 2 if width > 64 and block == 0 else 1
                branch = nn.relu(norm()(conv(width, (3, 3), stride, padding=1)(x)))
                branch = norm()(conv(width, (3, 3), padding=1)(branch))
                if stride > 1:
                    x = norm()(conv(width, (1, 1), stride)(x))
                x = nn.relu(branch + x)
        return nn.Dense(self.num_outputs)(jnp.mean(x, (1, 2)))
