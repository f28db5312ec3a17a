"""Infinite-width kernels: in memory and on disk, fully connected and convolutional."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import ntk_air as na
from benchmarks import _infinite_by_hand, _torch
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import scaled, white

_DIMENSION, _DEPTH = 3072, 5
_SIDE = 8
# Largest batch of points for nt.batch, on a CPU and elsewhere: what was fastest there.
_BATCH = {"fully connected": (2000, 2000), "gap": (32, 64), "flatten": (32, 256)}


def infinite_fc(settings: Settings) -> Case:
    """NTK of a deep fully connected network, beside the matrix product it needs."""
    # A multiple of 20, so that equal batches exist.
    n = 20 * scaled(200, settings.scale, 2)
    nt_layers = functools.partial(_nt_fully_connected, _DEPTH)
    return Case(
        "infinite_fc",
        {"n": n, "d": _DIMENSION, "depth": _DEPTH},
        lambda: white(n, _DIMENSION),
        [
            Contestant("ntk_air", _ours(_deep())),
            Contestant("neural-tangents batch", _nt_batch(nt_layers, "fully connected")),
            Contestant("neural-tangents one jit", _nt_one_jit(nt_layers)),
            *_by_hand(),
            Contestant(
                "X Xᵀ + one pass",
                _gemm_and_pass,
                value=None,
                operations=lambda: 2.0 * n * n * _DIMENSION,
            ),
        ],
        notes=[
            "Every contestant contains X Xᵀ, ntk_air only the tiles on and above the diagonal.",
            "The bound is the whole X Xᵀ and one elementwise pass over it, one jitted function.",
        ],
    )


def infinite_conv(settings: Settings) -> Case:
    """NTK of a convolutional network with global average pooling: all pairs of positions."""
    n = 8 * scaled(16, settings.scale, 1)
    return _convolutional("infinite_conv", n, _SIDE, "gap", peer_repeats=1)


def infinite_conv_flatten(settings: Settings) -> Case:
    """NTK of a convolutional network that ends in a readout weight for every position."""
    n = 8 * scaled(64, settings.scale, 1)
    return _convolutional("infinite_conv_flatten", n, 2 * _SIDE, "flatten", peer_repeats=3)


def _convolutional(name: str, n: int, side: int, pooling: str, *, peer_repeats: int) -> Case:
    architecture = na.kernels.convolutional(depth=3, pooling=pooling)
    nt_layers = functools.partial(_nt_convolutional, 3, pooling)
    return Case(
        name,
        {"n": n, "image": f"{side}x{side}x3", "depth": 3, "pooling": pooling},
        lambda: white(n, side, side, 3),
        [
            Contestant("ntk_air", _ours(architecture)),
            Contestant("neural-tangents batch", _nt_batch(nt_layers, pooling), peer_repeats),
            Contestant(
                "JAX by hand", functools.partial(_infinite_by_hand.convolutional, 3, pooling)
            ),
        ],
    )


def _by_hand() -> list[Contestant]:
    """The arc-cosine recursion, the whole matrix."""
    jax_ = functools.partial(_infinite_by_hand.fully_connected, _DEPTH)
    torch = functools.partial(_infinite_by_hand.in_torch, _DEPTH)
    contestants = [
        Contestant("JAX by hand", jax_),
        Contestant("JAX by hand, polynomial", functools.partial(jax_, polynomial=True)),
        Contestant("NumPy by hand", functools.partial(_infinite_by_hand.in_numpy, _DEPTH), 2),
    ]
    if _torch.installed():
        contestants += [
            Contestant("PyTorch by hand, one thread", functools.partial(torch, threads=1)),
            Contestant("PyTorch by hand, two threads", functools.partial(torch, threads=2)),
        ]
    return contestants


def store(settings: Settings) -> Case:
    """A kernel too large for comfort into a store, beside a smaller one in memory."""
    n = 20 * scaled(1000, settings.scale, 2)
    small = n // 5
    shown = min(small, 256)
    return Case(
        "store",
        {"n": n, "n in memory": small, "d": _DIMENSION, "depth": _DEPTH},
        lambda: white(n, _DIMENSION),
        [
            Contestant(
                "ntk_air in memory",
                lambda x: _ours(_deep())(x[:small]),
                value=lambda kernel: kernel[:shown, :shown],
                entries=float(small) ** 2,
            ),
            Contestant(
                "ntk_air store",
                functools.partial(_stored, settings.folder),
                repeats=2,
                value=lambda kernel: kernel[:shown, :shown],
                entries=float(n) ** 2,
            ),
        ],
        notes=["Ratios are of the times per entry; the store is deleted afterwards."],
    )


def _deep() -> na.kernels.Architecture:
    return na.kernels.fully_connected(depth=_DEPTH)


def _ours(architecture: na.kernels.Architecture) -> Callable[[jax.Array], Run]:
    return lambda x: lambda: na.kernels.infinite_ntk(architecture, x)


def _stored(folder: Path, x: jax.Array) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    # Gone with the function that holds it.
    own = tempfile.TemporaryDirectory(prefix="ntk-air-benchmark-", dir=folder)
    # A call that finds a finished store has nothing left to do.
    paths: Iterator[Path] = (Path(own.name) / str(i) for i in itertools.count())
    return lambda: na.kernels.infinite_ntk(_deep(), x, store=next(paths))


def _nt_batch(layers: Callable[[], Any], kind: str) -> Callable[[jax.Array], Run]:
    def build(x: jax.Array) -> Run:
        import neural_tangents as nt

        largest = _BATCH[kind][jax.default_backend() != "cpu"]
        size = max(b for b in range(1, min(largest, len(x)) + 1) if len(x) % b == 0)
        kernel_fn = nt.batch(layers()[2], batch_size=size, device_count=0)
        return lambda: kernel_fn(x, None, "ntk")

    return build


def _nt_one_jit(layers: Callable[[], Any]) -> Callable[[jax.Array], Run]:
    def build(x: jax.Array) -> Run:
        network = layers()
        kernel_fn = jax.jit(lambda x: network[2](x, None, "ntk"))
        return lambda: kernel_fn(x)

    return build


# Of neural-tangents' own layers: ntk_air's architectures replace some of them by faster ones.
def _nt_fully_connected(depth: int) -> Any:
    from neural_tangents import stax

    dense = functools.partial(stax.Dense, W_std=math.sqrt(2.0), b_std=0.1)
    layers = [layer for _ in range(depth) for layer in (dense(512), stax.Relu())]
    return stax.serial(*layers, dense(1))


def _nt_convolutional(depth: int, pooling: str) -> Any:
    from neural_tangents import stax

    std: dict[str, Any] = {"W_std": math.sqrt(2.0), "b_std": 0.1}
    layers = []
    for _ in range(depth):
        layers += [stax.Conv(64, (3, 3), padding="SAME", **std), stax.Relu()]
    layers.append(stax.GlobalAvgPool() if pooling == "gap" else stax.Flatten())
    return stax.serial(*layers, stax.Dense(1, **std))


def _gemm_and_pass(x: jax.Array) -> Run:
    product = jax.jit(lambda x: jnp.maximum(x @ x.T / x.shape[1], 0.0))
    return lambda: product(x)
