"""Image networks against NumPy: batch and running statistics, padded batches, precision."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_networks as by_hand
import pytest
from flax.errors import InvalidRngError
from numpy_networks import quick

from ntk_air import networks
from ntk_air._numerics import relative_error

IMAGES = np.random.default_rng(0).normal(size=(5, 9, 8, 3))
NARROW = {
    "small_cnn": (
        networks.SmallCNN(num_outputs=3, features=(4, 6)),
        functools.partial(by_hand.small_cnn, depth=2),
    ),
    "small_cnn_ntk": (
        networks.SmallCNN(
            num_outputs=3, features=(4, 6), use_batch_norm=False, parameterization="ntk"
        ),
        functools.partial(by_hand.small_cnn, depth=2),
    ),
    "resnet": (
        networks.ResNet(num_outputs=3, blocks=(2, 1), stem_features=4),
        functools.partial(by_hand.resnet, blocks=(2, 1)),
    ),
    "wide_resnet": (
        networks.WideResNet(num_outputs=3, depth=10, widen=2, stem_features=2),
        functools.partial(by_hand.wide_resnet, per_group=1, widened=True),
    ),
}


@functools.cache
def variables_of(name):
    """Random variables: no scale, bias or running statistic is trivial."""
    shape = jax.ShapeDtypeStruct((1, *IMAGES.shape[1:]), jnp.float32)
    shapes = jax.eval_shape(NARROW[name][0].init, jax.random.key(0), shape)
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 2.0, leaf.shape)
        return rng.normal(size=leaf.shape) / 2

    return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.partial(quick, static_argnums=(0, 3))
def run(module, variables, images, train, mask=None):
    return module.apply(variables, images, train=train, mask=mask, mutable=["batch_stats"])


def close(tree, other, bound=1e-12):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert relative_error(a, b) < bound


@pytest.mark.parametrize("name", NARROW)
def test_training_uses_the_batch_and_evaluation_the_running_statistics(x64, name):
    module, forward = NARROW[name]
    variables = variables_of(name)
    for train in (True, False):
        expected = by_hand.Reference(variables, train, module.parameterization == "ntk")
        outputs, state = run(module, variables, IMAGES, train)
        assert relative_error(outputs, forward(expected, IMAGES)) < 1e-12
        close(state.get("batch_stats", {}), expected.stats)


@pytest.mark.parametrize("name", ["small_cnn", "resnet", "wide_resnet"])
def test_padding_rows_do_not_enter_the_statistics(x64, name):
    module, forward = NARROW[name]
    variables = variables_of(name)
    padded = np.concatenate([IMAGES[:3], np.full((2, *IMAGES.shape[1:]), 50.0)])
    expected = by_hand.Reference(variables, train=True)
    wanted = forward(expected, IMAGES[:3])
    for mask in (np.arange(5) < 3, np.array([1.0, 1.0, 1.0, 0.0, 0.0])):
        outputs, state = run(module, variables, padded, True, mask)
        assert relative_error(outputs[:3], wanted) < 1e-12
        close(state["batch_stats"], expected.stats)
    # Without the mask they do: the test above could fail.
    outputs, state = run(module, variables, padded, True)
    assert relative_error(outputs[:3], wanted) > 0.01


def test_gradients_of_a_padded_batch_are_those_of_its_points(x64):
    module, _ = NARROW["small_cnn"]
    variables = variables_of("small_cnn")

    @quick
    def gradient(images, mask):
        def loss(params):
            outputs, _ = module.apply(
                variables | {"params": params}, images, True, mask=mask, mutable=["batch_stats"]
            )
            return jnp.sum(mask[:, None] * (outputs - 1) ** 2)

        return jax.grad(loss)(variables["params"])

    padded = np.concatenate([IMAGES[:3], IMAGES[3:] * 20])
    masked = gradient(padded, np.array([1.0, 1, 1, 0, 0]))
    close(masked, gradient(IMAGES[:3], np.ones(3)), 1e-10)


@pytest.mark.parametrize("name", ["small_cnn", "resnet", "wide_resnet"])
def test_evaluation_is_point_by_point(x64, name):
    module, _ = NARROW[name]
    variables = variables_of(name)
    together, state = run(module, variables, IMAGES, False)
    alone, _ = run(module, variables, IMAGES[:1], False)
    assert relative_error(alone, together[:1]) < 1e-13
    close(state["batch_stats"], variables["batch_stats"], 1e-15)
    training, _ = run(module, variables, IMAGES, True)
    smaller, _ = run(module, variables, IMAGES[:2], True)
    assert relative_error(smaller, training[:2]) > 0.01


def test_half_precision_keeps_parameters_statistics_and_outputs_in_float32():
    module, _ = NARROW["resnet"]
    half = module.clone(dtype=jnp.bfloat16)
    images = IMAGES.astype(np.float32)
    shapes = jax.eval_shape(half.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), variables_of("resnet"))
    outputs, state = run(half, variables, images, True)
    exact, exact_state = run(module, variables, images, True)
    assert outputs.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}
    assert 1e-4 < relative_error(outputs, exact) < 0.05
    close(state, exact_state, 0.05)
    # The convolutions themselves are in half precision, on accelerators and on CPUs.
    traced = jax.jit(half.apply).trace(variables, images)
    for platform, operation in [
        ("cuda", "stablehlo.convolution"),
        ("cpu", "stablehlo.dot_general"),
    ]:
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        lines = [line.split("->")[-1] for line in program.splitlines() if operation in line]
        assert sum("bf16" in line for line in lines) == 8
        assert len(lines) == 8 + (platform == "cpu")  # and the readout, in float32


def test_zero_initialised_blocks_are_the_identity(x64):
    options = {"num_outputs": 3, "stem_features": 4}
    module = networks.ResNet(blocks=(1,), zero_init_residual=True, **options)
    variables = quick(module.init)(jax.random.key(0), IMAGES)
    scales = {k: v["scale"] for k, v in variables["params"].items() if "scale" in v}
    zeros = {name for name, scale in scales.items() if not scale.any()}
    assert zeros == {"stage_0_block_0_norm_1"}
    outputs, _ = run(module, variables, IMAGES, True)
    without_blocks = by_hand.resnet(by_hand.Reference(variables, train=True), IMAGES, ())
    assert relative_error(outputs, without_blocks) < 1e-6


def test_dropout_needs_a_key_in_training_only(x64):
    module = NARROW["wide_resnet"][0].clone(dropout=0.5)
    variables = variables_of("wide_resnet")

    @quick
    def train(key):
        options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
        return module.apply(variables, IMAGES, **options)[0]

    one, again, other = (train(jax.random.key(seed)) for seed in (1, 1, 2))
    assert jnp.array_equal(one, again)
    assert relative_error(other, one) > 0.01
    evaluated, _ = run(module, variables, IMAGES, False)
    expected = by_hand.Reference(variables, train=False)
    forward = NARROW["wide_resnet"][1]
    assert relative_error(evaluated, forward(expected, IMAGES)) < 1e-12
    with pytest.raises(InvalidRngError, match="dropout"):
        jax.eval_shape(lambda: module.apply(variables, IMAGES, train=True, mutable=["batch_stats"]))
