"""Costs of implementations: against counts by hand, and what is chosen for them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import ntk_air as na

N, D, C = 130, 50, 3


def linear(params, x):
    return x @ params


def costs(n=N, **options):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((D, C), (n, D))]
    return na.kernels.implementation_costs(linear, *shapes, **options)


def test_costs_of_a_linear_network_by_hand():
    """130 points are two blocks of 65, their kernel three tiles; a product takes 2 operations."""
    found = costs().operations
    tiles = 3 * 65 * 65
    # x·x' for a pair, and Jacobians of C outputs and D·C parameters; a little more around them.
    assert 1 < found["layerwise"] / (tiles * 2 * D) < 1.3
    assert 1 < found["jacobian_contraction"] / (tiles * 2 * C * D * C) < 1.1
    assert found["jacobian_contraction"] > found["structured_derivatives"] > found["layerwise"]


def test_costs_grow_with_the_tiles():
    """With twice as many columns there are four tiles, not three, and six for three times."""
    symmetric = costs().operations["layerwise"]
    two, three = (costs(num_columns=m).operations["layerwise"] for m in (N, 300))
    assert two == pytest.approx(symmetric * 4 / 3, rel=0.05)
    assert three == pytest.approx(symmetric * 2, rel=0.05)
    assert costs(65).operations["layerwise"] == pytest.approx(symmetric / 3, rel=0.1)


def test_the_cheapest_is_first():
    found = costs()
    ranked = found.ranked()
    assert ranked[0] == "layerwise"
    assert sorted(found.operations.values()) == [found.operations[name] for name in ranked]
    params, x = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((D, C), (N, D)))
    assert na.kernels.cheapest_implementation(linear, params, x) == "layerwise"


def test_what_cannot_be_differentiated_is_left_out():
    """An error of all is the network's own."""

    def broken(params, x):
        raise TypeError("no such layer")

    params, x = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((D, C), (N, D)))
    with pytest.raises(TypeError, match="no such layer"):
        na.kernels.cheapest_implementation(broken, params, x)
