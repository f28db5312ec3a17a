"""The networks that are trained, in torch, with the parameters of flax's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

# ntk_air keeps nine tenths of the running statistics in every step; torch counts what is replaced.
_MOMENTUM = 0.1


def mlp(variables: Mapping[str, Any]) -> Any:
    """Dense layers with ReLU between them."""
    params = variables["params"]
    hidden = sorted(name for name in params if name != "readout")
    layers = [layer for name in hidden for layer in (_dense(params[name]), nn.ReLU())]
    return nn.Sequential(*layers, _dense(params["readout"]))


def small_cnn(variables: Mapping[str, Any]) -> Any:
    """Blocks of convolution, BatchNorm, ReLU and max-pooling, flattened, and a dense layer."""
    params = variables["params"]
    layers, channels = [], 0
    for block in range(sum(name.startswith("conv_") for name in params)):
        conv, norm = _conv(params[f"conv_{block}"]), _norm(params[f"norm_{block}"])
        layers += [conv, norm, nn.ReLU(), nn.MaxPool2d(2)]
        channels = conv.out_channels
    # flax flattens with the channels last.
    kernel = np.asarray(params["readout"]["kernel"])
    side = round((len(kernel) / channels) ** 0.5)
    kernel = kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
    readout = {**params["readout"], "kernel": kernel.reshape(-1, kernel.shape[-1])}
    return nn.Sequential(*layers, nn.Flatten(), _dense(readout))


class ResNet(nn.Module):
    """`ntk_air.networks.ResNet`: basic blocks behind a stem for small images."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        super().__init__()
        params = variables["params"]
        self.stem = nn.Sequential(_conv(params["stem"]), _norm(params["stem_norm"]), nn.ReLU())
        names = [name.removesuffix("_conv_0") for name in params if name.endswith("_conv_0")]
        self.blocks = nn.Sequential(*(_Block(params, name) for name in sorted(names)))
        self.readout = _dense(params["readout"])

    def forward(self, x: Any) -> Any:
        return self.readout(self.blocks(self.stem(x)).mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, params: Mapping[str, Any], name: str) -> None:
        super().__init__()
        # Whether the image is halved shows in the shortcut.
        changes = f"{name}_shortcut" in params
        stride = 2 if changes else 1
        self.branch = nn.Sequential(
            _conv(params[f"{name}_conv_0"], stride),
            _norm(params[f"{name}_norm_0"]),
            nn.ReLU(),
            _conv(params[f"{name}_conv_1"]),
            _norm(params[f"{name}_norm_1"]),
        )
        self.shortcut = nn.Identity()
        if changes:
            shortcut = _conv(params[f"{name}_shortcut"], stride)
            self.shortcut = nn.Sequential(shortcut, _norm(params[f"{name}_shortcut_norm"]))

    def forward(self, x: Any) -> Any:
        return torch.relu(self.branch(x) + self.shortcut(x))


def _dense(params: Mapping[str, Any]) -> Any:
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    layer = nn.Linear(*kernel.shape)
    layer.weight.data, layer.bias.data = _tensor(kernel.T), _tensor(bias)
    return layer


def _conv(params: Mapping[str, Any], stride: int = 1) -> Any:
    kernel = np.asarray(params["kernel"]).transpose(3, 2, 0, 1)
    side = kernel.shape[2]
    layer = nn.Conv2d(
        kernel.shape[1], kernel.shape[0], side, stride=stride, padding=side // 2, bias=False
    )
    layer.weight.data = _tensor(kernel)
    return layer


def _norm(params: Mapping[str, Any]) -> Any:
    scale, bias = np.asarray(params["scale"]), np.asarray(params["bias"])
    layer = nn.BatchNorm2d(len(scale), momentum=_MOMENTUM)
    layer.weight.data, layer.bias.data = _tensor(scale), _tensor(bias)
    return layer


def _tensor(array: Any) -> Any:
    return torch.tensor(np.ascontiguousarray(array))


def rows_of_norms(network: Any, x: Any) -> dict[str, int]:
    """How many numbers each BatchNorm of the network averages over, for a batch ``x``."""
    found: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, given, __, name=name: found.update({name: given[0][:, 0].numel()})
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    network.eval()
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return found


@contextlib.contextmanager
def without_bessel(network: Any, rows: Mapping[str, int], steps: int) -> Iterator[None]:
    """Inside, running variances are as flax has them, of the rows; torch divides by one less."""
    modules, kept = dict(network.named_modules()), (1 - _MOMENTUM) ** steps
    before = {name: modules[name].running_var.clone() for name in rows}
    for name, count in rows.items():
        # What remains of the one it began with is not an average over rows.
        modules[name].running_var.sub_(kept).mul_((count - 1) / count).add_(kept)
    yield
    for name, variance in before.items():
        modules[name].running_var.copy_(variance)
