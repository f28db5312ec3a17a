"""NTK parameterisation against neural-tangents' layers and the infinite-width kernel."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_networks import quick

import ntk_air as na
from ntk_air import networks
from ntk_air._numerics import relative_error

X = np.random.default_rng(0).normal(size=(6, 10))
IMAGES = np.random.default_rng(1).normal(size=(4, 6, 5, 2))


def double(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), tree)


def as_flax(stax_params, names):
    """neural-tangents' (W, b) pairs under flax's names; layers without parameters are skipped."""
    pairs = [pair for pair in stax_params if pair]
    return {
        name: {"kernel": w, "bias": b.reshape(-1)}
        for name, (w, b) in zip(names, pairs, strict=True)
    }


def test_mlp_is_the_architecture_of_the_kernels(x64):
    options = {"weight_std": 1.3, "bias_std": 0.2}
    net = na.kernels.fully_connected(2, 7, num_outputs=3, activation="erf", **options)
    params = quick(lambda key: net.init_fn(key, X.shape)[1])(jax.random.key(0))
    module = networks.MLP(
        num_outputs=3, features=(7, 7), activation="erf", parameterization="ntk", **options
    )
    variables = {"params": as_flax(double(params), ("hidden_0", "hidden_1", "readout"))}
    expected = quick(net.apply_fn)(double(params), X)
    assert relative_error(quick(module.apply)(variables, X), expected) < 1e-13


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(networks.NTKConv(features=6, weight_std=1.2, bias_std=0.3, name="conv")(x))
        x = x.mean((1, 2))
        return networks.NTKDense(features=2, weight_std=1.2, bias_std=0.3, name="readout")(x)


def test_convolution_is_the_architecture_of_the_kernels(x64):
    net = na.kernels.convolutional(1, 6, num_outputs=2, pooling="gap", weight_std=1.2, bias_std=0.3)
    params = quick(lambda key: net.init_fn(key, IMAGES.shape)[1])(jax.random.key(0))
    variables = {"params": as_flax(double(params), ("conv", "readout"))}
    expected = quick(net.apply_fn)(double(params), IMAGES)
    assert relative_error(quick(ConvNet().apply)(variables, IMAGES), expected) < 1e-13


def mlp(width, parameterization, num_outputs=1):
    module = networks.MLP(
        num_outputs=num_outputs, features=(width, width), parameterization=parameterization
    )
    variables = quick(module.init)(jax.random.key(0), X.astype(np.float32))
    return module, variables


def test_kernel_tends_to_the_infinite_one_as_one_over_the_root_of_the_width():
    x, seeds = X.astype(np.float32), 6
    infinite = np.asarray(na.kernels.infinite_ntk(na.kernels.fully_connected(2), x))
    spread, of_mean = [], []
    for width in (128, 2048):
        module = networks.MLP(num_outputs=1, features=(width, width), parameterization="ntk")
        init = jax.jit(module.init)
        draws = [init(jax.random.key(seed), x) for seed in range(seeds)]
        apply_fn, _ = na.kernels.functional(module, draws[0])
        kernels = [
            na.kernels.empirical_ntk(apply_fn, draw["params"], x, implementation="layerwise")
            for draw in draws
        ]
        errors = [relative_error(kernel, infinite) for kernel in kernels]
        spread.append(np.sqrt(np.mean(np.square(errors))))
        of_mean.append(relative_error(np.mean(kernels, 0), infinite))
    # Sixteen times the width: a quarter of the error, up to the chance of six draws.
    assert 2 < spread[0] / spread[1] < 8
    assert spread[1] < 0.1
    assert of_mean[1] < 0.05


@pytest.mark.parametrize("parameterization", networks.PARAMETERIZATIONS)
def test_speed_depends_on_the_width_in_standard_parameterisation_only(parameterization):
    """How far 15 gradient steps bring the loss down, at widths 128 and 1024."""
    target = np.sign(X[:, :1]).astype(np.float32)
    speeds = []
    for width in (128, 1024):
        module, variables = mlp(width, parameterization)

        @quick
        def speed(params, module=module):
            def loss(params):
                outputs = module.apply({"params": params}, X)
                return jnp.sum((outputs - start - target) ** 2) / 2

            def step(_, params):
                return jax.tree.map(lambda p, g: p - 2e-4 * g, params, jax.grad(loss)(params))

            start = module.apply({"params": params}, X)
            return -jnp.log(loss(jax.lax.fori_loop(0, 15, step, params)) / loss(params))

        speeds.append(float(speed(variables["params"])))
    ratio = speeds[1] / speeds[0]
    assert abs(ratio - 1) < 0.15 if parameterization == "ntk" else ratio > 3


def test_both_parameterisations_are_one_function_up_to_the_scale_of_parameters(x64):
    """NTK parameters times their factors are standard parameters, in value and distribution."""
    _, ntk = mlp(400, "ntk", num_outputs=50)
    module, standard = mlp(400, "standard", num_outputs=50)
    fan_in = {"hidden_0": 10, "hidden_1": 400, "readout": 400}
    scaled = {
        name: {
            "kernel": double(ntk["params"][name]["kernel"]) * np.sqrt(2 / n),
            "bias": double(ntk["params"][name]["bias"]) * 0.1,
        }
        for name, n in fan_in.items()
    }
    expected = quick(module.clone(parameterization="ntk").apply)(double(ntk), X)
    assert relative_error(quick(module.apply)({"params": scaled}, X), expected) < 1e-12
    for name in fan_in:
        for part in ("kernel", "bias"):
            drawn = np.asarray(standard["params"][name][part], float)
            spread = drawn.std() / scaled[name][part].std()
            assert abs(spread - 1) < 5 / np.sqrt(drawn.size)
            assert abs(drawn.mean()) < 5 * drawn.std() / np.sqrt(drawn.size)


def test_convolutions_are_drawn_by_he():
    module = networks.ResNet(num_outputs=10, blocks=(1,), stem_features=48)
    image = np.zeros((1, 4, 4, 3), np.float32)
    for kind in networks.PARAMETERIZATIONS:
        params = quick(module.clone(parameterization=kind).init)(jax.random.key(0), image)["params"]
        for name in ("stem", "stage_0_block_0_conv_0"):
            kernel = np.asarray(params[name]["kernel"])
            wanted = 1.0 if kind == "ntk" else np.sqrt(2 / np.prod(kernel.shape[:3]))
            assert abs(kernel.std() / wanted - 1) < 0.08
            assert set(params[name]) == {"kernel"}
