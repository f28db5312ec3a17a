"""Convolutions as matrix products and pooling by slices, against XLA's own operations."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air.networks._convolution import convolve, max_pool

RANDOM = np.random.default_rng(0)


def relative_error(a, b):
    return np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max()


def xla_convolution(images, kernel, stride):
    edges = [(side // 2, side // 2) for side in kernel.shape[:2]]
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), edges, dimension_numbers=layout
    )


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (3, 7, 9, 1), (2, 5, 5, 4)])
def test_outputs_and_gradients_are_those_of_a_convolution(x64, side, stride, shape):
    images = RANDOM.normal(size=shape)
    kernel = RANDOM.normal(size=(side, side, shape[-1], 6))
    expected, back = jax.vjp(lambda x, w: xla_convolution(x, w, stride), images, kernel)
    outputs, own_back = jax.vjp(lambda x, w: convolve(x, w, stride), images, kernel)
    assert outputs.shape == expected.shape
    assert relative_error(outputs, expected) < 1e-13
    cotangent = RANDOM.normal(size=outputs.shape)
    for gradient, wanted in zip(own_back(cotangent), back(cotangent), strict=True):
        assert relative_error(gradient, wanted) < 1e-12
    moved = jax.jvp(lambda w: convolve(images, w, stride), (kernel,), (kernel[::-1],))[1]
    assert relative_error(moved, xla_convolution(images, kernel[::-1], stride)) < 1e-13


def test_each_platform_has_its_own_form():
    traced = jax.jit(jax.grad(lambda w, x: convolve(x, w).sum())).trace(
        jnp.zeros((3, 3, 2, 4)), jnp.zeros((5, 8, 8, 2))
    )
    programs = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert "stablehlo.convolution" not in programs["cpu"]
    assert "stablehlo.dot_general" in programs["cpu"]
    for platform in ("cuda", "tpu"):
        assert "stablehlo.convolution" in programs[platform]
        assert "stablehlo.dot_general" not in programs[platform]


def cpu_program(function, *arguments):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cpu",)).as_text()


def test_what_is_only_evaluated_is_a_convolution_of_xla():
    """Faster on CPUs, but where kernels are mapped or in double precision."""
    kernel, images = jnp.ones((3, 3, 2, 4)), jnp.ones((5, 8, 8, 2))
    kernels = jnp.stack([kernel, kernel])
    mapped = jax.vmap(convolve, (None, 0))
    assert "stablehlo.convolution" in cpu_program(convolve, images, kernel)
    assert "stablehlo.convolution" not in cpu_program(mapped, images, kernels)
    for function in (convolve, mapped):
        weights = kernel if function is convolve else kernels
        gradient = jax.grad(lambda w, f=function: f(images, w).sum())
        assert "stablehlo.convolution" not in cpu_program(gradient, weights)


@pytest.mark.parametrize("stride", [1, 2])
def test_evaluated_mapped_and_differentiated_agree(stride):
    images = RANDOM.normal(size=(2, 3, 7, 6, 2)).astype(np.float32)
    kernels = RANDOM.normal(size=(2, 3, 3, 2, 4)).astype(np.float32)
    conv = lambda x, w: convolve(x, w, stride)  # noqa: E731
    expected = np.stack([xla_convolution(*pair, stride) for pair in zip(images, kernels)])  # noqa: B905
    assert relative_error(jax.vmap(conv)(images, kernels), expected) < 1e-5
    both = jax.vmap(lambda x: conv(x, kernels[0]))(images)
    assert relative_error(both[0], expected[0]) < 1e-5
    nested = jax.vmap(jax.vmap(conv, (0, None)), (None, 0))(images, kernels)
    assert relative_error(nested[1, 1], expected[1]) < 1e-5
    value, moved = jax.jvp(jax.vmap(conv), (images, kernels), (images, 0 * kernels))
    assert relative_error(value, expected) < 1e-5
    assert relative_error(moved, expected) < 1e-5
    gradient = jax.grad(lambda w: jax.vmap(conv)(images, w)[1].sum())(kernels)
    alone = jax.grad(lambda w: xla_convolution(images[1], w, stride).sum())(kernels[1])
    assert relative_error(gradient[1], alone) < 1e-5
    assert not gradient[0].any()


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (2, 7, 9, 2), (1, 2, 3, 1)])
def test_pooling_is_that_of_flax(x64, shape):
    images = RANDOM.normal(size=shape)
    expected, back = jax.vjp(lambda x: nn.max_pool(x, (2, 2), strides=(2, 2)), images)
    pooled, own_back = jax.vjp(max_pool, images)
    assert np.array_equal(pooled, expected)
    cotangent = RANDOM.normal(size=pooled.shape)
    assert np.array_equal(own_back(cotangent)[0], back(cotangent)[0])


def test_equal_maxima_share_the_gradient():
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.ones((1, 2, 2, 1)))
    assert np.array_equal(gradient, np.full((1, 2, 2, 1), 0.25))
