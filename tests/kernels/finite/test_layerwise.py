"""The layerwise kernel equals the product of Jacobians, whatever a network is made of."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import ntk_air as na
from ntk_air._numerics import relative_error
from ntk_air.kernels.finite import _layerwise
from ntk_air.kernels.finite._layerwise import LayerwiseProgram
from ntk_air.kernels.finite._parameter_sites import analyse
from ntk_air.kernels.tiling import _tiles


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_products_of_many_points():
    """From sixteen points on each side a product takes its second factor transposed."""
    params = [np.float32(normal(seed, 300, 2)) for seed in (0, 1)]

    def network(params, x):
        return jnp.square(x) @ params[0] + (x @ params[1]) ** 2

    for sides in ((18, 25), (40, 15)):
        x1, x2 = (np.float32(normal(3 + seed, n, 300)) for seed, n in enumerate(sides))
        one, two = (2 * x.astype(float) @ params[1] for x in (x1, x2))
        expected = (x1.astype(float) ** 2) @ (x2.T.astype(float) ** 2)
        expected += x1.astype(float) @ x2.T * (one @ two.T) / 2
        kernel = na.kernels.empirical_ntk(network, params, x1, x2, implementation="layerwise")
        assert relative_error(kernel, expected) < 1e-6


def test_products_whose_parameters_come_first(x64):
    """Batched, with several axes of outputs, and data between the axes of parameters."""

    def network(params, x):
        y = lax.dot_general(params["first"], x, (((3,), (2,)), ((1,), (1,))))
        return jnp.tanh(y).transpose(3, 0, 1, 2).reshape(len(x), -1) @ params["last"]

    params = {"first": normal(1, 3, 2, 5, 4), "last": normal(2, 30, 2)}
    x = normal(0, 5, 2, 4)
    kernel = na.kernels.empirical_ntk(network, params, x, implementation="layerwise")
    assert relative_error(kernel, from_jacobians(network, params, x, "trace")) < 1e-12


@pytest.mark.parametrize("rows", [1, 9, 512])
def test_products_over_positions_whatever_the_number_at_a_time(rows, x64, monkeypatch):
    monkeypatch.setattr(_layerwise, "_ROWS", rows)
    h1, b1, h2, b2 = (
        normal(i, t, 6, k) for i, (t, k) in enumerate([(4, 3), (4, 5), (2, 3), (2, 5)])
    )
    expected = np.einsum("ipa,jra,ipb,jrb->ij", h1, h2, b1, b2)
    assert relative_error(_layerwise._over_positions(h1, b1, h2, b2), expected) < 1e-13


def from_jacobians(apply_fn, params, x, outputs):
    """The definition: Jacobians of all floating parameters, multiplied."""
    leaves, tree = jax.tree.flatten(params)
    moving = [i for i, p in enumerate(leaves) if jnp.issubdtype(p.dtype, jnp.floating)]

    def network(values):
        full = list(leaves)
        for i, value in zip(moving, values, strict=True):
            full[i] = value
        return apply_fn(jax.tree.unflatten(tree, full), x)

    jacobian = jax.jit(jax.jacrev(network))([leaves[i] for i in moving])
    flat = jnp.concatenate([j.reshape(*j.shape[:2], -1) for j in jacobian], axis=-1)
    full = jnp.einsum("iap,jbp->iajb", flat, flat)
    n, c, _, _ = full.shape
    if outputs == "full":
        return full.reshape(n * c, n * c)
    per_output = jnp.einsum("iaja->aij", full)
    return per_output.mean(0) if outputs == "trace" else per_output


class Convolutions(nn.Module):
    """Strides, dilation, groups, no padding, one-by-one, and a norm that is not a product."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.Conv(6, (3, 2), feature_group_count=2, kernel_dilation=2, padding="SAME")(x)
        x = nn.gelu(nn.Conv(3, (1, 1), use_bias=False)(nn.LayerNorm()(x)))
        x = nn.ConvTranspose(2, (2, 2), strides=(2, 2))(x)
        return nn.Dense(2)(nn.avg_pool(x, (2, 2)).reshape(x.shape[0], -1))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], 6, -1)
        start = self.param("start", nn.initializers.normal(1.0), (1, 1, x.shape[-1]))
        x = jnp.concatenate([jnp.broadcast_to(start, (len(x), 1, x.shape[-1])), x], axis=1)
        x = x + nn.MultiHeadDotProductAttention(2, qkv_features=4)(x)
        return nn.Dense(2)(nn.LayerNorm()(x)[:, 0])


