"""Integer inputs, such as tokens: integers wherever a network of its own sees them."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_air as na

TOKENS = np.random.default_rng(0).integers(0, 20, (6, 7))


class Text(nn.Module):
    @nn.compact
    def __call__(self, tokens, train=False):
        hidden = jnp.tanh(nn.Embed(20, 6)(tokens)).mean(1)
        hidden = nn.BatchNorm(use_running_average=not train)(hidden)
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(hidden))


def network():
    module = Text()
    variables = module.init(jax.random.key(0), TOKENS)
    return module, variables, *na.kernels.functional(module, variables)


def by_jacobian(f, params, x):
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    jacobian = np.asarray(jax.jacrev(lambda q: f(unravel(q), jnp.asarray(x)))(flat))
    return np.einsum("iap,jap->ij", jacobian, jacobian) / jacobian.shape[1]


@pytest.mark.parametrize("implementation", ["layerwise", "structured_derivatives"])
def test_kernel_of_tokens(implementation):
    _, _, f, params = network()
    right = by_jacobian(f, params, TOKENS)
    kernel = na.kernels.empirical_ntk(f, params, TOKENS, implementation=implementation, tile_size=4)
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(kernel, right, rtol=1e-5)
    cross = na.kernels.empirical_ntk(f, params, TOKENS[:2], TOKENS.astype(np.uint8))
    np.testing.assert_allclose(cross, right[:2], rtol=1e-5)


def test_stores_meshes_operators_and_double_precision(tmp_path):
    _, _, f, params = network()
    right = by_jacobian(f, params, TOKENS)
    stored = na.kernels.empirical_ntk(f, params, TOKENS, store=tmp_path / "k", tile_size=2)
    np.testing.assert_allclose(np.asarray(stored[:]), right, rtol=1e-5)
    mesh = jax.make_mesh((1,), ("x",))
    kernel = na.kernels.gather(na.kernels.empirical_ntk(f, params, TOKENS, mesh=mesh))
    np.testing.assert_allclose(kernel, right, rtol=1e-5)
    v = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    for options in ({}, {"mesh": mesh, "batch_size": 4}):
        operator = na.kernels.NTKOperator(f, params, TOKENS, **options)
        assert operator.dtype == np.float32
        np.testing.assert_allclose(operator @ v, right @ v, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(operator.diagonal(), np.diag(right), rtol=1e-5)
    double = na.kernels.empirical_ntk(f, params, TOKENS, precision="float64")
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, right, rtol=1e-5)


def test_booleans_and_a_single_point():
    flags = TOKENS > 10

    def f(w, x):
        assert x.dtype == jnp.bool_
        return jnp.where(x, w[0], w[1])

    kernel = na.kernels.empirical_ntk(f, np.ones((2, 7), np.float32), flags)
    np.testing.assert_allclose(kernel, (flags[:, None] == flags[None]).sum(-1) / 7, rtol=1e-6)
    _, _, g, params = network()
    for row in (TOKENS[:1], np.zeros((1, 7), int)):
        np.testing.assert_allclose(
            na.kernels.empirical_ntk(g, params, row), by_jacobian(g, params, row), rtol=1e-5
        )


def test_recorder_and_training_keep_them():
    module, variables, f, params = network()
    codes = na.datasets.encode(np.arange(6) % 2, 2, coding="one_hot")
    recorder = na.analysis.Recorder(
        f,
        params,
        TOKENS,
        codes,
        clean=codes,
        learning_rate=0.1,
        kernel_steps=(0, 3),
        steps=1,
        kernel_dtype="float64",
    )
    result = na.distillation.self_distill(
        f,
        params,
        TOKENS,
        codes,
        optimizer=0.1,
        num_steps=3,
        alpha=1.0,
        on_record=recorder,
        record_every=1,
        subtract_initial=False,
    )
    record = recorder.result()
    right = np.linalg.eigvalsh(by_jacobian(f, result.params, TOKENS))[::-1]
    np.testing.assert_allclose(record.kernel.eigenvalues[-1], right, rtol=1e-4, atol=1e-5)
    trained = na.distillation.baselines.cross_entropy(
        module, variables, TOKENS, codes, optimizer=0.1, num_steps=2, key=0, batch_size=2
    )
    assert trained.history.loss[-1] != trained.history.loss[0]


def test_an_nnx_module_in_evaluation_mode():
    class Module(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(20, 4, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.out = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, tokens):
            return self.out(self.drop(self.norm(self.embed(tokens).mean(1))))

    f, params = na.kernels.functional(Module(nnx.Rngs(0)))
    np.testing.assert_allclose(
        na.kernels.empirical_ntk(f, params, TOKENS), by_jacobian(f, params, TOKENS), rtol=1e-5
    )


def test_refusals():
    _, _, f, params = network()
    images = np.arange(8, dtype=np.uint8).reshape(2, 4)
    cases = {
        "x1 has integer dtype uint8, and a kernel of infinite width takes numbers": lambda: (
            na.kernels.infinite_ntk(na.kernels.fully_connected(), images)
        ),
        "x has integer dtype|x1 has integer dtype": lambda: na.kernels.infinite_diagonal(
            na.kernels.fully_connected(), images
        ),
        "x1 has dtype int32 and x2 float32, expected integers on both sides": lambda: (
            na.kernels.empirical_ntk(f, params, TOKENS, TOKENS.astype(np.float32))
        ),
        "x1 holds integers from .* to 1099511627795, which int32 does not hold": lambda: (
            na.kernels.empirical_ntk(f, params, TOKENS + 2**40)
        ),
        "apply_fn does not take inputs of dtype uint8: .*pass x.astype": lambda: (
            na.kernels.empirical_ntk(
                lambda w, x: jax.lax.mul(x, w), np.ones((2, 4), np.float32), images
            )
        ),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
