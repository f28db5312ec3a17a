"""Shared argument checks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air._checks import check_finite


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, jnp.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_is_found_wherever_it_lies(n, dtype, bad):
    for position in (0, n * n // 2, n * n - 1):
        array = np.eye(n).astype(dtype)
        array.flat[position] = bad
        for value in (array, jnp.asarray(array)):
            with pytest.raises(ValueError, match=r"x holds 1 value\(s\) that are NaN or infinite"):
                check_finite("x", value)


@pytest.mark.parametrize("value", [np.zeros((0, 3)), np.arange(3), [1.0, 2.0], np.ones(2) > 0])
def test_finite_values_pass(value):
    check_finite("x", value)
    check_finite("x", jnp.asarray(value))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_finite_values_whose_sum_is_not_pass(dtype):
    check_finite("x", jnp.full((3, 4), np.finfo(dtype).max, dtype))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(2, np.complex64), "x is complex"),
        (jnp.zeros(2, jnp.complex64), "x is complex"),
        (np.ma.masked_array([1.0, 2.0], [False, True]), "x has 1 masked value"),
        (np.array([1.0, None]), "x has dtype object"),
        (["a"], "x has dtype <U1"),
        ([[1.0], [1.0, 2.0]], "x is no array of numbers"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        check_finite("x", value)


def test_a_mask_that_hides_nothing_passes():
    check_finite("x", np.ma.masked_array([1.0, 2.0], [False, False]))