class Tied(nn.Module):
    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(4)
        x = nn.tanh(layer(nn.tanh(layer(x.reshape(len(x), -1)[:, :4]))))
        return nn.WeightNorm(nn.Dense(3))(x)


@functools.cache
def linen(module):
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 6, 6, 2)))
    params = jax.tree.map(lambda p: p.astype(jnp.float64) + 0.1, variables["params"])
    return (lambda p, x: module.apply({"params": p}, x)), params


@jax.custom_vjp
def clipped(w, x):
    return jnp.tanh(x @ w)


clipped.defvjp(
    lambda w, x: (clipped(w, x), (w, x)),
    lambda saved, g: (saved[1].T @ g, 0.5 * g @ saved[0].T),
)


def stacked_layers(p, x):
    def layer(h, w):
        return jnp.tanh(h @ w), None

    return lax.scan(layer, x[:, 0, 0] @ p["in"], p["stack"])[0]


def odd_shapes(p, x):
    """Parameters on the left, channels first, per-head weights, a bias skipped by a shortcut."""
    h = jnp.tanh(jnp.einsum("ok,nhwk->nohw", p["left"], x))
    h = lax.conv_general_dilated(
        h, p["filters"], (2, 1), ((1, 0), (0, 2)), dimension_numbers=("NCHW", "OIHW", "NHWC")
    )
    heads = jnp.einsum("nhwc,hcd->nhwd", h, p["heads"])
    z = heads.reshape(len(x), -1) @ p["dense"]
    return jnp.tanh(z + p["bias"]) / p["divisor"] + z


def tables(p, x):
    index = jnp.int32(jnp.abs(10 * x[:, 0, 0, 0])) % 5
    picked = p["table"][index]
    sign = jnp.where(x[:, 0, 0] > 0, p["high"], p["low"])
    return jnp.sin(picked) @ p["out"] + sign + 0.0 * p["steps"]


def called(p, x):
    inner = jax.jit(lambda w, h: -(h @ (2.0 * w.T)) + 0.5 * p["bias"])
    return jax.checkpoint(lambda h: jnp.tanh(inner(p["w"], h)))(x[:, 0, 0]) * p["scale"]


def network(name):
    """(apply_fn, params) in float64."""
    linens = {"convolutions": Convolutions, "attention": Attention, "tied": Tied}
    if name in linens:
        return linen(linens[name]())
    return {
        "scan": (stacked_layers, {"in": normal(1, 2, 3), "stack": normal(2, 4, 3, 3)}),
        "odd": (
            odd_shapes,
            {
                "left": normal(1, 3, 2),
                "filters": normal(2, 4, 3, 2, 3),
                "heads": normal(3, 3, 4, 2),
                "dense": normal(4, 36, 2),
                "bias": normal(5, 2),
                "divisor": normal(6, 2),
            },
        ),
        "tables": (
            tables,
            {
                "table": normal(1, 5, 3),
                "out": normal(2, 3, 2),
                "high": normal(3, 2),
                "low": normal(4, 1, 2),
                "steps": jnp.int32(3),
            },
        ),
        "calls": (called, {"w": normal(1, 3, 2), "bias": normal(2, 3), "scale": normal(3, 3)}),
        "custom_vjp": (
            lambda p, x: clipped(p["w"], jnp.tanh(x[:, 0, 0] @ p["first"])),
            {"w": normal(1, 3, 2), "first": normal(2, 2, 3)},
        ),
    }[name]


NETWORKS = ("convolutions", "attention", "tied", "scan", "odd", "tables", "calls", "custom_vjp")


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_product_of_jacobians(name, outputs, x64):
    apply_fn, params = network(name)
    x = normal(0, 5, 6, 6, 2)
    if name == "convolutions" and outputs == "full":
        outputs = "per_output"
    kernel = na.kernels.empirical_ntk(
        apply_fn, params, x, outputs=outputs, implementation="layerwise", tile_size=3
    )
    assert relative_error(kernel, from_jacobians(apply_fn, params, x, outputs)) < 1e-12


def forms(apply_fn, params, x):
    """How many layers are contracted in which way."""
    features = jax.eval_shape(LayerwiseProgram(apply_fn, "trace").features, params, x)
    return {name: len(parts) for name, parts in features.items()}


