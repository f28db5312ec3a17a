"""Networks by name: sizes against published ones, kernels, bad input."""

from __future__ import annotations

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_networks import quick

import ntk_air as na
from ntk_air import networks
from ntk_air._numerics import relative_error


def count(module, shape):
    variables = jax.eval_shape(
        module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def resnet_by_hand(blocks, classes):
    """9 c c' per convolution, 2 c' per BatchNorm, c c' + 2 c' per shortcut."""
    total, before = 9 * 3 * 64 + 2 * 64, 64
    for stage, number in enumerate(blocks):
        width = 64 * 2**stage
        if width != before:
            total += before * width + 2 * width
        total += 9 * before * width + (2 * number - 1) * 9 * width**2 + 2 * number * 2 * width
        before = width
    return total + before * classes + classes


def wide_resnet_by_hand(depth, widen, classes):
    total, before, number = 9 * 3 * 16, 16, (depth - 4) // 6
    for width in (16 * widen, 32 * widen, 64 * widen):
        total += 0 if before == width else before * width
        total += 2 * before + 2 * width * (2 * number - 1)
        total += 9 * before * width + (2 * number - 1) * 9 * width**2
        before = width
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize("parameterization", networks.PARAMETERIZATIONS)
@pytest.mark.parametrize(
    ("name", "published", "by_hand"),
    [
        # github.com/kuangliu/pytorch-cifar; WRN: arXiv:1605.07146 gives 2.7M, 36.5M.
        ("resnet18", 11_173_962, resnet_by_hand((2, 2, 2, 2), 10)),
        ("resnet34", 21_282_122, resnet_by_hand((3, 4, 6, 3), 10)),
        ("wide_resnet_16_4", 2_748_890, wide_resnet_by_hand(16, 4, 10)),
        ("wide_resnet_28_10", 36_479_194, wide_resnet_by_hand(28, 10, 10)),
    ],
)
def test_parameters_are_as_many_as_published(name, published, by_hand, parameterization):
    module = networks.create(name, num_outputs=10, parameterization=parameterization)
    assert count(module, (1, 32, 32, 3)) == published == by_hand


def test_resnet34_is_built_of_the_published_blocks():
    """Kernels of every convolution, by hand; as torchvision's with its stem and 1000 classes."""
    module = networks.ResNet34(num_outputs=1000)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    expected, before = [(3, 3, 3, 64)], 64
    for width, number in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        expected += [(1, 1, before, width)] * (width != before)
        expected += [(3, 3, before, width)] + [(3, 3, width, width)] * (2 * number - 1)
        before = width
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 4]
    assert sorted(kernels) == sorted(expected)
    assert len(expected) - 3 == 33, "33 convolutions and the readout, besides three shortcuts"
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert total + (7 * 7 - 3 * 3) * 3 * 64 == 21_797_672
    assert networks.create("resnet34", num_outputs=1000) == module


