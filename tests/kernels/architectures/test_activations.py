"""Every activation: its network and both its kernels, against its formula in NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from activation_duals import FUNCTIONS, expectations, fully_connected_kernels
from closed_form import Covariances, relu_kernels

import ntk_air as na
from ntk_air._numerics import relative_error

KINDS = ("nngp", "ntk")
OPTIONS = {"weight_std": 1.2, "bias_std": 0.1}
# tanh's series is cut at poles as close as at a variance of 4. Where points coincide the slopes of
# kinks lose half of the digits of float64, in any formula of the angle.
TOLERANCES = {"tanh": 1e-7, "relu": 1e-8, "leaky_relu": 1e-8, "abs": 1e-8}


def on_circles():
    """Variances of about 0.1, 1 and 4 at every angle: correlations of -0.99 to 0.99, and 1."""
    sizes = np.sqrt(2 * np.array([0.1, 1.0, 4.0])) / OPTIONS["weight_std"]
    angles = np.arccos([1.0, 0.99, 0.7, 0.0, -0.5, -0.99])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return sizes[:, None] * circle[0], (sizes[:, None, None] * circle).reshape(-1, 2)


@pytest.mark.parametrize(
    ("name", "depth"),
    [*((name, 1) for name in FUNCTIONS), *((name, 2) for name in ("erf", "rbf", "tanh", "elu"))],
)
def test_kernels_equal_quadrature(name, depth):
    arch = na.kernels.fully_connected(depth, 8, activation=name, **OPTIONS)
    x1, x2 = on_circles()
    nngp, ntk, nngp_diagonal, ntk_diagonal = fully_connected_kernels(
        name, x1, x2, depth=depth, **OPTIONS
    )
    with jax.enable_x64(True):
        found = jax.jit(lambda a, b: arch.kernel_fn(a, b, KINDS))(x1, x2)
    tolerance = TOLERANCES.get(name, 1e-10)
    for value, reference in zip(found, (nngp, ntk), strict=True):
        assert relative_error(value, reference) < tolerance
    # In float32 by formulas of our own, where an angle of 0 leaves half of the digits.
    single = jax.jit(lambda a, b: arch.kernel_fn(a, b, KINDS))(
        x1.astype(np.float32), x2.astype(np.float32)
    )
    apart = np.tile([False, True, True, True, True, True], 3)
    for value, reference in zip(single, (nngp, ntk), strict=True):
        assert value.dtype == np.float32
        assert relative_error(value[:, apart], reference[:, apart]) < 2e-6
    if name in ("relu", "tanh", "elu"):
        both = na.kernels.infinite_ntk(arch, x1.astype(np.float32), kind=KINDS)
        for value, reference in zip(both, (nngp_diagonal, ntk_diagonal), strict=True):
            assert relative_error(np.diag(value), reference) < 1e-6


def test_every_activation_has_its_formula():
    assert set(FUNCTIONS) == set(na.kernels.ACTIVATIONS)
    x = np.linspace(-3.0, 3.0, 13, dtype=np.float32)[:, None]
    params = [(np.ones((1, 1)), np.zeros((1, 1))), (), (np.ones((1, 1)), np.zeros((1, 1)))]
    for name, (function, derivative) in FUNCTIONS.items():
        arch = na.kernels.fully_connected(1, 1, activation=name, weight_std=1.0, bias_std=0.0)
        assert np.allclose(arch.apply_fn(params, x), function(x), atol=2e-6), name
        step = 1e-6
        away = x[x != 0].astype(np.float64)
        slope = (function(away + step) - function(away - step)) / (2 * step)
        assert np.allclose(derivative(away), slope, atol=1e-8), name


@pytest.mark.parametrize("name", ["relu", "elu", "tanh"])
def test_quadrature_itself(name):
    """Against the arc-cosine recursion, and twice as many nodes."""
    x1, x2 = on_circles()
    if name == "relu":
        exact = relu_kernels(x1, x2, depth=1, **OPTIONS)
        found = fully_connected_kernels(name, x1, x2, depth=1, **OPTIONS)
        assert all(relative_error(f, e) < 1e-8 for f, e in zip(found[:2], exact, strict=True))
    for cosine in (-0.99, 0.7, 1.0):
        few, many = (expectations(name, 4 * cosine, 4.0, 4.0, nodes) for nodes in (200, 400))
        assert relative_error(few, many) < 1e-11


@pytest.mark.parametrize("pooling", ["flatten", "gap"])
def test_images_have_pairs_of_positions(pooling):
    """The variances of positions, and with pooling their covariances, go from layer to layer."""
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 3))
    state = Covariances(x, **OPTIONS)
    n, p = range(3), range(4)
    for _ in range(2):
        state.convolution()
        size = state.nngp[n, n][:, p, p]
        state.nngp, slope = expectations(
            "tanh", state.nngp, size[:, None, :, None], size[:, None, :], nodes=60
        )
        state.ntk = slope * state.ntk
    state.flatten() if pooling == "flatten" else state.global_pool()
    state.dense()
    arch = na.kernels.convolutional(2, 4, activation="tanh", pooling=pooling, **OPTIONS)
    with jax.enable_x64(True):
        found = jax.jit(lambda a, b: arch.kernel_fn(a, b, KINDS))(x[:2], x[1:])
    for value, reference in zip(found, state.kernels(), strict=True):
        assert relative_error(value, reference[:2, 1:]) < 1e-9


@pytest.mark.parametrize("name", ["tanh", "elu"])
def test_gradients_equal_differences(name):
    arch = na.kernels.fully_connected(1, 8, activation=name, **OPTIONS)
    x1, x2 = on_circles()[0], np.array([[0.3, 1.4]])
    step = 1e-5 * np.eye(2)[0]
    up, down = (
        sum(fully_connected_kernels(name, x1 + s, x2, depth=1, **OPTIONS)[:2])
        for s in (step, -step)
    )
    with jax.enable_x64(True):
        found = jax.jit(jax.grad(lambda x: sum(arch.kernel_fn(x, x2, KINDS)).sum()))(x1)
    assert relative_error(np.asarray(found)[:, 0], (up - down)[:, 0] / 2e-5) < 1e-8