def test_each_form_is_used_where_it_is_cheaper(x64):
    """Few positions and many channels: products over positions; the opposite: Jacobians."""

    def conv(p, x):
        y = lax.conv_general_dilated(
            x, p["w"], (3, 3), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.tanh(y).reshape(len(x), -1) @ p["out"]

    few = {"w": normal(1, 3, 3, 8, 64), "out": normal(2, 256, 2)}
    x = normal(0, 4, 6, 6, 8)
    assert forms(conv, few, x) == {"dense": 1, "shared": 1, "jacobian": 0}
    many = {"w": normal(1, 3, 3, 8, 2), "out": normal(2, 8, 2)}
    assert forms(conv, many, x) == {"dense": 1, "shared": 0, "jacobian": 1}
    for params in (few, many):
        kernel = na.kernels.empirical_ntk(conv, params, x, implementation="layerwise")
        assert relative_error(kernel, from_jacobians(conv, params, x, "trace")) < 1e-12


def test_a_bias_is_one_more_input_of_its_layer():
    """Merged where the layer's output goes nowhere else, kept apart where it does."""
    arch = na.kernels.fully_connected(2, 8, num_outputs=3)
    _, params = arch.init_fn(jax.random.key(0), (-1, 5))
    assert forms(arch.apply_fn, params, jnp.zeros((1, 5))) == {
        "dense": 3,
        "shared": 0,
        "jacobian": 0,
    }

    def shortcut(p, x):
        z = x @ p["w"]
        return jnp.tanh(z + p["b"]) + z

    params = {"w": jnp.ones((5, 2)), "b": jnp.ones(2)}
    assert forms(shortcut, params, jnp.zeros((1, 5))) == {"dense": 1, "shared": 0, "jacobian": 1}


def test_scales_are_recognised_however_they_are_written():
    """A factor of a weight is not a function of it: the layer keeps its own factors."""
    scale = jnp.float32(0.5)

    def scaled(p, x):
        w = jnp.sqrt(2.0 / x.shape[1]) * scale * p["w"].T / 3
        return jnp.tanh(x @ w) @ p["out"]

    params = {"w": jnp.ones((2, 5)), "out": jnp.ones((2, 2))}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)
    assert forms(scaled, params, x) == {"dense": 2, "shared": 0, "jacobian": 0}
    kernel = na.kernels.empirical_ntk(scaled, params, x, implementation="layerwise")
    assert relative_error(kernel, from_jacobians(scaled, params, x, "trace")) < 1e-5


def test_outputs_that_ignore_the_input(x64):
    params = {"b": normal(0, 2), "w": normal(1, 2, 2)}

    def constant(p, x):
        return jnp.broadcast_to(p["b"], (len(x), 2))

    x = normal(2, 3, 2)
    with pytest.raises(ValueError, match="do not depend on the inputs"):
        na.kernels.empirical_ntk(constant, params, x, implementation="layerwise")
    kernel = na.kernels.empirical_ntk(constant, params, x)
    assert np.allclose(kernel, 1.0)


def test_a_point_is_differentiated_once_whatever_the_number_of_tiles():
    """Features are computed once per block of points, not once per tile."""
    arch = na.kernels.fully_connected(1, 8, num_outputs=2)
    _, params = arch.init_fn(jax.random.key(0), (-1, 5))
    x = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    blocks = []
    original = _tiles.features_of

    def counting(*arguments):
        blocks.append(1)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiles, "features_of", counting)
        na.kernels.empirical_ntk(arch.apply_fn, params, x, implementation="layerwise", tile_size=4)
    assert len(blocks) == 6  # for 21 tiles


def test_convolutions_with_a_form_for_each_platform_are_convolutions(x64):
    module = na.networks.SmallCNN(num_outputs=3, features=(2, 4), use_batch_norm=False)
    x = normal(0, 4, 8, 8, 2)
    drawn = jax.jit(module.init)(jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), drawn)
    leaves, tree = jax.tree.flatten(params)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    point = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    network = analyse(module.apply, tree, shapes, point, jnp.dtype(jnp.float64))
    kinds = [site.kind for site in network.sites if site.leaf is not None and site.kind != "direct"]
    assert kinds == ["conv", "conv", "dot"]
    kernel = na.kernels.empirical_ntk(module.apply, params, x, implementation="layerwise")
    assert relative_error(kernel, from_jacobians(module.apply, params, x, "trace")) < 1e-12


def test_parameters_in_single_precision_beside_inputs_in_double(x64):
    x, weights = normal(0, 5, 3), normal(1, 3, 2).astype(jnp.float32)
    kernel = na.kernels.empirical_ntk(lambda w, x: jnp.tanh(x @ w), weights, x)
    slopes = 1 - np.tanh(x @ weights) ** 2
    assert relative_error(kernel, (x @ x.T) * (slopes @ slopes.T) / 2) < 1e-6
