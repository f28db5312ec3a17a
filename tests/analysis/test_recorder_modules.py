"""Recorders of flax modules, against the module applied by hand after each step."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_air as na

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[np.arange(6) % 2]


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(5)(x))
        return nn.Dense(2)(nn.tanh(hidden))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.one = nnx.Linear(3, 5, rngs=rngs)
        self.norm = nnx.BatchNorm(5, momentum=0.5, rngs=rngs)
        self.two = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        return self.two(nnx.tanh(self.norm(self.one(x))))


def linen():
    module = Linen()
    variables = module.init(jax.random.key(0), X)

    def function(variables):
        rest = {k: v for k, v in variables.items() if k != "params"}
        return lambda p, x: module.apply({"params": p, **rest}, x), variables["params"]

    return module, variables, function


def of_nnx():
    module = Nnx(nnx.Rngs(0))

    def function(state):
        graph, params, rest = nnx.split(nnx.merge(nnx.graphdef(module), state), nnx.Param, ...)

        def apply_fn(params, x):
            whole = nnx.merge(graph, params, rest, copy=True)
            whole.eval()
            return whole(x)

        return apply_fn, params

    return module, None, function


@pytest.mark.parametrize("make", [linen, of_nnx])
def test_outputs_and_kernels_are_those_of_evaluation_mode(make):
    module, params, function = make()
    recorder = na.analysis.Recorder(
        module, params, X, CODES, clean=CODES, learning_rate=0.05, kernel_steps=(0, 2),
        test=(X[:2], [0, 1]), batch_size=4,
    )  # fmt: skip
    result = na.distillation.self_distill(
        module, params, X, CODES, optimizer=0.05, num_steps=2, alpha=1.0, record_every=1,
        on_record=recorder,
    )  # fmt: skip
    apply_fn, trained = function(result.params)
    flat, unravel = jax.flatten_util.ravel_pytree(trained)
    jacobian = np.asarray(jax.jacrev(lambda q: apply_fn(unravel(q), jnp.asarray(X)))(flat))
    record = recorder.result()
    np.testing.assert_allclose(record.outputs[-1], apply_fn(trained, X), atol=1e-5)
    right = np.linalg.eigvalsh(np.einsum("iap,jap->ij", jacobian, jacobian) / 2)[::-1]
    np.testing.assert_allclose(record.kernel.eigenvalues[-1], right, rtol=1e-3, atol=1e-4)
    assert np.abs(record.outputs[-1] - record.outputs[0]).max() > 1e-2
