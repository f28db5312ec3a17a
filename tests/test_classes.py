"""The one rule for which class a row stands for, wherever rows are read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air._classes import class_of, threshold_of

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


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([[0.0], [1.0], [1.0]], 0.5),
        ([[-1.0], [1.0]], 0.0),
        ([[1.0], [2.0]], 1.5),
        ([[0.0], [0.5], [1.0]], 0.0),
        ([[1.0], [1.0]], 0.0),
        ([[0.0, 1.0], [1.0, 0.0]], 0.0),
    ],
)
def test_one_column_is_split_between_the_two_values_of_its_targets(targets, expected):
    targets = np.array(targets)
    for found in (threshold_of(targets), jax.jit(threshold_of)(targets)):
        assert float(found) == expected
    assert float(threshold_of(np.ones((3, 1)), None, np.array([[0.0], [1.0]]))) == 0.5
    np.testing.assert_array_equal(class_of(np.array([[0.5], [0.6], [np.nan]]), 0.5), [0, 1, -1])


def test_zeros_and_ones_are_judged_as_plus_and_minus_one():
    """History, stopping rules, noise rates and suspects of the two codings of the same labels."""
    d, x = na.distillation, np.random.default_rng(0).normal(size=(60, 5))
    bits = np.where(x[:, :1] + 0.5 * x[:, 1:2] > 0, 1.0, 0.0)
    bits[:6] = 1 - bits[:6]
    es = na.spectral.eigendecompose(
        np.exp(-((x[:, None] - x) ** 2).sum(-1) / 5) + 0.01 * np.eye(60)
    )
    found = {}
    for name, targets, scale in (("bits", bits, 1.0), ("signs", 2 * bits - 1, 2.0)):
        run = d.self_distill(
            lambda params, z: z @ params[0] + params[1],
            (np.zeros((5, 1), np.float32), np.full(1, targets.mean(), np.float32)),
            x, targets, optimizer=0.02, num_steps=60, alpha=d.agreement(), record_every=20,
            label_fn=d.nearest(np.unique(targets)), clean=targets, batch_size=3, key=0,
            test=(x, bits[:, 0].astype(int)),
        ).history  # fmt: skip
        stop = na.dynamics.stopping_time(es, targets, rule="leave_one_out_error", times=[1.0, 1e3])
        found[name] = (
            run.error_to_clean, run.error_to_observed, run.agreement, 1 - run.test_accuracy,
            np.asarray(run.margin) * (2 / scale) ** 2, np.asarray(run.l2_to_clean) / scale,
            na.dynamics.estimate_noise(es, targets).rate,
        )  # fmt: skip
        # Not quite the same problem, since training starts at zero, which is no middle of bits.
        assert float(stop.score[1]) == pytest.approx(1 / 3, abs=0.02)
    assert float(found["bits"][0][-1]) < 0.2
    for one, other in zip(found["bits"], found["signs"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    coded = [na.dynamics.refine_labels(es, codes) for codes in (bits, 2 * bits - 1)]
    np.testing.assert_array_equal(coded[0].suspected, coded[1].suspected)


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
    for function in (na.distillation.hard, na.distillation.sign, na.distillation.nearest([0, 1])):
        labels = np.asarray(function(np.array([[np.nan], [2.0]])))
        np.testing.assert_array_equal(class_of(labels), [-1, 1])
    signs = np.array([[-1.0], [-1.0], [-1.0], [1.0]])
    outputs = np.full((4, 1), np.nan, np.float32)
    from ntk_air.distillation.training import _objective

    wrong = _objective.disagreement(jnp.asarray(outputs), jnp.asarray(signs), jnp.ones(4))
    assert float(wrong) == 1.0
    with pytest.raises(ValueError, match="NaN"):
        na.datasets.decode(outputs)
