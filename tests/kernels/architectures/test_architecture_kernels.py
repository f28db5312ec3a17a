"""Every architecture: its infinite-width kernels, against NumPy and plain stax; its network."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from closed_form import Covariances
from plain_networks import forward, plain

import ntk_air as na
from ntk_air._numerics import relative_error
from ntk_air.kernels.architectures._attention import self_attention
from ntk_air.kernels.architectures._residual import residual, wide_resnet

KINDS = ("nngp", "ntk")
OPTIONS = {"weight_std": 1.3, "bias_std": 0.2}


def myrtle(depth, channels=2):
    return na.kernels.myrtle(depth, channels, num_outputs=3, **OPTIONS)


# Name: network, a point's shape, and its steps in `Covariances`.
NETWORKS = {
    "fully_connected": (na.kernels.fully_connected(2, 7, num_outputs=3, **OPTIONS), (5,)),
    "flatten": (na.kernels.convolutional(2, 4, num_outputs=3, **OPTIONS), (4, 3, 2)),
    "gap": (na.kernels.convolutional(2, 4, pooling="gap", filter_size=2, **OPTIONS), (4, 3, 2)),
    "myrtle5": (myrtle(5), (8, 8, 2)),
    "myrtle7": (myrtle(7), (8, 8, 2)),
    "myrtle10": (myrtle(10), (8, 8, 2)),
    "residual": (residual(2, 6, num_outputs=3, **OPTIONS), (5,)),
    "wide_resnet": (wide_resnet(2, 1, num_outputs=3, **OPTIONS), (4, 4, 2)),
    "self_attention": (self_attention(2, 5, num_heads=3, query_key_std=0.7, **OPTIONS), (4, 5)),
}


def closed_form(name, x):
    """NNGP and NTK of all points, in NumPy."""
    state = Covariances(x if x.ndim > 2 else x[:, None, None, :], **OPTIONS)
    if name == "fully_connected":
        for _ in range(2):
            state.dense()
            state.relu()
    elif name == "residual":
        state.dense()
        for _ in range(2):
            branch = state.copy()
            branch.relu()
            branch.dense()
            state = branch + state
        state.relu()
    elif name in ("flatten", "gap"):
        for _ in range(2):
            state.convolution(3 if name == "flatten" else 2)
            state.relu()
        state.flatten() if name == "flatten" else state.global_pool()
    elif name == "self_attention":
        for _ in range(2):
            state.attention(0.7)
            state.relu()
        state.global_pool()
    elif name == "wide_resnet":
        state = _wide_resnet(state)
    else:
        # Shankar et al. 2020: one more convolution first in the shallowest.
        for count in {"myrtle5": (2, 1, 1), "myrtle7": (1, 2, 2), "myrtle10": (2, 3, 3)}[name]:
            for _ in range(count):
                state.convolution()
                state.relu()
            state.pool()
        state.global_pool()
    state.dense()
    return state.kernels()


def _wide_resnet(state):
    state.convolution()
    for stride in (1, 2, 2):
        for block in range(2):
            branch, shortcut = state.copy(), state
            branch.relu()
            branch.convolution(stride=stride if block == 0 else 1)
            branch.relu()
            branch.convolution()
            if block == 0:
                shortcut.convolution(stride=stride)
            state = branch + shortcut
    state.global_pool()
    return state


def quick(function):
    """Compiled in half of the time; what XLA makes of kernels is tested in float32."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def draw(n, shape):
    return np.random.default_rng(0).normal(size=(n, *shape))


@pytest.mark.filterwarnings("ignore:Linear scaling", "ignore:`FanIn` layers")
@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_equal_numpy_and_plain_stax(name):
    arch, shape = NETWORKS[name]
    x = draw(4, shape)
    nngp, ntk = closed_form(name, x)
    with jax.enable_x64(True):
        for kernel_fn in (arch.kernel_fn, plain(name, OPTIONS)[2]):
            whole = quick(lambda a, b, f=kernel_fn: f(a, b, KINDS))(x[:2], x[1:])
            for found, expected in zip(whole, (nngp, ntk), strict=True):
                # The second point is in both: next to an angle of 0, float64 holds it to 1e-8.
                apart = np.array([[True] * 3, [False, True, True]])
                assert relative_error(found[apart], expected[:2, 1:][apart]) < 1e-12
                assert relative_error(found, expected[:2, 1:]) < 1e-7


@pytest.mark.parametrize("name", ["fully_connected", "flatten", "gap", "self_attention"])
def test_float32_kernel_and_diagonal_equal_numpy(name):
    arch, shape = NETWORKS[name]
    x = draw(4, shape).astype(np.float32)
    both = na.kernels.infinite_ntk(arch, x, kind=KINDS)
    for kind, found, expected in zip(KINDS, both, closed_form(name, x), strict=True):
        assert found.dtype == np.float32
        diagonal = np.diag(np.asarray(found))
        assert np.abs(diagonal / np.diag(expected) - 1).max() < 2e-7
        assert relative_error(found, expected) < 2e-6
        own = na.kernels.infinite_diagonal(arch, x, kind=kind)
        assert np.array_equal(own, diagonal)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_equals_numpy(name):
    """Outputs from their parameters, which are standard normal: sizes and signs of every layer."""
    arch, shape = NETWORKS[name]
    x = draw(3, shape).astype(np.float32)
    out_shape, params = arch.init_fn(jax.random.key(0), (3, *shape))
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    expected = forward(name, x.astype(np.float64), leaves, **OPTIONS)
    assert out_shape[1:] == expected.shape[1:]
    assert relative_error(quick(arch.apply_fn)(params, x), expected) < 2e-6
    drawn = np.concatenate([leaf.ravel() for leaf in leaves])
    error = 5 / np.sqrt(drawn.size)
    assert abs(drawn.mean()) < error
    assert abs((drawn**2).mean() - 1) < np.sqrt(2) * error
