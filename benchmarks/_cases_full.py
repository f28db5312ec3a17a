"""Kernels at the size of CIFAR-10, for an accelerator: absolute seconds and rates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

import ntk_air as na
from benchmarks._harness import Case, Contestant, Settings
from benchmarks._inputs import decaying, scaled, white

_POINTS, _DIMENSION = 50_000, 3072
_SHOWN = 64


def full_fc(settings: Settings) -> Case:
    """The fully connected NTK of as many points as CIFAR-10 has."""
    n = scaled(_POINTS, settings.scale, 40)
    architecture = na.kernels.fully_connected(depth=5)
    return _kernel_case(
        "full_fc",
        {"n": n, "d": _DIMENSION, "depth": 5},
        architecture,
        (n, _DIMENSION),
        # X Xᵀ above the diagonal.
        operations=lambda: float(n) * n * _DIMENSION,
    )


def full_conv(settings: Settings) -> Case:
    """The NTK of a convolutional network of images as large as those of CIFAR-10."""
    n = scaled(10_000, settings.scale, 8)
    architecture = na.kernels.convolutional(depth=3, pooling="flatten")
    shape = (32, 32, 3)
    return _kernel_case(
        "full_conv",
        {"n": n, "image": "32x32x3", "depth": 3, "pooling": "flatten"},
        architecture,
        (n, *shape),
        operations=lambda: n * (n + 1) / 2 * _operations_of_pair(architecture, shape),
    )


def full_eigen(settings: Settings) -> Case:
    """The 200 leading eigenpairs of a kernel of as many points as CIFAR-10 has."""
    n = scaled(_POINTS, settings.scale, 40)
    rank = min(200, n // 8)
    ours = functools.partial(na.spectral.eigendecompose, rank=rank)
    return Case(
        "full_eigen",
        {"n": n, "rank": rank},
        lambda: na.kernels.infinite_ntk(
            na.kernels.fully_connected(depth=2), decaying(n, _DIMENSION)
        ),
        [
            Contestant(
                "ntk_air",
                lambda kernel: lambda: ours(kernel),
                repeats=2,
                value=lambda result: result.eigenvalues,
                operations=lambda: 2.0 * n * n * rank,
                quality=lambda _, result: {
                    "residual": float(result.residuals.max() / result.eigenvalues[0])
                },
            )
        ],
        notes=["The operations are of one product with each eigenvector, less than any solver."],
    )


def _kernel_case(
    name: str,
    sizes: dict[str, Any],
    architecture: na.kernels.Architecture,
    shape: tuple[int, ...],
    operations: Callable[[], float],
) -> Case:
    def build(x: jax.Array) -> Any:
        return lambda: na.kernels.infinite_ntk(architecture, x)

    ours = Contestant(
        "ntk_air",
        build,
        repeats=2,
        value=lambda kernel: kernel[:_SHOWN, :_SHOWN],
        operations=operations,
        entries=float(shape[0]) ** 2,
    )
    return Case(
        name,
        sizes,
        lambda: white(*shape),
        [ours],
        notes=["Random inputs, in place of images; operations above the diagonal only."],
    )


def _operations_of_pair(architecture: na.kernels.Architecture, shape: tuple[int, ...]) -> float:
    """Operations that XLA counts in the kernel of two points."""
    point = jax.ShapeDtypeStruct((1, *shape), "float32")
    lowered = jax.jit(lambda a, b: architecture.kernel_fn(a, b, "ntk")).lower(point, point)
    costs: Any = lowered.cost_analysis()
    return float(costs["flops"])