def test_parameters_of_the_small_networks():
    unwidened = networks.WideResNet(num_outputs=10, depth=16, widen=1)
    assert count(unwidened, (1, 32, 32, 3)) == wide_resnet_by_hand(16, 1, 10)
    mlp = networks.create("mlp", num_outputs=10, features=(50, 20))
    assert count(mlp, (1, 28, 28, 1)) == 784 * 50 + 50 + 50 * 20 + 20 + 20 * 10 + 10
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128)
    cnn = networks.create("small_cnn", num_outputs=10)
    assert count(cnn, (1, 28, 28, 1)) == convolutions + 2 * 224 + 9 * 128 * 10 + 10
    assert count(cnn.clone(use_batch_norm=False), (1, 32, 32, 1)) == (
        convolutions + 224 + 16 * 128 * 10 + 10
    )
    assert count(cnn.clone(pooling="gap"), (1, 32, 32, 1)) == (
        convolutions + 2 * 224 + 128 * 10 + 10
    )


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_network_takes_train_and_mask(name):
    module = networks.create(name, num_outputs=4)
    images = jax.ShapeDtypeStruct((6, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    for train in (True, False):
        outputs, state = jax.eval_shape(
            lambda v, x, m, train=train: module.apply(
                v, x, train=train, mask=m, mutable=["batch_stats"]
            ),
            variables,
            images,
            jax.ShapeDtypeStruct((6,), bool),
        )
        assert outputs.shape == (6, 4)
        stats = {k: variables[k] for k in ("batch_stats",) if k in variables}
        assert jax.tree.map(lambda s: (s.shape, s.dtype), state) == jax.tree.map(
            lambda s: (s.shape, s.dtype), stats
        )


@pytest.mark.parametrize(
    "module",
    [
        networks.MLP(num_outputs=2, features=(5, 4), activation="gelu", parameterization="ntk"),
        networks.ResNet(num_outputs=2, blocks=(1,), stem_features=3, parameterization="ntk"),
    ],
    ids=["mlp", "resnet"],
)
def test_kernel_of_the_network_in_evaluation_mode(module):
    images = np.random.default_rng(0).normal(size=(4, 5, 5, 2)).astype(np.float32)
    variables = quick(module.init)(jax.random.key(0), images)
    apply_fn, params = na.kernels.functional(module, variables)

    @quick
    def by_jacobian(params):
        evaluated = module.apply(variables | {"params": params}, images, train=False)
        return apply_fn(params, images), evaluated, jax.jacrev(apply_fn)(params, images)

    outputs, evaluated, jacobian = by_jacobian(params)
    assert relative_error(outputs, evaluated) < 1e-6
    flat = [np.asarray(leaf, float).reshape(4, 2, -1) for leaf in jax.tree.leaves(jacobian)]
    expected = sum(np.einsum("iap,jap->ij", leaf, leaf) for leaf in flat) / 2
    kernel = na.kernels.empirical_ntk(apply_fn, params, images, implementation="layerwise")
    assert relative_error(kernel, expected) < 1e-5


def test_activations_are_those_of_the_kernels():
    """Under the same name: the linear model's features through each of them."""
    x = np.linspace(-2, 2, 11, dtype=np.float32)[:, None]
    assert set(networks.ACTIVATIONS) <= set(na.kernels.ACTIVATIONS)
    for name, function in networks.ACTIVATIONS.items():
        net = na.kernels.fully_connected(1, 1, activation=name, weight_std=1.0, bias_std=0.0)
        _, params = net.init_fn(jax.random.key(0), x.shape)
        ones = jax.tree.map(jnp.ones_like, params)
        assert relative_error(function(x), net.apply_fn(ones, x)) < 1e-6, name


def test_unknown_names_and_options_are_listed():
    with pytest.raises(ValueError, match="name is 'vgg', expected one of 'mlp', 'small_cnn'"):
        networks.create("vgg", num_outputs=10)
    with pytest.raises(ValueError, match=r"mlp has no option depth, expected .*features"):
        networks.create("mlp", num_outputs=10, depth=3)
    with pytest.raises(ValueError, match="wide_resnet_16_4 has no option widen"):
        networks.create("wide_resnet_16_4", num_outputs=10, widen=2)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("MLP", {"num_outputs": 0}, "num_outputs is 0"),
        ("MLP", {"features": 256}, r"features is 256, expected a tuple .*features=\(256,\)"),
        ("MLP", {"features": [5, 4]}, r"features is \[5, 4\], .*features=\(5, 4\)"),
        ("MLP", {"features": (5, 0)}, r"features\[1\] is 0"),
        ("MLP", {"activation": "swish2"}, "activation is 'swish2', expected one of 'relu'"),
        ("MLP", {"parameterization": "mup"}, "parameterization is 'mup'"),
        ("MLP", {"weight_std": 0.0}, "weight_std is 0"),
        ("MLP", {"bias_std": -1.0}, "bias_std is -1"),
        ("SmallCNN", {"pooling": "max"}, "pooling is 'max'"),
        ("ResNet", {"blocks": (1, 0)}, r"blocks\[1\] is 0"),
        ("ResNet18", {"stem_features": 2.5}, "stem_features is 2.5"),
        ("WideResNet", {"depth": 20}, r"depth is 20, expected 6·N \+ 4"),
        ("WideResNet", {"widen": 0}, "widen is 0"),
        ("WideResNet", {"dropout": 1.0}, "dropout is 1"),
    ],
)
def test_networks_that_do_not_exist_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(networks, kind)(**{"num_outputs": 3} | options)


@pytest.mark.parametrize(
    ("kind", "shape", "rows", "message"),
    [
        ("MLP", (7,), None, r"inputs have shape \(7,\), expected \(n, d\)"),
        ("MLP", (7, 2), 6, r"mask has shape \(6,\) .* expected \(n,\) = \(7,\)"),
        ("SmallCNN", (32, 32, 3), None, r"images has shape \(32, 32, 3\)"),
        ("SmallCNN", (2, 7, 9, 1), None, "sides of at least 8: the network halves them 3 times"),
        ("ResNet18", (2, 32 * 32 * 3), None, r"images has shape \(2, 3072\)"),
        ("ResNet18", (2, 32, 32, 3), 3, r"mask has shape \(3,\)"),
        ("WideResNet", (2, 3, 3, 3), None, "sides of at least 4"),
    ],
)
def test_inputs_of_another_shape_are_refused(kind, shape, rows, message):
    module = getattr(networks, kind)(num_outputs=3)
    mask = None if rows is None else jnp.ones(rows, bool)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mask=mask), jnp.ones(shape))


def test_importing_the_package_does_not_import_flax():
    code = "import sys, ntk_air; assert 'flax' not in sys.modules; ntk_air.networks.MLP"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
