"""Networks trained together, or spread over devices like their points, equal one on one device."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import run

import ntk_air as na

d = na.distillation
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(10, 4)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 10)]
STACK = {
    "w": jnp.asarray(RNG.normal(size=(3, 4, 5)), jnp.float32),
    "v": jnp.asarray(RNG.normal(size=(3, 5, 2)), jnp.float32),
}


def network(params, inputs):
    return jnp.tanh(inputs @ params["w"]) @ params["v"]


def train(params, observed=CODES, **changes):
    options = {
        "optimizer": optax.adam, "learning_rate": 0.02, "num_steps": 9, "alpha": d.agreement(0.9),
        "batch_size": 4, "key": 1, "clean": CODES, "test": (INPUTS[:5], CODES[:5]),
        "record_every": 2, "record_outputs": True, "teacher": "epoch", **changes,
    }  # fmt: skip
    return d.self_distill(network, params, INPUTS, observed, **options)


def one(index):
    return jax.tree.map(lambda leaf: leaf[index], STACK)


def assert_same(result, expected):
    for name in expected.history.__dataclass_fields__:
        a, b = getattr(result.history, name), getattr(expected.history, name)
        if name in ("alpha_right", "alpha_wrong"):  # of `posterior` alone
            assert a is b is None
            continue
        np.testing.assert_allclose(a, b, atol=2e-6, rtol=2e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), result.params, expected.params
    )


@pytest.mark.parametrize("batch_size", [4, None])
def test_seeds_together_equal_each_alone(batch_size):
    keys = jax.random.split(jax.random.key(7), 3)
    together = train(STACK, replicas=3, key=keys, batch_size=batch_size)
    assert together.history.loss.shape == (3, 6)
    for index in range(3):
        alone = train(one(index), key=keys[index], batch_size=batch_size)
        assert_same(together.replica(index), alone)


def test_everything_that_may_differ():
    observed = np.stack([CODES, CODES[::-1], np.roll(CODES, 1, axis=0)])
    rates, scales = np.array([0.02, 0.01, 0.005]), (0.2, 0.9, 1.0)
    together = train(
        STACK, observed, replicas=3, key=[4, 5, 6], learning_rate=rates,
        alpha=[d.agreement(scale) for scale in scales],
    )  # fmt: skip
    assert together.history.time.shape == (3, 6)
    for index in range(3):
        alone = train(
            one(index), observed[index], key=4 + index, learning_rate=rates[index],
            alpha=d.agreement(scales[index]),
        )  # fmt: skip
        assert_same(together.replica(index), alone)


def test_one_seed_is_split_and_on_record_sees_all():
    seen = []
    together = train(STACK, replicas=3, on_record=lambda step, params: seen.append((step, params)))
    assert [step for step, _ in seen] == [0, 2, 4, 6, 8, 9]
    np.testing.assert_array_equal(seen[0][1]["w"], STACK["w"])  # not used up by later steps
    keys = jax.random.split(jax.random.key(1), 3)
    assert_same(together.replica(2), train(one(2), key=keys[2]))


def test_the_network_and_the_step_that_diverged():
    with pytest.raises(d.DivergenceError, match="of network 1 is not finite at step 3"):
        train(
            {"w": STACK["w"], "v": STACK["v"]}, replicas=3, optimizer=_breaking(1, 3),
            learning_rate=None, batch_size=None, num_steps=8, record_every=8,
        )  # fmt: skip


def test_the_network_whose_loss_at_a_record_is_not_finite():
    rates = np.array([0.1, 1e30, 0.1])
    options = {"optimizer": optax.sgd, "learning_rate": rates, "num_steps": 1, "record_every": 1}
    with pytest.raises(d.DivergenceError, match=r"loss of network 1 is (inf|nan) at step 1;"):
        train(STACK, replicas=3, alpha=0.5, batch_size=None, teacher="step", **options)


def _breaking(network, step):
    """Gradient descent that makes the parameters of one network infinite before a step."""

    def update(gradient, state, params):
        mine = jnp.abs(params["w"][0, 0] - STACK["w"][network, 0, 0]) < 1e-2
        factor = jnp.where(mine & (state == step - 1), jnp.inf, -1e-6)
        return jax.tree.map(lambda g: factor * (1 + jnp.abs(g)), gradient), state + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"replicas": 2}, "expected 2 .replicas. on every leaf"),
        ({"replicas": 0}, "replicas is 0"),
        ({"replicas": 3, "key": [1, 2]}, "key holds 2 keys"),
        ({"replicas": 3, "learning_rate": np.array([0.1, 0.2])}, "given for 2 networks"),
        ({"replicas": 3, "alpha": [0.1, 0.2]}, "alpha is given for 2 networks"),
        ({"replicas": 3, "label_fn": [d.hard]}, "label_fn is given for 1 networks"),
        ({"replicas": 3, "label_fn": [d.hard, d.hard, d.softmax()]}, "methods of one kind"),
        ({"replicas": 3, "alpha": [0.1, d.agreement(), 0.3]}, "methods of one kind"),
        ({"replicas": 3, "observed": np.stack([CODES, CODES])}, "observed is given for 2"),
        ({"replicas": 3, "learning_rate": np.array([0.1, -0.2, 0.1])}, "learning_rate is -0.2"),
        (
            {"replicas": 3, "observed": np.stack([CODES, CODES, CODES - 0.5]), "clean": None},
            "is coded as",
        ),
        (
            {
                "replicas": 3,
                "observed": np.stack([CODES, 7 * CODES - 3, CODES]),
                "loss": "cross_entropy",
            },
            "probabilities",
        ),
    ],
)
def test_bad_stacks(changes, match):
    with pytest.raises(ValueError, match=match):
        train(STACK, **changes)


def test_a_label_function_for_each_network():
    temperatures, weights = (0.5, 1.0, 4.0), [0.2, 0.5, 0.8]
    functions = [d.softmax(t) for t in temperatures]
    swept = train(STACK, replicas=3, key=[1, 2, 3], label_fn=functions)
    both = train(STACK, replicas=3, key=[1, 2, 3], label_fn=functions, alpha=weights)
    for index, function in enumerate(functions):
        alone = train(one(index), key=index + 1, label_fn=function)
        assert_same(swept.replica(index), alone)
        alone = train(one(index), key=index + 1, label_fn=function, alpha=weights[index])
        assert_same(both.replica(index), alone)


def test_keys_of_the_old_style_are_keys():
    """``jax.random.PRNGKey`` gives an array of two numbers, which are no seeds."""
    split = train(STACK, replicas=3, key=jax.random.key(7))
    assert_same(train(STACK, replicas=3, key=jax.random.PRNGKey(7)), split)
    keys = jax.random.split(jax.random.key(7), 3)
    for form in (jax.random.key_data(keys), list(keys)):
        assert_same(train(STACK, replicas=3, key=form), train(STACK, replicas=3, key=keys))


def test_spread_over_devices(tmp_path):
    """In a process of its own; the file is its program."""
    assert run([__file__, tmp_path], devices=2).split("\n") == [
        *["points 4", "points None", "networks 5", "networks None", "networks, resumed"],
        "points of three networks",
        "",
    ]


def points_over_devices(mesh, batch_size):
    spread = train(one(0), mesh=mesh, batch_size=batch_size)
    assert_same(spread, train(one(0), batch_size=batch_size))
    assert len(spread.params["w"].sharding.device_set) == 2
    with pytest.raises(ValueError, match="does not divide over the 2 devices of the mesh; take"):
        train(one(0), mesh=mesh, batch_size=5)
    print("points", batch_size)


def networks_over_devices(mesh, batch_size):
    """Two of four networks on each device, whatever the batch size."""
    spread = train(FOUR, mesh=mesh, replicas=4, batch_size=batch_size)
    assert_same(spread, train(FOUR, replicas=4, batch_size=batch_size))
    for leaf in jax.tree.leaves(spread.params):
        assert len(leaf.sharding.device_set) == 2
        assert {shard.data.shape for shard in leaf.addressable_shards} == {(2, *leaf.shape[1:])}
    print("networks", batch_size)


def resumed_over_devices(mesh, folder):
    """Another optimiser rate and weight for each network; interrupted at the fourth step."""
    rates, weights = np.array([0.01, 0.02, 0.03, 0.04]), [0.1, 0.2, 0.3, 0.4]
    options = {"mesh": mesh, "replicas": 4, "learning_rate": rates, "alpha": weights}

    def interrupt(step, params):
        del params
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(FOUR, **options, checkpoint=folder, on_record=interrupt)
    resumed = train(FOUR, **options, checkpoint=folder)
    plain = train(FOUR, **options)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, plain.params)
    np.testing.assert_array_equal(resumed.history.loss, plain.history.loss)
    print("networks, resumed")


def three_networks_on_two_devices(mesh):
    spread = train(STACK, mesh=mesh, replicas=3)
    assert_same(spread, train(STACK, replicas=3))
    with pytest.raises(ValueError, match="nor do 3 networks"):
        train(STACK, mesh=mesh, replicas=3, batch_size=5)
    print("points of three networks")


if __name__ == "__main__":
    FOUR = jax.tree.map(lambda leaf: jnp.concatenate([leaf, -leaf[:1]]), STACK)
    two = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    points_over_devices(two, 4)
    points_over_devices(two, None)
    networks_over_devices(two, 5)
    networks_over_devices(two, None)
    resumed_over_devices(two, Path(sys.argv[1]) / "run")
    three_networks_on_two_devices(two)
