"""Networks trained minus their own initial outputs: against plain loops on f - f_0."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na

d, b = na.distillation, na.distillation.baselines
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(7, 3, 2)).astype(np.float32)  # points of rank 2
OTHERS = RNG.normal(size=(4, 3, 2)).astype(np.float32)
CLASSES = np.array([0, 1, 0, 1, 1, 0, 1])
CODES = np.eye(2, dtype=np.float32)[CLASSES]
PARAMS = {
    "a": RNG.normal(size=(6, 5)).astype(np.float32),
    "b": RNG.normal(size=(5, 2)).astype(np.float32),
}


def network(params, x):
    return jnp.tanh(x.reshape(len(x), -1) @ params["a"]) @ params["b"]


def less(x):
    """The network minus its initial outputs, as a function of its own, with two forward passes."""
    return lambda params, rows: network(params, x[rows]) - network(PARAMS, x[rows])


def train(call=d.self_distill, **changes):
    options = {
        "optimizer": optax.sgd, "learning_rate": 0.2, "num_steps": 5, "record_every": 1,
        "record_outputs": True, "test": (OTHERS, [0, 1, 1, 0]), "subtract_initial": True, **changes,
    }  # fmt: skip
    if call is d.self_distill:
        # Soft labels: at step 0 the outputs are 0, and which is the largest is rounding.
        options = {"alpha": 0.5, "label_fn": d.softmax(0.5), "loss": "cross_entropy"} | options
    return call(network, PARAMS, IMAGES, CODES, **options)


def by_hand(batches, rate=0.2):
    """Cross-entropy towards the self-distilled target, by a loop on f - f_0."""
    f, params, seen = less(IMAGES), PARAMS, []
    for rows in [*batches, None]:
        seen.append((f(params, slice(None)), less(OTHERS)(params, slice(None))))
        if rows is None:
            return params, seen

        def loss(p, rows=rows):
            outputs, codes = f(p, rows), CODES[rows]
            target = jax.lax.stop_gradient(0.5 * codes + 0.5 * jax.nn.softmax(2 * outputs))
            return optax.softmax_cross_entropy(outputs, target).mean()

        params = jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))


def check(result, expected):
    params, seen = expected
    jax.tree.map(
        lambda a, c: np.testing.assert_allclose(a, c, rtol=2e-5, atol=2e-6), result.params, params
    )
    outputs, tests = (np.stack(part) for part in zip(*seen, strict=True))
    np.testing.assert_allclose(result.history.outputs, outputs, atol=5e-6)
    np.testing.assert_allclose(result.history.test_outputs, tests, atol=5e-6)


def test_equals_a_loop_on_the_difference():
    result = train()
    check(result, by_hand([slice(None)] * 5))
    assert np.abs(result.history.outputs[0]).max() < 1e-6
    plain = train(subtract_initial=False)
    assert np.abs(result.history.outputs - plain.history.outputs).max() > 0.1


def test_batches_gather_the_initial_outputs_of_their_points():
    key = jax.random.key(3)
    orders = [jax.random.permutation(jax.random.fold_in(key, e), 7) for e in range(2)]
    batches = [np.asarray(o)[i : i + 3] for o in orders for i in (0, 3, 6)][:5]
    result = train(batch_size=3, key=3)
    check(result, by_hand(batches))


def test_one_forward_pass_a_step_and_the_ntk_is_that_of_the_network():
    calls = []

    def counted(params, x):
        calls.append(len(x))
        return network(params, x)

    common = {"optimizer": 0.1, "num_steps": 2, "alpha": 1.0}
    counts = []
    for given in ({}, {"subtract_initial": True}):
        calls.clear()
        jax.clear_caches()
        d.self_distill(counted, PARAMS, IMAGES, CODES, **common, **given)
        counts.append(len(calls))
    assert counts[1] == counts[0] + 1  # where f_0 is computed, once for all steps
    initial = network(PARAMS, IMAGES)
    kernels = [
        na.kernels.empirical_ntk(f, PARAMS, IMAGES)
        for f in (network, lambda p, x: network(p, x) - initial[0])
    ]
    np.testing.assert_allclose(*kernels, rtol=1e-6)


def test_augmented_inputs_and_mixed_ones_have_initial_outputs_of_their_own():
    def shifted(key, x):
        return x + jax.random.normal(key, (len(x), 1, 1))

    result = train(augment=shifted, key=5, alpha=1.0, record_every=[0, 5])
    params = PARAMS
    for step in range(5):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 2**31), step)
        x = shifted(jax.random.split(key)[1], IMAGES)

        def loss(p, x=x):
            outputs = network(p, x) - network(PARAMS, x)
            return optax.softmax_cross_entropy(outputs, CODES).mean()

        params = jax.tree.map(lambda p, g: p - 0.2 * g, params, jax.grad(loss)(params))
    jax.tree.map(
        lambda a, c: np.testing.assert_allclose(a, c, rtol=2e-5, atol=2e-6), result.params, params
    )


# Those that do more with outputs than hand them to a loss.
@pytest.mark.parametrize(
    "name", ["co_teaching", "early_stopping", "elr", "forward_correction", "mixup"]
)
def test_baselines_are_those_of_the_difference(name):
    """Outputs as a function with the initial ones built in, the other way to write f - f_0."""
    method = b.METHODS[name]
    options = {**method.required, "key": 0, "batch_size": 3, "test": None}
    x, codes = np.concatenate([IMAGES, IMAGES + 0.1]), np.concatenate([CODES, CODES])

    def difference(params, inputs):
        return network(params, inputs) - network(PARAMS, inputs)

    if name == "co_teaching":
        peer = jax.tree.map(lambda leaf: leaf[::-1] * 0.5, PARAMS)
        options["peer_params"] = peer

        def difference(params, inputs):  # of either network, told by a leaf that does not train
            return network(params, inputs) - network(
                jax.tree.map(lambda p, q: jnp.where(params["own"] > 0, p, q), PARAMS, peer), inputs
            )

    common = {
        "optimizer": 0.3, "num_steps": 7, "record_every": 1, "record_outputs": True, **options,
    }  # fmt: skip
    got = method(network, PARAMS, x, codes, subtract_initial=True, **common)
    given = PARAMS
    if name == "co_teaching":
        given = PARAMS | {"own": np.float32(1.0)}
        common["peer_params"] = peer | {"own": np.float32(-1.0)}
    wanted = method(difference, given, x, codes, **common)
    np.testing.assert_allclose(got.history.outputs, wanted.history.outputs, atol=1e-5)
    np.testing.assert_allclose(got.history.loss, wanted.history.loss, rtol=1e-5, atol=1e-6)
    if name == "early_stopping":
        np.testing.assert_array_equal(got.validation_accuracy, wanted.validation_accuracy)
    if name == "forward_correction":
        np.testing.assert_allclose(got.transition, wanted.transition, atol=1e-5)
    assert np.abs(got.history.outputs[-1]).max() > 1e-2


def test_replicas_meshes_modules_and_checkpoints(tmp_path):
    stack = jax.tree.map(lambda leaf: np.stack([leaf, 0.5 * leaf, -leaf, 2 * leaf]), PARAMS)
    common = {
        "optimizer": 0.1, "num_steps": 3, "alpha": 1.0, "record_outputs": True,
        "subtract_initial": True, "test": (OTHERS, [0, 1, 1, 0]),
    }  # fmt: skip
    together = d.self_distill(network, stack, IMAGES, CODES, replicas=4, **common)
    for index in range(4):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], stack)
        alone = d.self_distill(network, one, IMAGES, CODES, **common)
        for name in ("outputs", "test_outputs"):
            np.testing.assert_allclose(
                getattr(together.history, name)[index], getattr(alone.history, name), atol=1e-5
            )
    module = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(4), nn.tanh, nn.Dense(2)])
    variables = module.init(jax.random.key(0), IMAGES)
    found = d.self_distill(module, variables, IMAGES, CODES, **common)
    wanted = d.self_distill(
        lambda p, x: module.apply(p, x) - module.apply(variables, x), variables, IMAGES, CODES,
        **common | {"subtract_initial": False},
    )  # fmt: skip
    np.testing.assert_allclose(found.history.outputs, wanted.history.outputs, atol=1e-6)
    train(checkpoint=tmp_path)
    again = train(checkpoint=tmp_path)
    np.testing.assert_allclose(again.history.outputs, train().history.outputs, atol=1e-7)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(checkpoint=tmp_path, subtract_initial=False)


def test_refusals():
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1)))

    module = Normalised()
    variables = module.init(jax.random.key(0), IMAGES)
    common = {"optimizer": 0.1, "num_steps": 1, "alpha": 1.0, "subtract_initial": True}
    with pytest.raises(ValueError, match=r"BatchNorm takes statistics.*kernels\.functional"):
        d.self_distill(module, variables, IMAGES, CODES, **common)
    with pytest.raises(ValueError, match="subtract_initial is 'yes', expected True or False"):
        train(subtract_initial="yes")
    # What the message advises.
    result = d.self_distill(*na.kernels.functional(module, variables), IMAGES, CODES, **common)
    assert np.abs(result.history.margin[0]).size == 1
