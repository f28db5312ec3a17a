"""The one rule for which class a row stands for, wherever rows are read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air._classes import class_of

ROWS = {
    "centred": (np.array([[2, -1, -1], [-1, -1, 2], [-1, 2, -1]]) / 3, [0, 2, 1]),
    "one-hot": (np.eye(3)[[1, 0, 2]], [1, 0, 2]),
    "signs": (np.array([[-1.0], [1.0]]), [0, 1]),
    "zeros and ones": (np.array([[0.0], [1.0]]), [0, 1]),
    "ties": (np.array([[0.0, 0.0], [1.0, 1.0]]), [0, 0]),
    "one tie": (np.array([[0.0], [-0.0]]), [0, 0]),
    "diverged": (np.array([[np.nan, 1.0], [1.0, np.nan], [np.inf, 0.0]]), [-1, -1, 0]),
    "one diverged": (np.array([[np.nan], [np.inf], [-np.inf]]), [-1, 1, 0]),
    "integers": (np.array([[0, 1], [3, 2]]), [1, 0]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rule_in_numpy_in_jax_and_traced(name):
    rows, expected = ROWS[name]
    for found in (class_of(rows), class_of(jnp.asarray(rows)), jax.jit(class_of)(rows)):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)
    assert isinstance(class_of(rows), np.ndarray)
    np.testing.assert_array_equal(class_of(np.stack([rows, rows])), [expected, expected])


def test_one_column_is_the_pair_of_itself_and_its_negative():
    column = np.array([[-2.0], [0.0], [1e-30], [3.0]])
    np.testing.assert_array_equal(class_of(column), class_of(np.hstack([-column, column])))


def test_readers_of_rows_agree_at_ties():
    """Decoding, hard labels, leave-one-out errors and test accuracy of outputs that are zero."""
    zeros = np.zeros((4, 1), np.float32)
    np.testing.assert_array_equal(na.datasets.decode(zeros), 0)
    np.testing.assert_array_equal(na.distillation.hard(zeros), -1)
    np.testing.assert_array_equal(na.distillation.sign(zeros), -1)
    signs = np.array([[-1.0], [-1.0], [-1.0], [1.0]])
    run = na.distillation.kernel_self_distill(
        np.eye(4), signs, learning_rate=0.1, num_steps=1, alpha=1.0,
        label_fn=na.distillation.hard, clean=signs,
    )  # fmt: skip
    # The record before any step has outputs of zero: class 0, which three of four points are.
    assert float(run.error_to_clean[0]) == pytest.approx(0.25)


def test_outputs_that_diverged_are_wrong_not_class_zero():
    signs = np.array([[-1.0], [-1.0], [-1.0], [1.0]])
    outputs = np.full((4, 1), np.nan, np.float32)
    from ntk_air.distillation import _objective

    wrong = _objective.disagreement(jnp.asarray(outputs), jnp.asarray(signs), jnp.ones(4))
    assert float(wrong) == 1.0
    with pytest.raises(ValueError, match="NaN"):
        na.datasets.decode(outputs)
