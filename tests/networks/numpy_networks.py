"""The networks written out in NumPy, in training and in evaluation mode."""

from __future__ import annotations

import functools
import math

import jax
import numpy as np

# The compiler's effort would be most of the time of these tests.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def relu(x):
    return np.maximum(x, 0)


def convolve(x, kernel, stride=1):
    side = kernel.shape[0]
    edge = side // 2
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows[:, ::stride, ::stride], kernel)


def max_pool(x):
    height, width = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2, -1)
    return x.max((2, 4))


class Reference:
    """Applies layers by name and collects the running statistics after the call."""

    def __init__(self, variables, train, ntk=False):
        self.params = jax.tree.map(np.asarray, variables["params"])
        self.stats = jax.tree.map(np.asarray, variables.get("batch_stats", {}))
        self.train, self.ntk = train, ntk

    def kernel(self, name):
        kernel = self.params[name]["kernel"]
        return kernel * math.sqrt(2 / math.prod(kernel.shape[:-1])) if self.ntk else kernel

    def bias(self, name):
        return self.params[name].get("bias", 0) * (0.1 if self.ntk else 1)

    def conv(self, x, name, stride=1):
        return convolve(x, self.kernel(name), stride) + self.bias(name)

    def dense(self, x, name):
        return x @ self.kernel(name) + self.bias(name)

    def norm(self, x, name):
        stats = self.stats[name]
        mean, var = stats["mean"], stats["var"]
        if self.train:
            flat = x.reshape(-1, x.shape[-1])
            mean, var = flat.mean(0), flat.var(0)
            moved = {"mean": mean, "var": var}
            self.stats[name] = {k: 0.9 * stats[k] + 0.1 * moved[k] for k in moved}
        params = self.params[name]
        return (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]


def small_cnn(net, x, depth):
    for index in range(depth):
        x = net.conv(x, f"conv_{index}")
        if f"norm_{index}" in net.params:
            x = net.norm(x, f"norm_{index}")
        x = max_pool(relu(x))
    return net.dense(x.reshape(len(x), -1), "readout")


def resnet(net, x, blocks):
    x = relu(net.norm(net.conv(x, "stem"), "stem_norm"))
    for stage, count in enumerate(blocks):
        for block in range(count):
            name = f"stage_{stage}_block_{block}"
            stride = 2 if stage and not block else 1
            out = relu(net.norm(net.conv(x, f"{name}_conv_0", stride), f"{name}_norm_0"))
            out = net.norm(net.conv(out, f"{name}_conv_1"), f"{name}_norm_1")
            if stage and not block:
                x = net.norm(net.conv(x, f"{name}_shortcut", 2), f"{name}_shortcut_norm")
            x = relu(out + x)
    return net.dense(x.mean((1, 2)), "readout")


def wide_resnet(net, x, per_group, widened):
    x = net.conv(x, "stem")
    for group in range(3):
        for block in range(per_group):
            name = f"group_{group}_block_{block}"
            stride = 2 if group and not block else 1
            active = relu(net.norm(x, f"{name}_norm_0"))
            out = relu(net.norm(net.conv(active, f"{name}_conv_0", stride), f"{name}_norm_1"))
            out = net.conv(out, f"{name}_conv_1")
            if not block and (group or widened):
                x = net.conv(active, f"{name}_shortcut", stride)
            x = out + x
    return net.dense(relu(net.norm(x, "norm")).mean((1, 2)), "readout")
