"""Kernels inside jit, grad and vmap: beside neural-tangents, finite differences and themselves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air import _neural_tangents

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)
PARAMS = {
    "a": RNG.normal(size=(3, 8)).astype(np.float32),
    "b": RNG.normal(size=(8, 2)).astype(np.float32),
}
WEIGHTS = RNG.normal(size=(4, 4)).astype(np.float32)


def network(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def close(got, wanted, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, atol=tolerance * scale)


@pytest.mark.parametrize("implementation", na.kernels.IMPLEMENTATIONS[1:])
def test_gradients_are_those_of_neural_tangents(implementation):
    theirs = _neural_tangents.load().empirical_ntk_fn(network)

    def ours(params, x):
        kernel = na.kernels.empirical_ntk(
            network, params, x, implementation=implementation, tile_size=3
        )
        return (kernel * WEIGHTS).sum()

    def reference(params, x):
        return (theirs(x, None, params) * WEIGHTS).sum()

    wanted = jax.grad(reference, argnums=(0, 1))(PARAMS, X)
    close(jax.grad(ours, argnums=(0, 1))(PARAMS, X), wanted)
    close(jax.jit(jax.grad(ours, argnums=(0, 1)))(PARAMS, X), wanted)


def test_gradients_are_finite_differences_and_products_have_them_too():
    v = RNG.normal(size=(4, 2)).astype(np.float32)
    with jax.enable_x64(True):
        p, x, w = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), (PARAMS, X, v))
        functions = {
            "kernel": lambda p, x: na.kernels.empirical_ntk(network, p, x) @ w,
            "product": lambda p, x: na.kernels.NTKOperator(network, p, x) @ w,
            "batches": lambda p, x: na.kernels.NTKOperator(network, p, x, batch_size=2) @ w,
        }
        for name, function in functions.items():
            compiled, step = jax.jit(function), 1e-5
            ends = [
                compiled(*jax.tree.map(lambda leaf, h=h: leaf + h, (p, x))) for h in (step, -step)
            ]
            total = jax.jit(jax.grad(lambda p, x, f=function: (f(p, x) * w).sum(), argnums=(0, 1)))
            found = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(total(p, x)))
            wanted = ((ends[0] - ends[1]) / (2 * step) * w).sum()
            np.testing.assert_allclose(found, wanted, rtol=1e-7, err_msg=name)


def test_jit_vmap_and_what_a_network_closes_over():
    kernel = na.kernels.empirical_ntk(network, PARAMS, X)
    close(jax.jit(lambda p: na.kernels.empirical_ntk(network, p, X))(PARAMS), kernel)
    close(jax.jit(lambda x: na.kernels.empirical_ntk(network, PARAMS, x))(X), kernel)
    stack = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), PARAMS)
    both = jax.vmap(lambda p: na.kernels.empirical_ntk(network, p, X))(stack)
    close(both[0], kernel)
    close(both[1], na.kernels.empirical_ntk(network, jax.tree.map(lambda a: 2 * a, PARAMS), X))

    def of_scale(scale):
        return na.kernels.empirical_ntk(lambda p, x: scale * network(p, x), PARAMS, X).sum()

    np.testing.assert_allclose(jax.grad(of_scale)(3.0), 6 * kernel.sum(), rtol=1e-5)
    operator = na.kernels.NTKOperator(network, PARAMS, X)
    v = WEIGHTS[:, 0]
    close(jax.grad(lambda v: v @ (operator @ v))(v), 2 * kernel @ v, 1e-4)
    # Nothing of a trace stays behind.
    close(operator @ v, kernel @ v, 1e-5)


def test_infinite_kernels():
    architecture = na.kernels.fully_connected(2, activation="erf")
    with jax.enable_x64(True):
        x, weights = jnp.asarray(X, "float64"), jnp.asarray(WEIGHTS)

        @jax.jit
        def of(x):
            return (na.kernels.infinite_ntk(architecture, x) * weights).sum()

        outside = (na.kernels.infinite_ntk(architecture, x) * weights).sum()
        np.testing.assert_allclose(of(x), outside, rtol=1e-9)
        steps = 1e-5 * np.eye(X.size).reshape(-1, *X.shape)
        wanted = [(of(x + e) - of(x - e)) / 2e-5 for e in steps]
        np.testing.assert_allclose(jax.grad(of)(x).ravel(), wanted, rtol=1e-6, atol=1e-8)
    with pytest.warns(UserWarning, match="inside jit, grad or vmap they, and the diagonal, are"):
        kernel = jax.jit(lambda x: na.kernels.infinite_ntk(architecture, x))(X)
    np.testing.assert_allclose(kernel, na.kernels.infinite_ntk(architecture, X), rtol=1e-3)


def test_refusals(tmp_path):
    architecture = na.kernels.fully_connected()
    mesh = jax.make_mesh((1,), ("x",))

    def kernel(**options):
        return lambda p: na.kernels.empirical_ntk(network, p, X, **options)

    def closing(scale):
        return na.kernels.empirical_ntk(
            lambda p, x: scale * network(p, x), PARAMS, X, store=tmp_path / "closing"
        )

    cases = [
        (kernel(store=tmp_path / "k"), PARAMS, "store cannot be written to while"),
        (kernel(mesh=mesh), PARAMS, "mesh cannot be written to while jit, grad or vmap"),
        (closing, 2.0, "store cannot be written to while"),
        (kernel(precision="float64"), PARAMS, "precision is 'float64', which cannot be switched"),
        (
            lambda p: na.kernels.NTKOperator(network, p, X, mesh=mesh) @ X, PARAMS,
            "mesh cannot be used where jit, grad or vmap traces the parameters",
        ),
        (lambda x: na.kernels.infinite_diagonal(architecture, x), X, "traced by jit, grad or vmap"),
    ]  # fmt: skip
    for function, argument, message in cases:
        with pytest.raises(ValueError, match=message):
            jax.jit(function)(argument)
