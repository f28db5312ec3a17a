"""Optimisers of every kind, against the same transformation stepped by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na

d = na.distillation
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(8, 3)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 8)]
START = jnp.asarray(RNG.normal(size=(3, 2)), jnp.float32)


def linear_model(params, inputs):
    return inputs @ params


def loss_of(params):
    return 0.5 * jnp.sum((linear_model(params, INPUTS) - CODES) ** 2)


def train(optimizer, **changes):
    options = {"optimizer": optimizer, "num_steps": 6, "alpha": 1.0, **changes}
    return d.self_distill(linear_model, START, INPUTS, CODES, **options)


@pytest.mark.parametrize(
    "transformation",
    [
        optax.lbfgs(),
        optax.polyak_sgd(),
        optax.lion(1e-2),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(optax.linear_schedule(0.1, 0, 6))),
        optax.chain(optax.sgd(0.02), optax.contrib.reduce_on_plateau(patience=1)),
    ],
    ids=["lbfgs", "polyak", "lion", "clipped adamw", "plateau"],
)
def test_transformations_that_look_at_the_loss(transformation):
    params, state = START, transformation.init(START)
    update = optax.with_extra_args_support(transformation).update
    for _ in range(6):
        loss, gradient = jax.value_and_grad(loss_of)(params)
        steps, state = update(gradient, state, params, value=loss, grad=gradient, value_fn=loss_of)
        params = optax.apply_updates(params, steps)
    np.testing.assert_allclose(train(transformation).params, params, rtol=2e-4, atol=2e-5)


CONTRIB = optax.contrib


def adversary():
    return optax.chain(CONTRIB.normalize(), optax.sgd(0.05))


def sam(**options):
    return CONTRIB.sam(optax.sgd(0.02), adversary(), **options)


# With the parameters to use the network with, after steps of optax's own.
SECOND_SETS = {
    "sharpness-aware": (sam(), lambda state, params: state.cache),
    "in a chain": (optax.chain(optax.clip(1.0), sam()), lambda state, params: state[1].cache),
    "opaque": (sam(opaque_mode=True), lambda state, params: params),
    "schedule-free": (CONTRIB.schedule_free_sgd(0.05), CONTRIB.schedule_free_eval_params),
    "sophia": (CONTRIB.sophia(0.01), lambda state, params: params),
}


@pytest.mark.parametrize("name", SECOND_SETS)
def test_second_sets_of_parameters_and_functions_of_the_loss(name):
    transformation, choose = SECOND_SETS[name]
    extra = {
        "opaque": {"grad_fn": lambda params, index: jax.grad(loss_of)(params)},
        "sophia": {"obj_fn": loss_of},
    }.get(name, {})
    params, state = START, transformation.init(START)
    for _ in range(5):  # an adversarial step is the last one
        steps, state = transformation.update(jax.grad(loss_of)(params), state, params, **extra)
        params = optax.apply_updates(params, steps)
    chosen, seen = choose(state, params), []
    found = train(transformation, num_steps=5, on_record=lambda step, p: seen.append(p))
    np.testing.assert_allclose(found.params, chosen, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(seen[-1], found.params)
    np.testing.assert_allclose(found.history.loss[-1], loss_of(chosen), rtol=1e-5)
    moved = np.linalg.norm(chosen - START)
    np.testing.assert_allclose(found.history.distance_from_init[-1], moved, rtol=1e-5)
    if name in ("sharpness-aware", "in a chain", "schedule-free"):
        assert np.abs(chosen - params).max() > 1e-3  # those that gradients are taken at


@pytest.mark.parametrize(
    "before", [optax.identity(), optax.clip_by_global_norm(0.1)], ids=["alone", "in a chain"]
)
def test_lookahead_is_measured_at_its_slow_parameters(before):
    ahead = optax.chain(before, optax.lookahead(optax.adam(0.02), 3, 0.5))
    both = optax.LookaheadParams.init_synced(START)
    state = ahead.init(both)
    for _ in range(5):
        steps, state = ahead.update(jax.grad(loss_of)(both.fast), state, both)
        both = optax.apply_updates(both, steps)
    found = train(ahead, num_steps=5)
    np.testing.assert_allclose(found.params, both.slow, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(found.history.loss[-1], loss_of(both.slow), rtol=1e-5)
    assert np.abs(both.fast - both.slow).max() > 1e-3
    stacked = d.self_distill(
        linear_model, jnp.stack([START, 2 * START]), INPUTS, CODES, optimizer=ahead, num_steps=5,
        alpha=1.0, replicas=2,
    )  # fmt: skip
    np.testing.assert_allclose(stacked.params[0], both.slow, rtol=2e-5, atol=1e-6)


def test_students_too():
    both = d.teacher_student(
        linear_model, START, INPUTS, CODES, optimizer=sam(), teacher_steps=5, student_steps=1,
        checkpoints=[5],
    )  # fmt: skip
    found = train(sam(), num_steps=5, record_every=5)
    np.testing.assert_allclose(both.teacher.loss[-1], found.history.loss[-1], rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (CONTRIB.dpsgd(0.1, 1.0, 0.1, 0), "differentially_private_aggregate, is not there"),
        (
            optax.GradientTransformationExtraArgs(
                optax.identity().init, lambda g, s, p=None, *, hessian: (g, s)
            ),
            "optimizer cannot take a step: .*hessian",
        ),
    ],
)
def test_what_cannot_step_here_is_refused(optimizer, message):
    with pytest.raises(ValueError, match=message):
        train(optimizer)


def test_a_function_of_the_rate_may_search_lines():
    found = train(optax.lbfgs, learning_rate=1.0, num_steps=12)
    least = float(loss_of(np.linalg.lstsq(INPUTS, CODES)[0]))
    assert found.history.loss[0] > 2 * least
    assert found.history.loss[-1] == pytest.approx(least, rel=1e-3)


def test_gradients_of_several_steps_together():
    pairs = optax.MultiSteps(optax.sgd(0.05), every_k_schedule=2)
    params = START
    for _ in range(3):  # twice the same gradient, whose mean is taken
        params = params - 0.05 * jax.grad(loss_of)(params)
    found = train(pairs)
    np.testing.assert_allclose(found.params, params, rtol=1e-5)
    assert np.isnan(np.asarray(found.history.time)).all()


@pytest.mark.parametrize("kind", [lambda w: w, list, jnp.asarray])
def test_one_weight_for_each_step_in_any_container(kind):
    weights = np.linspace(1, 0, 6)
    table = train(0.05, alpha=kind(weights), record_every=1)
    function = train(0.05, alpha=lambda s: jnp.where(s < 6, 1 - s / 5, 0.0), record_every=1)
    np.testing.assert_allclose(table.params, function.params, rtol=1e-5)
    np.testing.assert_allclose(table.history.alpha[:6], weights, atol=1e-6)


def test_a_label_function_of_whole_numbers_or_booleans_keeps_the_weight():
    kinds = [jnp.float32, jnp.int32, jnp.bool_]
    runs = [
        train(
            0.05,
            alpha=0.7,
            clean=CODES,
            label_fn=lambda f, k=k: jax.nn.one_hot(f.argmax(-1), 2).astype(k),
        )
        for k in kinds
    ]
    hard = train(0.05, alpha=0.7, clean=CODES)
    for run in runs:
        np.testing.assert_array_equal(run.params, hard.params)
        np.testing.assert_array_equal(run.history.label_to_clean, hard.history.label_to_clean)
    kernel = INPUTS @ INPUTS.T
    whole, real = (
        d.kernel_self_distill(
            kernel, 2 * CODES[:, :1] - 1, learning_rate=0.01, num_steps=5, alpha=0.7,
            label_fn=lambda f, k=k: jnp.where(f >= 0, 1, -1).astype(k),
        )
        for k in (jnp.int32, jnp.float32)
    )  # fmt: skip
    np.testing.assert_array_equal(whole.loss, real.loss)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"alpha": [0.5, 0.5]}, "alpha holds 2 weights, expected one for each of the 6"),
        ({"alpha": [0.5] * 5 + [1.5]}, "alpha is 1.5 at step 5"),
        ({"alpha": d.AlphaSchedule("constant", (2.0,))}, "alpha is 2.0 at step 0"),
        ({"alpha": d.AlphaSchedule("linear", (1.0, -1.0, 3.0))}, "at step 2"),
        ({"alpha": d.AlphaSchedule("exponential", (np.nan,))}, "alpha is nan"),
        ({"alpha": d.AlphaSchedule("agreement", (3.0,))}, "alpha is 3"),
        ({"alpha": d.AlphaSchedule("table", (np.ones(3),))}, "alpha holds 3 weights"),
        ({"alpha": np.zeros(0), "num_steps": 0}, "alpha holds 0 weights"),
        ({"precision": "int8"}, "precision is 'int8', expected one of 'bfloat16'"),
        ({"precision": "bf16"}, "precision is 'bf16', expected one of 'bfloat16'"),
        ({"precision": "float8_e4m3fn"}, "precision is 'float8_e4m3fn', expected one of"),
        ({"key": "a", "batch_size": 4}, "key is 'a', expected a seed"),
        ({"key": 1.5, "batch_size": 4}, "key is 1.5, expected a seed"),
        ({"key": [1, 2], "batch_size": 4}, "several are for replicas"),
        ({"batch_size": 2.5, "key": 0}, "batch_size is 2.5"),
        ({"label_fn": lambda f: jnp.zeros((8, 2)), "batch_size": 4, "key": 0}, "same shape"),
        ({"test": (np.full((2, 3), np.nan), [0, 1])}, "test inputs"),
        (
            {"optimizer": optax.sgd, "learning_rate": lambda s: 0.1 - 0.05 * s},
            "learning_rate is -0.2.* at step 6",
        ),
    ],
)
def test_bad_input(changes, match):
    options = {"optimizer": 0.05, **changes}
    with pytest.raises(ValueError, match=match):
        train(**options)


@pytest.mark.parametrize("alpha", [None, "half", [[0.1], [0.1, 0.2]], 1j])
def test_no_weights(alpha):
    with pytest.raises(TypeError, match=r"alpha is .* expected a number"):
        train(0.05, alpha=alpha)


def test_seeds_and_keys_of_either_style():
    options = {"batch_size": 4.0, "num_steps": 7}
    seeded = train(0.05, key=3, **options)
    for key in (np.array(3), jax.random.key(3), jax.random.PRNGKey(3), np.int64(3)):
        np.testing.assert_array_equal(train(0.05, key=key, **options).params, seeded.params)


def test_a_single_result_has_no_replicas():
    with pytest.raises(ValueError, match="a single network"):
        train(0.05).replica(0)
