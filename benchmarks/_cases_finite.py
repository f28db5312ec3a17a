"""Finite-width kernels of two networks, beside neural-tangents, JAX and torch by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

import ntk_air as na
from benchmarks import _jax_finite, _torch, _torch_layers
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import scaled, white

# The fastest for both networks, at 96 points and at 512.
_STRUCTURED = "STRUCTURED_DERIVATIVES"
_SLOW = ("JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS")
_WIDTHS = (784, 512, 512, 512, 10)
_IMAGE, _CHANNELS = (32, 32, 3), (32, 64, 64)

# Network, parameters, points.
_Inputs = tuple[Callable, Any, jax.Array]
_Build = Callable[[_Inputs], Run]

_MLP_IN_TORCH: dict[str, _Build] = {
    "one thread": functools.partial(_torch_layers.fully_connected, threads=1),
    "two threads": functools.partial(_torch_layers.fully_connected, threads=2),
}
_CNN_IN_TORCH: dict[str, _Build] = {
    "one thread": functools.partial(_torch_layers.convolutional, threads=1),
    "two threads": functools.partial(_torch_layers.convolutional, threads=2),
    "channels_last, two threads": functools.partial(
        _torch_layers.convolutional, threads=2, channels_last=True
    ),
}


def finite_mlp(settings: Settings) -> Case:
    """Trace NTK of a fully connected network."""
    n = scaled(96, settings.scale, 4)
    contestants, notes = _all_contestants(
        _jax_finite.fully_connected, _torch.fully_connected, _MLP_IN_TORCH
    )
    return Case("finite_mlp", _mlp_sizes(n), lambda: _mlp(n), contestants, notes)


def finite_cnn(settings: Settings) -> Case:
    """Trace NTK of a small convolutional network with strides."""
    n = scaled(96, settings.scale, 4)
    contestants, notes = _all_contestants(
        _jax_finite.convolutional, _torch.convolutional, _CNN_IN_TORCH
    )
    return Case("finite_cnn", _cnn_sizes(n), lambda: _cnn(n), contestants, notes)


def finite_mlp_symmetric(settings: Settings) -> Case:
    """The same of more points, beside the fastest of the other ways."""
    n = scaled(512, settings.scale, 4)
    contestants = _best_contestants(_jax_finite.fully_connected, _MLP_IN_TORCH)
    return Case("finite_mlp_symmetric", _mlp_sizes(n), lambda: _mlp(n), contestants)


def finite_cnn_symmetric(settings: Settings) -> Case:
    """The same of more points, beside the fastest of the other ways."""
    n = scaled(512, settings.scale, 4)
    contestants = _best_contestants(_jax_finite.convolutional, _CNN_IN_TORCH)
    return Case("finite_cnn_symmetric", _cnn_sizes(n), lambda: _cnn(n), contestants)


def _mlp_sizes(n: int) -> dict[str, Any]:
    return {"n": n, "widths": "-".join(map(str, _WIDTHS))}


def _mlp(n: int) -> _Inputs:
    network = na.kernels.fully_connected(3, _WIDTHS[1], num_outputs=_WIDTHS[-1])
    _, params = network.init_fn(jax.random.PRNGKey(0), (1, _WIDTHS[0]))
    return network.apply_fn, params, white(n, _WIDTHS[0])


def _cnn_sizes(n: int) -> dict[str, Any]:
    channels, image = "-".join(map(str, _CHANNELS)), "x".join(map(str, _IMAGE))
    return {"n": n, "image": image, "channels": channels, "outputs": 10}


def _cnn(n: int) -> _Inputs:
    init_fn, apply_fn = _small_cnn()
    _, params = init_fn(jax.random.PRNGKey(0), (1, *_IMAGE))
    return apply_fn, params, white(n, *_IMAGE)


@functools.cache
def _small_cnn() -> tuple[Callable, Callable]:
    from neural_tangents import stax

    layers = []
    for channels in _CHANNELS:
        layers += [stax.Conv(channels, (3, 3), strides=(2, 2), padding="SAME"), stax.Relu()]
    init_fn, apply_fn, _ = stax.serial(*layers, stax.Flatten(), stax.Dense(10))
    return init_fn, apply_fn


def _all_contestants(
    by_hand: _Build, jacobian: _Build, layers: dict[str, _Build]
) -> tuple[list[Contestant], list[str]]:
    """Ours, all that neural-tangents has, JAX and torch; what there is to say about them."""
    contestants = [
        *_best_contestants(by_hand, {}, repeats=None),
        *(_nt(name, 1) for name in _SLOW),
        Contestant("JAX Jacobian, one pass forward", _jax_finite.jacobians, repeats=2),
    ]
    if not _torch.installed():
        return contestants, ["PyTorch is skipped: torch is not installed."]
    contestants.append(Contestant("torch.func Jacobian", jacobian, repeats=2))
    return [*contestants, *_layers_in_torch(layers)], []


def _best_contestants(
    by_hand: _Build, layers: dict[str, _Build], repeats: int | None = 3
) -> list[Contestant]:
    return [
        _ours(),
        _nt(_STRUCTURED, repeats),
        Contestant("JAX by hand", by_hand, repeats),
        *(_layers_in_torch(layers) if _torch.installed() else []),
    ]


def _layers_in_torch(layers: dict[str, _Build]) -> list[Contestant]:
    return [Contestant(f"PyTorch by hand, {name}", build) for name, build in layers.items()]


def _ours() -> Contestant:
    def build(inputs: _Inputs) -> Run:
        apply_fn, params, x = inputs
        return lambda: na.kernels.empirical_ntk(apply_fn, params, x)

    return Contestant("ntk_air auto", build)


def _nt(implementation: str, repeats: int | None = None) -> Contestant:
    """neural-tangents called directly, jitted."""

    def build(inputs: _Inputs) -> Run:
        import neural_tangents as nt

        apply_fn, params, x = inputs
        kernel_fn = nt.empirical_ntk_fn(
            apply_fn,
            trace_axes=(-1,),
            vmap_axes=0,
            implementation=nt.NtkImplementation[implementation],
        )
        jitted = jax.jit(lambda x, params: kernel_fn(x, None, params))
        return lambda: jitted(x, params)

    return Contestant(f"neural-tangents {implementation.lower()}", build, repeats)
