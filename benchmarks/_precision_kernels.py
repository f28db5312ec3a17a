"""Errors of kernels and of networks in float32: rows of the table of `benchmarks.precision`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import ntk_air as na
from benchmarks._precision_cases import (
    DEPTHS,
    EACH,
    ENTRY,
    LARGEST,
    NORM,
    NUM_CLASSES,
    Rows,
    in_double,
    near,
    problem,
    row,
    scattered,
)

_DIMENSION, _WIDTH = 10, 64
_IMAGE = (6, 6, 3)


def infinite(sizes: Sequence[int], seed: int) -> Rows:
    """Infinite-width kernels of points apart and of near ones."""
    for points in sizes:
        apart, close = (make(points, _DIMENSION, seed) for make in (scattered, near))
        for depth in DEPTHS:
            yield from _both_kinds("relu", depth, apart, "apart")
            yield from _both_kinds("relu", depth, close, "near")
        if points == min(sizes):
            for activation in ("erf", "gelu", "tanh"):
                for depth in DEPTHS[:2]:
                    yield from _both_kinds(activation, depth, apart, "apart")


@functools.cache
def architecture(depth: int, activation: str) -> na.kernels.Architecture:
    """One of each: its programs are compiled once."""
    return na.kernels.fully_connected(depth, _WIDTH, num_outputs=NUM_CLASSES, activation=activation)


def _both_kinds(activation: str, depth: int, x: np.ndarray, placed: str) -> Rows:
    net = architecture(depth, activation)
    found = na.kernels.infinite_ntk(net, x, kind=("nngp", "ntk"))
    exact = na.kernels.infinite_ntk(net, x, kind=("nngp", "ntk"), precision="float64")
    case = {"activation": activation, "placed": placed, "points": len(x), "depth": depth}
    for kind, one, other in zip(("nngp", "ntk"), found, exact, strict=True):
        yield row("kernels.infinite_ntk", {"kind": kind, **case}, ENTRY, one, other)
    if placed == "apart":
        one = na.kernels.infinite_diagonal(net, x)
        other = na.kernels.infinite_diagonal(net, x, precision="float64")
        yield row("kernels.infinite_diagonal", case, EACH, one, other)


@functools.cache
def _pooled(depth: int) -> na.kernels.Architecture:
    return na.kernels.convolutional(depth, pooling="gap")


def convolutional(points: int, seed: int) -> Rows:
    """Infinite-width kernels of images with global average pooling."""
    x = np.random.default_rng([seed, points]).normal(size=(points, *_IMAGE)).astype(np.float32)
    for depth in DEPTHS[:2]:
        net = _pooled(depth)
        found = na.kernels.infinite_ntk(net, x)
        exact = na.kernels.infinite_ntk(net, x, precision="float64")
        case = {"kind": "ntk", "activation": "relu", "placed": "images, pooled"}
        case |= {"points": points, "depth": depth}
        yield row("kernels.infinite_ntk", case, ENTRY, found, exact)


def _network(depth: int, seed: int, activation: str) -> tuple[Any, Any]:
    """A network's apply function and float32 parameters."""
    net = architecture(depth, activation)
    _, params = net.init_fn(jax.random.key(seed), (-1, _DIMENSION))
    return net.apply_fn, params


def finite(points: int, seed: int) -> Rows:
    """Kernels of finite networks, by each implementation and as an operator."""
    x = scattered(points, _DIMENSION, seed)
    v = np.random.default_rng(seed).normal(size=points).astype(np.float32)
    every = [name for name in na.kernels.IMPLEMENTATIONS if name != "auto"]
    for activation, depth, names in (
        *(("erf", depth, every) for depth in DEPTHS[:2]),
        ("erf", DEPTHS[-1], ["layerwise"]),
        *(("relu", depth, ["layerwise"]) for depth in DEPTHS),
    ):
        case = {"activation": activation, "points": points, "depth": depth}
        apply_fn, params = _network(depth, seed, activation)
        exact = na.kernels.empirical_ntk(
            apply_fn, params, x, implementation="layerwise", precision="float64"
        )
        for name in names:
            found = na.kernels.empirical_ntk(apply_fn, params, x, implementation=name)
            made = {"implementation": name, **case}
            yield row("kernels.empirical_ntk", made, ENTRY, found, exact)
        if activation == "relu":
            continue
        operator = na.kernels.NTKOperator(apply_fn, params, x)
        wide = np.asarray(exact)
        product, diagonal = wide @ v.astype(np.float64), np.diag(wide)
        yield row("kernels.NTKOperator: product", case, NORM, operator @ v, product)
        yield row("kernels.NTKOperator: diagonal", case, EACH, operator.diagonal(), diagonal)


def two_layers(points: int, seed: int) -> Rows:
    """The network of the theorems and its kernel."""
    x = scattered(points, _DIMENSION, seed) / np.float32(np.sqrt(_DIMENSION))
    weights = np.asarray(na.theory.two_layer_init(seed, 2 * _WIDTH, _DIMENSION))
    case = {"activation": "softplus", "points": points, "depth": 1}
    wide = weights.astype(np.float64), x.astype(np.float64)
    for name, function, relative_to in (
        ("theory.two_layer_ntk", na.theory.two_layer_ntk, ENTRY),
        ("theory.two_layer_apply", na.theory.two_layer_apply, LARGEST),
    ):
        exact = in_double(lambda function=function: function(*wide))
        yield row(name, case, relative_to, function(weights, x), exact)


def training(points: int, seed: int) -> Rows:
    """Ten steps of self-distillation of a network."""
    x = scattered(points, _DIMENSION, seed)
    y = problem(points, 1e2, seed).observed
    for depth in DEPTHS[:2]:
        apply_fn, params = _network(depth, seed, "erf")
        histories = [
            na.distillation.self_distill(
                apply_fn,
                params,
                x,
                y,
                optimizer=1e-3,
                num_steps=10,
                alpha=0.5,
                label_fn=na.distillation.softmax(1.0),
                record_every=10,
                record_outputs=True,
                precision=precision,
            ).history
            for precision in ("float32", "float64")
        ]
        found, exact = histories
        case = {"activation": "erf", "points": points, "depth": depth}
        assert found.outputs is not None
        assert exact.outputs is not None
        yield row(
            "distillation.self_distill: outputs", case, NORM, found.outputs[-1], exact.outputs[-1]
        )
        yield row("distillation.self_distill: loss", case, EACH, found.loss, exact.loss)
