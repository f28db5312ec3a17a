"""A product with the NTK, as it is written by hand in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._harness import Run

BATCH = 500


def linearised(apply_fn: Callable, outputs: str, inputs: tuple) -> Run:
    """One forward pass of all points, its linearisation and the transpose of that."""
    params, x, v = inputs

    @jax.jit
    def product(params: Any, x: jax.Array, v: jax.Array) -> jax.Array:
        _, push = jax.linearize(lambda p: apply_fn(p, x), params)
        pull = jax.linear_transpose(push, params)
        return _product(outputs, lambda rows: push(*pull(rows)), (len(x), num_outputs), v)

    num_outputs = _num_outputs(apply_fn, params, x)
    return lambda: product(params, x, v)


def linearised_before(apply_fn: Callable, outputs: str, inputs: tuple) -> Run:
    """The same with the pass made once for all products: what it keeps is an argument."""
    params, x, v = inputs
    shape = len(x), _num_outputs(apply_fn, params, x)
    pull = jax.jit(lambda p: jax.vjp(lambda q: apply_fn(q, x), p)[1])(params)

    @jax.jit
    def product(pull: Any, v: jax.Array) -> jax.Array:
        push = jax.linear_transpose(lambda rows: pull(rows)[0], jnp.zeros(shape, v.dtype))
        return _product(outputs, lambda rows: push(*pull(rows))[0], shape, v)

    return lambda: product(pull, v)


def _product(outputs: str, full: Callable, shape: tuple[int, int], v: jax.Array) -> jax.Array:
    if outputs == "full":
        return full(v.reshape(shape)).reshape(-1)
    masks = jnp.eye(shape[1], dtype=v.dtype)
    rows = jax.vmap(full)(v[:, None] * masks[:, None])
    return jnp.einsum("anc,ac->n", rows, masks) / shape[1]


def _num_outputs(apply_fn: Callable, params: Any, x: jax.Array) -> int:
    return jax.eval_shape(apply_fn, params, x).shape[1]


def one_vjp_one_jvp(apply_fn: Callable, outputs: str, inputs: tuple) -> Run:
    """Batch after batch in a scan, all gradients summed first; for the trace output by output."""
    params, x, v = inputs
    n, num_outputs = len(x), _num_outputs(apply_fn, params, x)
    # n is a multiple of 20, so that this divides it or n is smaller.
    batch = max(b for b in range(1, min(BATCH, n) + 1) if n % b == 0)
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
