"""Spectra of kernels, and kernels as operators."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import ntk_air as na
from benchmarks import _eigensolvers as eigensolvers
from benchmarks import _operators as operators
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import decaying, scaled, white

_WIDTHS = (784, 800, 512, 10)
# About the tolerance that ntk_air stops at in float32; scipy's default is round-off.
_LOOSE = 1e-5
# What the peers' steps are chosen for: every residual below this share of the largest eigenvalue.
_EQUAL = 1e-5

Tuned = Mapping[str, eigensolvers.Solver]
_bind = functools.partial
_ON_DECAYING: Tuned = {
    "scipy eigsh tuned": _bind(eigensolvers.eigsh_tuned, vectors_per_pair=2),
    "scipy lobpcg": _bind(eigensolvers.scipy_lobpcg, iterations=9),
    "jax lobpcg": _bind(eigensolvers.jax_lobpcg, iterations=7),
    "sklearn randomized_svd": _bind(eigensolvers.randomized_svd, iterations=4, oversampling=50),
    "subspace iteration": _bind(eigensolvers.subspace_iteration, iterations=6, oversampling=100),
    "block Krylov": _bind(eigensolvers.block_krylov, steps=6, width=60),
}
_ON_FLAT: Tuned = {
    "scipy eigsh tuned": _bind(eigensolvers.eigsh_tuned, vectors_per_pair=2),
    "scipy lobpcg": _bind(eigensolvers.scipy_lobpcg, iterations=13),
    "jax lobpcg": _bind(eigensolvers.jax_lobpcg, iterations=13),
    "sklearn randomized_svd": _bind(eigensolvers.randomized_svd, iterations=11, oversampling=100),
    "block Krylov": _bind(eigensolvers.block_krylov, steps=20, width=50),
}


def eigendecompose(settings: Settings) -> Case:
    """The 50 leading eigenpairs of a kernel of points with a decaying spectrum."""
    n = scaled(8000, settings.scale, 40)
    return _eigen_case("eigendecompose", n, decaying, _ON_DECAYING, dense=True)


def eigendecompose_flat(settings: Settings) -> Case:
    """The same of points without structure, whose eigenvalues lie close together."""
    n = scaled(4000, settings.scale, 80)
    return _eigen_case("eigendecompose_flat", n, white, _ON_FLAT, dense=False)


def _eigen_case(
    name: str, n: int, points: Callable[[int, int], jax.Array], tuned: Tuned, *, dense: bool
) -> Case:
    rank = min(50, n // 8)
    ours = functools.partial(na.spectral.eigendecompose, rank=rank)
    solvers: dict[str, Callable[[jax.Array], Any]] = {
        "scipy eigsh": lambda k: eigensolvers.eigsh(k, rank),
        f"scipy eigsh tol={_LOOSE:g}": lambda k: eigensolvers.eigsh(k, rank, _LOOSE),
    }
    for title, solve in tuned.items():
        solvers[title] = lambda k, solve=solve: solve(k, rank)
    peers = [
        _solver(title, lambda k, f=f: functools.partial(f, k), repeats=3)
        for title, f in solvers.items()
    ]
    if dense:
        peers += [
            _solver("ntk_air dense", lambda k: lambda: _pairs(ours(k, method="dense")), once=True),
            _solver(
                "scipy eigh subset_by_index",
                lambda k: lambda: eigensolvers.lapack_subset(k, rank),
                once=True,
            ),
            _solver("numpy eigh", lambda k: lambda: eigensolvers.numpy_eigh(k, rank), once=True),
        ]
    return Case(
        name,
        {"n": n, "rank": rank},
        lambda: na.kernels.infinite_ntk(na.kernels.fully_connected(depth=2), points(n, 512)),
        [_solver("ntk_air", lambda k: lambda: _pairs(ours(k))), *peers],
        notes=[
            "The deviation is of the eigenvalues, relative to the largest.",
            "The residual is the largest ‖Θu − λu‖ over the largest eigenvalue.",
            "Steps and widths of the peers are the cheapest tried that reach a residual of "
            f"{_EQUAL:g}, which ntk_air reaches on its own; none of them checks what it found.",
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

    times = " for every output" if outputs == "trace" else ""
    peers = {
        f"one vjp + one jvp{times}": operators.one_vjp_one_jvp,
        "one forward pass, linearised and transposed": operators.linearised,
        "linearised before": operators.linearised_before,
    }
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(_WIDTHS))
    return Case(
        name,
        {"n": n, "widths": "-".join(map(str, _WIDTHS)), "p": parameters, "outputs": outputs},
        prepare,
        [
            Contestant("ntk_air operator", ours),
            *(
                Contestant(title, functools.partial(build, apply_fn, outputs))
                for title, build in peers.items()
            ),
        ],
        notes=[
            f"one vjp + one jvp takes batches of at most {operators.BATCH} points in one jitted "
            "function; the others take all points at once, and all outputs under vmap.",
            "Linearised before: the forward pass is not timed, and its activations are kept, as "
            "ntk_air keeps them from its first product.",
        ],
    )


@functools.cache
def _mlp() -> tuple[Callable, Callable]:
    from neural_tangents import stax

    dense = functools.partial(stax.Dense, W_std=2.0**0.5, b_std=0.1)
    layers = [layer for width in _WIDTHS[1:-1] for layer in (dense(width), stax.Relu())]
    init_fn, apply_fn, _ = stax.serial(*layers, dense(_WIDTHS[-1]))
    return init_fn, apply_fn
