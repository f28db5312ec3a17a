"""Spectra of kernels, and kernels as operators."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

import ntk_air as na
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import decaying, scaled, white

_WIDTHS = (784, 800, 512, 10)
_BATCH = 500
# About the tolerance that ntk_air stops at in float32; scipy's default is round-off.
_LOOSE = 1e-5


def eigendecompose(settings: Settings) -> Case:
    """The 50 leading eigenpairs of a kernel of points with a decaying spectrum."""
    n = scaled(8000, settings.scale, 40)
    rank = min(50, n // 8)
    ours = functools.partial(na.spectral.eigendecompose, rank=rank)
    # Whatever the solver, as (eigenvalues, eigenvectors), largest first.
    contestants = [
        _solver("ntk_air", lambda k: lambda: _pairs(ours(k))),
        _solver("scipy eigsh", lambda k: _scipy_eigsh(np.asarray(k), rank, 0.0), repeats=3),
        _solver(
            f"scipy eigsh tol={_LOOSE:g}",
            lambda k: _scipy_eigsh(np.asarray(k), rank, _LOOSE),
            repeats=3,
        ),
        _solver("ntk_air dense", lambda k: lambda: _pairs(ours(k, method="dense")), once=True),
        _solver("numpy eigh", lambda k: _numpy_eigh(np.asarray(k), rank), once=True),
    ]
    return Case(
        "eigendecompose",
        {"n": n, "rank": rank},
        lambda: na.kernels.infinite_ntk(na.kernels.fully_connected(depth=2), decaying(n, 512)),
        contestants,
        notes=[
            "The deviation is of the eigenvalues, relative to the largest.",
            "The residual is the largest ‖Θu − λu‖ over the largest eigenvalue.",
        ],
    )


def _solver(
    name: str, build: Callable[[jax.Array], Run], repeats: int | None = None, once: bool = False
) -> Contestant:
    return Contestant(
        name,
        build,
        repeats=1 if once else repeats,
        warm_up=not once,
        value=lambda pairs: pairs[0],
        quality=_residual,
    )


def _residual(kernel: jax.Array, pairs: tuple[Any, Any]) -> dict[str, float]:
    values, vectors = (jnp.asarray(part) for part in pairs)
    lengths = jnp.linalg.norm(kernel @ vectors - vectors * values, axis=0)
    return {"residual": float(lengths.max() / values[0])}


def _pairs(result: na.spectral.Eigensystem) -> tuple[jax.Array, jax.Array]:
    return result.eigenvalues, result.eigenvectors


def _scipy_eigsh(kernel: np.ndarray, rank: int, tolerance: float) -> Run:
    def run() -> tuple[np.ndarray, np.ndarray]:
        # Its type is inferred from the default, 0.
        options: Any = {"k": rank, "which": "LA", "tol": tolerance}
        values, vectors = scipy.sparse.linalg.eigsh(kernel, **options)
        return values[::-1], vectors[:, ::-1]

    return run


def _numpy_eigh(kernel: np.ndarray, rank: int) -> Run:
    def run() -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(kernel)
        return values[: -rank - 1 : -1], vectors[:, : -rank - 1 : -1]

    return run


def operator(settings: Settings) -> Case:
    """A product with the kernel of a network of a million parameters, all outputs apart."""
    return _operator_case("operator", "full", settings)


def operator_trace(settings: Settings) -> Case:
    """The same with the mean over outputs, which is as many products as there are outputs."""
    return _operator_case("operator_trace", "trace", settings)


def _operator_case(name: str, outputs: str, settings: Settings) -> Case:
    n = 20 * scaled(250, settings.scale, 2)
    init_fn, apply_fn = _mlp()

    def prepare() -> tuple[Any, jax.Array, jax.Array]:
        _, params = init_fn(jax.random.PRNGKey(0), (1, _WIDTHS[0]))
        entries = n * (_WIDTHS[-1] if outputs == "full" else 1)
        return params, white(n, _WIDTHS[0]), jax.random.normal(jax.random.key(1), (entries,))

    def ours(inputs: tuple[Any, jax.Array, jax.Array]) -> Run:
        params, x, v = inputs
        kernel = na.kernels.NTKOperator(apply_fn, params, x, outputs=outputs)
        return lambda: kernel @ v

    bare = functools.partial(_one_vjp_one_jvp, apply_fn, outputs)
    times = " for every output" if outputs == "trace" else ""
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(_WIDTHS))
    return Case(
        name,
        {"n": n, "widths": "-".join(map(str, _WIDTHS)), "p": parameters, "outputs": outputs},
        prepare,
        [Contestant("ntk_air operator", ours), Contestant(f"one vjp + one jvp{times}", bare)],
        notes=[f"The peer takes batches of at most {_BATCH} points in one jitted function."],
    )


@functools.cache
def _mlp() -> tuple[Callable, Callable]:
    from neural_tangents import stax

    dense = functools.partial(stax.Dense, W_std=2.0**0.5, b_std=0.1)
    layers = [layer for width in _WIDTHS[1:-1] for layer in (dense(width), stax.Relu())]
    init_fn, apply_fn, _ = stax.serial(*layers, dense(_WIDTHS[-1]))
    return init_fn, apply_fn


def _one_vjp_one_jvp(apply_fn: Callable, outputs: str, inputs: tuple) -> Run:
    params, x, v = inputs
    n, num_outputs = len(x), _WIDTHS[-1]
    # n is a multiple of 20, so that this divides it or n is smaller.
    batch = max(b for b in range(1, min(_BATCH, n) + 1) if n % b == 0)
    batches = x.reshape(-1, batch, x.shape[1])

    def full(params: Any, cotangents: jax.Array) -> jax.Array:
        def add(total: Any, part: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            points, rows = part
            (gradient,) = jax.vjp(lambda p: apply_fn(p, points), params)[1](rows)
            return jax.tree.map(jnp.add, total, gradient), None

        def push(points: jax.Array) -> jax.Array:
            return jax.jvp(lambda p: apply_fn(p, points), (params,), (gradient,))[1]

        rows = cotangents.reshape(-1, batch, num_outputs)
        gradient, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (batches, rows))
        return jax.lax.map(push, batches).reshape(n, num_outputs)

    def trace(params: Any, v: jax.Array) -> jax.Array:
        def one_output(a: jax.Array) -> jax.Array:
            return full(params, v[:, None] * jax.nn.one_hot(a, num_outputs))[:, a]

        return jax.lax.map(one_output, jnp.arange(num_outputs)).mean(0)

    product = jax.jit(trace if outputs == "trace" else lambda p, v: full(p, v).reshape(-1))
    return lambda: product(params, v)
