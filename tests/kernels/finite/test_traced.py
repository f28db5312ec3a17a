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
OTHER = RNG.normal(size=(3, 3)).astype(np.float32)
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


@pytest.mark.parametrize("implementation", na.kernels.IMPLEMENTATIONS)
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
    direction = jax.tree.map(lambda leaf: np.ones_like(leaf), PARAMS)
    v = RNG.normal(size=(4, 2)).astype(np.float32)
    with jax.enable_x64(True):
        p, x, w, d = jax.tree.map(lambda a: jnp.asarray(a, "float64"), (PARAMS, X, v, direction))
        functions = {
            "kernel": lambda p, x: na.kernels.empirical_ntk(network, p, x) @ w,
            "full": lambda p, x: (
                na.kernels.empirical_ntk(network, p, x, outputs="full")[:4] @ (jnp.tile(w, (2, 1)))
            ),
            "product": lambda p, x: na.kernels.NTKOperator(network, p, x) @ w,
            "in batches": lambda p, x: na.kernels.NTKOperator(network, p, x, batch_size=2) @ w,
            "diagonal": lambda p, x: na.kernels.NTKOperator(network, p, x).diagonal(),
            "cross": lambda p, x: na.kernels.empirical_ntk(network, p, x, OTHER.astype("float64")),
        }
        for name, function in functions.items():
            step = 1e-5

            def moved(h, function=function):
                return np.asarray(function(jax.tree.map(lambda a, b: a + h * b, p, d), x + h))

            wanted = (moved(step) - moved(-step)) / (2 * step)
            _, found = jax.jvp(function, (p, x), (d, jnp.ones_like(x)))
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7, err_msg=name)
            total = jax.grad(lambda p, f=function: f(p, x).sum())(p)
            dotted = sum(jnp.sum(a) for a in jax.tree.leaves(total))
            only = jax.jvp(lambda p, f=function: f(p, x), (p,), (d,))[1].sum()
            np.testing.assert_allclose(dotted, only, rtol=1e-9, err_msg=name)
        close(functions["kernel"](p, x), functions["product"](p, x), 1e-12)


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
    for activation, network in (("relu", {}), ("erf", {})):
        architecture = na.kernels.fully_connected(2, activation=activation, **network)
        with jax.enable_x64(True):
            x, weights = jnp.asarray(X, "float64"), jnp.asarray(WEIGHTS - np.diag(np.diag(WEIGHTS)))

            def of(x, architecture=architecture, weights=weights):
                return (na.kernels.infinite_ntk(architecture, x) * weights).sum()

            close(jax.jit(of)(x), of(x), 1e-9)
            wanted = np.zeros(X.shape)
            for index in np.ndindex(*X.shape):
                e = np.zeros(X.shape)
                e[index] = 1e-5
                wanted[index] = (of(x + e) - of(x - e)) / 2e-5
            np.testing.assert_allclose(jax.grad(of)(x), wanted, rtol=1e-6, atol=1e-8)
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
        (kernel(store=tmp_path / "k"), PARAMS, "store cannot be written to while jit, grad or vmap"),
        (kernel(mesh=mesh), PARAMS, "mesh cannot be written to while jit, grad or vmap"),
        (closing, 2.0, "store cannot be written to while jit, grad or vmap"),
        (kernel(precision="float64"), PARAMS, "precision is 'float64', which cannot be switched"),
        (
            lambda p: na.kernels.NTKOperator(network, p, X, mesh=mesh) @ X, PARAMS,
            "mesh cannot be used where jit, grad or vmap traces the parameters",
        ),
        (lambda x: na.kernels.infinite_ntk(architecture, x, store=tmp_path / "i"), X, "store cannot"),
        (lambda x: na.kernels.infinite_diagonal(architecture, x), X, "traced by jit, grad or vmap"),
        (lambda p: na.kernels.empirical_ntk(lambda p, x: network(p, x)[:, 0], p, X), PARAMS, "returns"),
    ]  # fmt: skip
    for function, argument, message in cases:
        with pytest.raises(ValueError, match=message):
            jax.jit(function)(argument)
