"""Equinox modules, with and without state: kernels, training, recorders, beside plain loops."""

from __future__ import annotations

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na

eqx = pytest.importorskip("equinox", reason="equinox is not installed")
d, b = na.distillation, na.distillation.baselines
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[np.arange(8) % 2]


class Normalised(eqx.Module):
    one: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    two: eqx.nn.Linear
    drop: eqx.nn.Dropout

    def __init__(self, key, rate=0.0):
        self.one = eqx.nn.Linear(3, 12, key=key)
        self.norm = eqx.nn.BatchNorm(12, "batch", mode="batch")
        self.two = eqx.nn.Linear(12, 2, key=key)
        self.drop = eqx.nn.Dropout(rate)

    def __call__(self, x, state, *, key):
        hidden, state = self.norm(self.one(x), state)
        return self.two(self.drop(jax.nn.relu(hidden), key=key)), state


def made(rate=0.0):
    module, state = eqx.nn.make_with_state(Normalised)(jax.random.key(0), rate)
    run = jax.vmap(
        lambda x, s: module(x, s, key=jax.random.key(1)), (0, None), (0, None), axis_name="batch"
    )
    return module, run(X, state)[1]


def copy(state):
    return jax.tree.map(jnp.copy, state)


def by_hand(module, state):
    module = eqx.nn.inference_mode(module)
    params, static = eqx.partition(module, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(state)
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def f(flat):
        whole = eqx.combine(unravel(flat), static)
        return jax.vmap(lambda x: whole(x, jax.tree.unflatten(structure, leaves), key=None)[0])(X)

    jacobian = np.asarray(jax.jacrev(f)(flat))
    return np.asarray(f(flat)), np.einsum("iap,jap->ij", jacobian, jacobian) / 2


def test_kernel_with_state():
    module, state = made(rate=0.5)
    outputs, kernel = by_hand(module, copy(state))
    f, params = na.kernels.functional(module, state=state)
    np.testing.assert_allclose(f(params, X), outputs, rtol=1e-5, atol=1e-6)
    for _ in range(2):
        np.testing.assert_allclose(na.kernels.empirical_ntk(f, params, X), kernel, rtol=1e-4)
    np.testing.assert_allclose(
        na.kernels.NTKOperator(f, params, X) @ np.eye(8), kernel, rtol=1e-3, atol=1e-4
    )


def test_training_is_that_of_a_plain_loop_and_recorders_follow():
    module, state = made()
    recorder = na.analysis.Recorder(
        module, copy(state), X, CODES, clean=CODES, learning_rate=0.1, kernel_steps=(0, 3)
    )
    result = d.self_distill(
        module, copy(state), X, CODES, optimizer=0.05, num_steps=3, alpha=1.0, key=0,
        record_every=1, record_outputs=True, on_record=recorder,
    )  # fmt: skip
    params, static = eqx.partition(module, eqx.is_inexact_array)

    def loss(params, state):
        whole = eqx.combine(params, static)
        run = jax.vmap(lambda x, s: whole(x, s, key=None), (0, None), (0, None), axis_name="batch")
        outputs, state = run(X, state)
        return 0.5 * jnp.sum((outputs - CODES) ** 2), state

    held = copy(state)
    for _ in range(3):
        gradient, held = jax.grad(loss, has_aux=True)(params, held)
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient)
    trained, kept = result.params
    for got, wanted in ((eqx.filter(trained, eqx.is_inexact_array), params), (kept, held)):
        jax.tree.map(
            lambda a, c: np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-6), got, wanted
        )
    outputs, kernel = by_hand(eqx.combine(params, static), held)
    np.testing.assert_allclose(result.history.outputs[-1], outputs, atol=1e-5)
    np.testing.assert_allclose(d.evaluate(module, result.params, X), outputs, atol=1e-5)
    record = recorder.result()
    np.testing.assert_allclose(record.outputs[-1], outputs, atol=1e-5)
    right = np.linalg.eigvalsh(kernel)[::-1]
    np.testing.assert_allclose(record.kernel.eigenvalues[-1], right, rtol=1e-3, atol=1e-3)


def test_stateless_modules_baselines_and_replicas():
    def new(key):
        return eqx.nn.MLP(3, 2, 8, 1, key=key)

    module = new(jax.random.key(0))
    found = b.cross_entropy(module, None, X, CODES, optimizer=0.2, num_steps=3, key=0, batch_size=4)
    f, params = na.kernels.functional(module)
    wanted = b.cross_entropy(f, params, X, CODES, optimizer=0.2, num_steps=3, key=0, batch_size=4)
    np.testing.assert_allclose(found.history.loss, wanted.history.loss, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(found.params)(X), f(wanted.params, X), rtol=1e-4, atol=1e-6)
    keys = jax.random.split(jax.random.key(1), 2)
    stack = eqx.filter_vmap(new)(keys)
    common = {"optimizer": optax.adam(0.1), "num_steps": 2, "alpha": 1.0, "subtract_initial": True}
    both = d.self_distill(module, stack, X, CODES, replicas=2, **common)
    alone = d.self_distill(module, new(keys[1]), X, CODES, **common)
    np.testing.assert_allclose(both.history.loss[1], alone.history.loss, rtol=1e-4)
    recorder = na.analysis.Recorder(module, None, X, CODES, clean=CODES, learning_rate=0.1)
    np.testing.assert_allclose(recorder.result().outputs[0], f(params, X), rtol=1e-5, atol=1e-6)


def test_refusals():
    module, state = made(rate=0.5)
    common = {"optimizer": 0.1, "num_steps": 1, "alpha": 1.0}
    for call in (
        lambda: na.kernels.functional(module),
        lambda: d.self_distill(module, None, X, CODES, **common),
    ):
        with pytest.raises(
            ValueError, match=r"Normalised keeps a state.*functional\(module, state"
        ):
            call()
    with pytest.raises(ValueError, match=r"Normalised draws random numbers in training.*key=0"):
        d.self_distill(module, state, X, CODES, **common)
    with pytest.raises(ValueError, match="BatchNorm would count the padding"):
        d.self_distill(module, state, X, CODES, **common, batch_size=3, key=0)
    with pytest.raises(ValueError, match="subtract_initial needs a network"):
        d.self_distill(module, state, X, CODES, **common, key=0, subtract_initial=True)
    with pytest.raises(ValueError, match="a dict is given for an equinox module"):
        d.self_distill(module, {"w": X}, X, CODES, **common)
    with pytest.raises(ValueError, match="state belongs to an equinox module, got function"):
        na.kernels.functional(lambda x: x, state=state)
    with pytest.raises(ValueError, match=r"params holds 'State'.*functional\("):
        na.kernels.empirical_ntk(lambda p, x: x @ p["w"], {"w": jnp.ones((3, 2)), "s": state}, X)
