"""Shared argument checks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air._checks import check_finite


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, jnp.bfloat16, np.complex64])
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
