"""Layers of architectures equal stax's; settings."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air import _neural_tangents
from ntk_air._numerics import relative_error
from ntk_air.kernels.architectures._activations import arctan2
from ntk_air.kernels.architectures._attention import self_attention
from ntk_air.kernels.architectures._convolution import convolution
from ntk_air.kernels.architectures._residual import residual, wide_resnet

KINDS = ("nngp", "ntk")
FAST = {
    "relu": ("Relu", ()),
    "leaky_relu": ("LeakyRelu", (0.1,)),
    "abs": ("Abs", ()),
    "erf": ("Erf", ()),
    "sigmoid_like": ("Sigmoid_like", ()),
    "gelu": ("Gelu", ()),
}


def draw(n, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


@pytest.mark.parametrize(("activation", "layout"), [
    *((activation, "fully_connected") for activation in FAST),
    ("relu", "gap"),
    ("erf", "flatten"),
])  # fmt: skip
def test_equals_plain_neural_tangents(activation, layout):
    """In float32 to round-off and in value and gradient; no less accurate against float64."""
    stax = _neural_tangents.load().stax
    options = {"W_std": 1.3, "b_std": 0.2}
    name, arguments = FAST[activation]
    same = {"activation": activation, "weight_std": 1.3, "bias_std": 0.2}
    if layout == "fully_connected":
        layers = [stax.Dense(8, **options), getattr(stax, name)(*arguments)] * 3
        ours, shape = na.kernels.fully_connected(3, 8, **same), (6,)
    else:
        conv = stax.Conv(8, (3, 3), padding="SAME", **options)
        layers = [conv, getattr(stax, name)(*arguments)] * 2
        layers.append(stax.GlobalAvgPool() if layout == "gap" else stax.Flatten())
        ours, shape = na.kernels.convolutional(2, 8, pooling=layout, **same), (4, 3, 2)
    *_, plain = stax.serial(*layers, stax.Dense(1, **options))
    a, b = draw(4, *shape), draw(3, *shape, seed=1)

    def both(kernel_fn):
        def total(x, y):
            return kernel_fn(x, y, "ntk").sum()

        return jax.jit(lambda x, y: (*kernel_fn(x, y, KINDS), jax.grad(total)(x, y)))

    found, expected = both(ours.kernel_fn)(a, b), both(plain)(a, b)
    with jax.enable_x64(True):
        exact = [np.asarray(v) for v in both(plain)(a.astype(np.float64), b.astype(np.float64))]
        in_double = both(ours.kernel_fn)(a.astype(np.float64), b.astype(np.float64))
        assert all(relative_error(f, e) < 1e-12 for f, e in zip(in_double, exact, strict=True))
    for value, theirs, reference in zip(found, expected, exact, strict=True):
        assert relative_error(value, theirs) < 3e-6
        assert relative_error(value, reference) < 2 * relative_error(theirs, reference) + 1e-6


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 1, 5), (3, 2, 5), (3, 2, 4), (2, 1, 3)])
def test_convolution_equals_stax(size, stride, side):
    stax = _neural_tangents.load().stax
    options = {"W_std": 1.2, "b_std": 0.3}
    theirs = stax.Conv(4, (size, size), (stride, stride), "SAME", **options)
    ours = convolution(4, size, weight_std=1.2, bias_std=0.3, stride=stride)
    a, b = draw(3, side, side + 1, 2), draw(2, side, side + 1, 2, seed=1)
    first = stax.serial(theirs, stax.Relu(), theirs, stax.GlobalAvgPool())
    second = stax.serial(ours, stax.Relu(), ours, stax.GlobalAvgPool())
    found, expected = (
        jax.jit(lambda a, b, kernel_fn=net[2]: kernel_fn(a, b, KINDS))(a, b)
        for net in (second, first)
    )
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 1e-6
    key = jax.random.key(0)
    outputs = [net[1](net[0](key, (1, *a.shape[1:]))[1], a) for net in (first, second)]
    assert np.array_equal(*outputs)


def test_masked_inputs_go_to_neural_tangents():
    stax = _neural_tangents.load().stax
    arch = na.kernels.convolutional(1, 4, activation="erf", pooling="gap", bias_std=0.2)
    layers = [stax.Conv(4, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.2), stax.Erf()]
    plain = stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(1, 2**0.5, 0.2))
    x = draw(3, 4, 4, 2)
    x[0, 2:] = 100.0
    masked = {"get": "ntk", "mask_constant": 100.0}
    assert relative_error(arch.kernel_fn(x, **masked), plain[2](x, **masked)) < 1e-6
    assert relative_error(arch.kernel_fn(x, get="ntk"), plain[2](x, **masked)) > 0.1


def test_angle_is_as_accurate_as_float32_allows():
    rng = np.random.default_rng(0)
    y, x = rng.normal(size=(2, 100_000)) * 10.0 ** rng.uniform(-18, 18, (2, 100_000))
    y, x = y.astype(np.float32), x.astype(np.float32)
    exact = np.arctan2(y.astype(np.float64), x.astype(np.float64))
    ulps = np.abs(np.asarray(arctan2(y, x)) - exact) / np.spacing(np.abs(exact, dtype=np.float32))
    # Where the angle itself is subnormal nothing is promised.
    assert ulps[np.abs(exact) > 1e-37].max() < 3
    assert np.asarray(arctan2(jnp.zeros(1), jnp.zeros(1)))[0] == np.float32(np.pi / 2)
    assert np.asarray(arctan2(jnp.zeros(2), jnp.asarray([1.0, -1.0]))).tolist() == [
        0.0,
        float(np.float32(np.pi)),
    ]


@pytest.mark.parametrize("build", [residual, wide_resnet, self_attention])
def test_same_arguments_give_the_same_architecture(build):
    assert build(2, 3, num_outputs=5) is build(2, 3, num_outputs=5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: residual(-1), "depth"),
        (lambda: residual(1, 0), "width is 0"),
        (lambda: residual(1, activation="swoosh"), "activation is 'swoosh'"),
        (lambda: residual(1, bias_std=-1.0), "bias_std is -1.0"),
        (lambda: wide_resnet(0), "block_size is 0"),
        (lambda: wide_resnet(1, 0), "widen_factor is 0"),
        (lambda: wide_resnet(1, num_outputs=0), "num_outputs is 0"),
        (lambda: self_attention(0), "depth .* is 0"),
        (lambda: self_attention(1, num_heads=0), "num_heads is 0"),
        (lambda: self_attention(1, query_key_std=math.inf), "query_key_std is inf"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("widen", [1, 2])
def test_channels_of_a_wide_resnet(widen):
    """16, then 16, 32 and 64 times the factor, each twice as often as there are blocks."""
    network = wide_resnet(2, widen, num_outputs=3)
    shapes = jax.eval_shape(lambda k: network.init_fn(k, (1, 8, 8, 3))[1], jax.random.key(0))
    found = sorted(
        leaf.shape[-1] for leaf in jax.tree.leaves(shapes) if leaf.ndim == 4 and leaf.shape[0] == 3
    )
    # A convolution beside each group's first block, where the shape changes.
    expected = [16] + [16 * factor * widen for factor in (1, 2, 4) for _ in range(2 * 2 + 1)]
    assert found == sorted(expected)
