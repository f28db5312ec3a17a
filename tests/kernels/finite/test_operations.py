"""Operation counts: against XLA's own, and against loops written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from ntk_air.kernels.finite._operations import count_operations

A, IMAGES = jnp.ones((7, 5)), jnp.ones((3, 8, 8, 4))


def convolve(x, groups=1, dilation=(1, 1)):
    return lax.conv_general_dilated(
        x,
        jnp.ones((3, 3, 4 // groups, 6)),
        (1, 1),
        "VALID",
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: x @ x.T, A),
        (lambda x: jnp.einsum("bik,bjk->bij", x[None], x[None]), A),
        (convolve, IMAGES),
        (lambda x: convolve(x, groups=2), IMAGES),
        (lambda x: convolve(x, dilation=(2, 2)), IMAGES),
        (lambda x: jax.jit(lambda y: y @ y.T)(x) + 1.0, A),
    ],
)
def test_agrees_with_xla(function, x):
    counted = jax.jit(function).lower(x).cost_analysis()["flops"]
    assert count_operations(function, x) == pytest.approx(counted, rel=0.05)


def test_loops_count_as_often_as_they_run():
    once = count_operations(lambda x: x @ jnp.ones((5, 5)), A)

    def loop(x):
        return lax.fori_loop(0, 10, lambda i, y: y @ jnp.ones((5, 5)), x)

    assert count_operations(loop, A) == pytest.approx(10 * once, rel=0.3)
    assert count_operations(loop, A) > 9 * once


def test_a_branch_counts_the_dearer_side():
    def either(x):
        return lax.cond(x[0, 0] > 0, lambda y: y @ y.T, lambda y: jnp.zeros((7, 7)), x)

    assert count_operations(either, A) >= 2 * 7 * 7 * 5
