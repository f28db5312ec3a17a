"""The two-layer network and its kernel, closed form against Jacobians."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na

t = na.theory


def test_outputs_match_numpy(x64):
    rng = np.random.default_rng(0)
    weights, inputs = rng.normal(size=(10, 4)), rng.normal(size=(7, 4))
    signs = np.repeat([1.0, -1.0], 5) / np.sqrt(10)
    expected = np.log1p(np.exp(inputs @ weights.T)) @ signs
    np.testing.assert_allclose(
        t.two_layer_apply(jnp.asarray(weights), jnp.asarray(inputs))[:, 0], expected, atol=1e-12
    )


def test_kernel_matches_jacobian(x64):
    weights = t.two_layer_init(jax.random.key(0), 12, 5)
    x1, x2 = np.random.default_rng(1).normal(size=(2, 6, 5))
    jacobians = [
        jax.jacobian(t.two_layer_apply)(weights, jnp.asarray(x)).reshape(6, -1) for x in (x1, x2)
    ]
    np.testing.assert_allclose(
        t.two_layer_ntk(weights, x1, x2), jacobians[0] @ jacobians[1].T, atol=1e-12
    )
    np.testing.assert_allclose(t.two_layer_ntk(weights, x1), t.two_layer_ntk(weights, x1, x1))


def test_kernel_matches_generic_route():
    weights = t.two_layer_init(jax.random.key(0), 64, 5)
    inputs = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    generic = na.kernels.empirical_ntk(t.two_layer_apply, weights, inputs)
    np.testing.assert_allclose(generic, t.two_layer_ntk(weights, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "dimension"), [(7, 3), (0, 3), (4, 0), (4.0, 3), (4, 3.0)])
def test_bad_sizes(width, dimension):
    with pytest.raises(ValueError, match="expected"):
        t.two_layer_init(jax.random.key(0), width, dimension)


def test_half_precision_is_widened():
    weights = t.two_layer_init(0, 12, 5)
    inputs = np.ones((3, 5), np.float32)
    half = jnp.asarray(inputs, jnp.bfloat16)
    for function in (t.two_layer_apply, t.two_layer_ntk):
        found = function(weights.astype(jnp.bfloat16), half)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, function(weights, inputs), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("weights", "points", "words"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), "weights has 3 rows, expected an even number"),
        (np.ones((4, 2)), np.ones((4, 3)), "shape (4, 3), expected 2 columns"),
        (np.ones(4), np.ones((4, 3)), "weights has shape (4,)"),
        (np.ones((4, 2)), np.ones(2), "has shape (2,)"),
    ],
)
def test_what_does_not_fit_is_refused(weights, points, words):
    for function in (t.two_layer_apply, t.two_layer_ntk):
        with pytest.raises(ValueError, match=re.escape(words)):
            function(weights, points)
