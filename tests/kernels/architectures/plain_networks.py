"""Every architecture again: of neural-tangents' own layers, and as a forward pass in NumPy."""

from __future__ import annotations

import itertools

import numpy as np

from ntk_air import _neural_tangents

stax = _neural_tangents.load().stax

# Convolutions, each with a ReLU, before each 2 x 2 pooling.
MYRTLE = {"myrtle5": (2, 1, 1), "myrtle7": (1, 2, 2), "myrtle10": (2, 3, 3)}


def plain(name, options):
    """The same network of plain layers: (init_fn, apply_fn, kernel_fn)."""
    w, b = options["weight_std"], options["bias_std"]
    dense, relu = stax.Dense(1, w, b), stax.Relu()

    def conv(size=3, stride=1):
        return stax.Conv(1, (size, size), (stride, stride), "SAME", w, b)

    def add(*branch, shortcut):
        parallel = stax.parallel(stax.serial(*branch), shortcut)
        return stax.serial(stax.FanOut(2), parallel, stax.FanInSum())

    if name == "fully_connected":
        layers = [dense, relu] * 2
    elif name == "residual":
        layers = [dense, *[add(relu, dense, shortcut=stax.Identity())] * 2, relu]
    elif name == "flatten":
        layers = [*[conv(), relu] * 2, stax.Flatten()]
    elif name == "gap":
        layers = [*[conv(2), relu] * 2, stax.GlobalAvgPool()]
    elif name == "self_attention":
        attention = stax.GlobalSelfAttention(
            1, 1, 1, 1, W_query_std=0.7, W_value_std=w, b_std=b, linear_scaling=True
        )
        layers = [*[attention, relu] * 2, stax.GlobalAvgPool()]
    elif name == "wide_resnet":
        layers = [conv()]
        for stride in (1, 2, 2):
            layers.append(add(relu, conv(3, stride), relu, conv(), shortcut=conv(3, stride)))
            layers.append(add(relu, conv(), relu, conv(), shortcut=stax.Identity()))
        layers.append(stax.GlobalAvgPool())
    else:
        layers = []
        for count in MYRTLE[name]:
            layers += [*[conv(), relu] * count, stax.AvgPool((2, 2), (2, 2))]
        layers.append(stax.GlobalAvgPool())
    return stax.serial(*layers, dense)


def forward(name, x, leaves, *, weight_std, bias_std):
    """Outputs (n, C) in NumPy from the parameters, layer by layer in the order of the network."""
    leaves = iter(leaves)

    def dense(h):
        weights, bias = next(leaves), next(leaves)
        return weight_std / np.sqrt(len(weights)) * h @ weights + bias_std * bias

    def conv(h, stride=1):
        weights, bias = next(leaves), next(leaves)
        size, fan_in = len(weights), weights[..., 0].size
        sides = [-(-side // stride) for side in h.shape[1:3]]
        short = [
            max((out - 1) * stride + size - side, 0)
            for out, side in zip(sides, h.shape[1:3], strict=True)
        ]
        h = np.pad(h, [(0, 0), *((gap // 2, gap - gap // 2) for gap in short), (0, 0)])
        total = 0.0
        for i, j in itertools.product(range(size), repeat=2):
            rows, columns = (
                slice(at, at + stride * (side - 1) + 1, stride)
                for at, side in zip((i, j), sides, strict=True)
            )
            total = total + h[:, rows, columns] @ weights[i, j]
        return weight_std / np.sqrt(fan_in) * total + bias_std * bias

    if name == "fully_connected":
        h = relu(dense(relu(dense(x))))
    elif name == "residual":
        h = dense(x)
        for _ in range(2):
            h = h + dense(relu(h))
        h = relu(h)
    elif name == "self_attention":
        h = x
        for _ in range(2):
            h = relu(_attention(h, *itertools.islice(leaves, 4), weight_std, bias_std))
        h = h.mean(axis=1)
    elif name == "wide_resnet":
        h = conv(x)
        for stride in (1, 2, 2):
            # The branch's parameters come before the shortcut's.
            branch = conv(relu(conv(relu(h), stride)))
            h = branch + conv(h, stride)
            h = h + conv(relu(conv(relu(h))))
        h = h.mean(axis=(1, 2))
    elif name in MYRTLE:
        h = x
        for count in MYRTLE[name]:
            for _ in range(count):
                h = relu(conv(h))
            n, height, width, channels = h.shape
            h = h.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
        h = h.mean(axis=(1, 2))
    else:
        h = relu(conv(relu(conv(x))))
        h = h.reshape(len(h), -1) if name == "flatten" else h.mean(axis=(1, 2))
    return dense(h)


def relu(h):
    return np.maximum(h, 0)


def _attention(h, keys, values, out, bias, weight_std, bias_std):
    channels, size = h.shape[-1], keys.shape[-1]
    heads = []
    for key, value in zip(keys, values, strict=True):
        products = (h @ key) @ np.swapaxes(h @ key, 1, 2)
        weights = np.exp(0.7 * products / (channels * size))
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ (h @ value))
    # Channels of all heads, the head running fastest.
    joined = np.stack(heads, axis=-1).reshape(*h.shape[:2], -1)
    scale = weight_std / np.sqrt(values.shape[-1] * len(keys) * channels)
    return scale * joined @ out + bias_std * bias
