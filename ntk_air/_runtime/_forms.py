"""The forms of computation that this package relies on, each in JAX and in NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._numerics import eigh_of_batch

_Arrays = tuple[np.ndarray, ...]
_STEPS = 20
_STEP = 0.05


@dataclasses.dataclass(frozen=True)
class Form:
    """One computation with its reference.

    Attributes:
        kind: what it stands for in the report.
        compute: of JAX arrays; called as it is, so that it compiles what it wants compiled.
        reference: of the same arrays in float64, in NumPy.
        inputs: of the dtype that is checked.
        precise: the limit is that of full precision, also where an accelerator has less by default.
    """

    kind: str
    compute: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: _Arrays
    precise: bool = False


def forms(dtype: type) -> Iterator[Form]:
    """All forms in one dtype, float32 or float64."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    yield from _quadratic_forms(draw, dtype)
    yield from _reductions(draw)
    yield _full_precision(draw)
    yield from _eigenpairs(draw)
    yield from _loops(draw)


def _quadratic_forms(draw: Callable[..., np.ndarray], dtype: type) -> Iterator[Form]:
    kind = "batched quadratic forms"

    def energies(batch: Any, matrix: Any) -> Any:
        return ((batch @ matrix) * batch).sum(-1)

    batch, small, matrix = draw(4, 300, 31), draw(4, 300, 8), draw(31, 31)
    yield Form(kind, jax.jit(energies), energies, (batch, matrix))
    # A matrix the compiler knows takes another way through it, and one of a repeated number, which
    # it never writes out, yet another.
    for points, known in (
        (batch, lambda: jnp.asarray(matrix)),
        (batch, lambda: jnp.full((31, 31), 0.5, dtype)),
        (small, lambda: jnp.full((8, 8), 0.5, dtype)),
    ):
        compute = jax.jit(lambda b, known=known: energies(b, known()))
        reference = lambda b, known=known: energies(b, np.float64(known()))  # noqa: E731
        yield Form(kind, compute, reference, (points,))
    # A size of jax issue 39103.
    rows, weights = draw(32_769 if dtype == np.float32 else 16_385, 3), draw(16, 3)
    norms = jax.jit(jax.vmap(lambda r: jnp.sum((jnp.asarray(weights) @ r) ** 2)))
    yield Form(kind, norms, lambda r: ((r @ weights.T.astype(np.float64)) ** 2).sum(-1), (rows,))


def _reductions(draw: Callable[..., np.ndarray]) -> Iterator[Form]:
    kind = "reductions of products"
    left, right = draw(5, 129, 33), draw(5, 129, 33)
    for axis in (1, 2, None):

        def products(a: Any, b: Any, axis: Any = axis) -> Any:
            return (a * b).sum(axis)

        yield Form(kind, jax.jit(products), products, (left, right))

    def squares(a: Any) -> Any:
        return ((a - 0.5) ** 2).mean(-1)

    yield Form(kind, jax.jit(squares), squares, (left,))


def _full_precision(draw: Callable[..., np.ndarray]) -> Form:
    def product(a: Any, b: Any) -> Any:
        return jnp.matmul(a, b, precision="highest")

    inputs = draw(128, 300), draw(300, 65)
    return Form("products at full precision", jax.jit(product), np.matmul, inputs, precise=True)


def _eigenpairs(draw: Callable[..., np.ndarray]) -> Iterator[Form]:
    kind = "residuals of eigh"
    for shape, solve in (((100, 40), jnp.linalg.eigh), ((6, 40, 20), eigh_of_batch)):
        factor = draw(*shape)
        kernel = factor @ factor.swapaxes(-1, -2) / shape[-1]

        def rebuilt(kernel: Any, solve: Any = solve) -> Any:
            values, vectors = (np.asarray(v, np.float64) for v in solve(kernel))
            return (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2)

        yield Form(kind, rebuilt, lambda kernel: kernel, (kernel,))


def _loops(draw: Callable[..., np.ndarray]) -> Iterator[Form]:
    kind = "gradients in loops"
    features, weights = draw(6, 40, 12), draw(12, 12)

    def loss(weights: jax.Array, features: jax.Array) -> jax.Array:
        def add(total: jax.Array, batch: jax.Array) -> tuple[jax.Array, None]:
            return total + jnp.mean((batch @ weights) * batch), None

        return jax.lax.scan(add, jnp.zeros((), weights.dtype), features)[0]

    def gradient(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
        return np.einsum("bni,bnj->ij", features, features) / features[0].size

    yield Form(kind, jax.jit(jax.grad(loss)), gradient, (weights, features))

    inputs, targets, start = draw(50, 9), draw(50, 4), draw(9, 4)

    def descend(start: jax.Array, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        def error(w: jax.Array) -> jax.Array:
            product = jnp.matmul(inputs, w, precision="highest")
            return 0.5 * jnp.sum((product - targets) ** 2) / len(inputs)

        return jax.lax.fori_loop(0, _STEPS, lambda _, w: w - _STEP * jax.grad(error)(w), start)

    def descended(start: np.ndarray, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        for _ in range(_STEPS):
            start = start - _STEP * inputs.T @ (inputs @ start - targets) / len(inputs)
        return start

    yield Form(kind, jax.jit(descend), descended, (start, inputs, targets))
