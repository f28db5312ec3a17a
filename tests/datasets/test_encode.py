"""Codings of labels, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air.datasets import decode, encode


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_centred_one_hot_is_one_hot_minus_its_mean(num_classes):
    labels = np.arange(num_classes).repeat(2)
    targets = encode(labels, num_classes)
    assert targets.dtype == jnp.float32
    assert targets.shape == (2 * num_classes, num_classes)
    np.testing.assert_allclose(targets, np.eye(num_classes)[labels] - 1 / num_classes, atol=1e-7)
    np.testing.assert_allclose(targets.sum(axis=1), 0.0, atol=1e-6)
    # |e_c|^2 = 1 - 1/C, what the retention formula rests on.
    np.testing.assert_allclose((targets**2).sum(axis=1), 1 - 1 / num_classes, rtol=1e-6)


def test_sign_is_plus_one_for_class_one():
    assert encode(np.array([0, 1, 1]), 2, coding="sign").tolist() == [[-1.0], [1.0], [1.0]]


@pytest.mark.parametrize(
    ("coding", "num_classes"), [("centered_one_hot", 4), ("one_hot", 4), ("sign", 2)]
)
def test_decode_inverts_encode(coding, num_classes):
    labels = np.random.default_rng(0).integers(0, num_classes, 50)
    codes = encode(labels, num_classes, coding=coding)
    decoded = decode(codes)
    assert decoded.dtype == jnp.int32
    np.testing.assert_array_equal(decoded, labels)
    # Any positive rescaling, as shrinking by noise is, leaves the label alone.
    np.testing.assert_array_equal(decode(0.01 * codes), labels)


@pytest.mark.parametrize(
    ("codes", "label"),
    [
        ([[1e300, 2e300]], 1),
        ([[1e-60, 2e-60]], 1),
        ([[0.5, 0.5 + 1e-10]], 1),
        ([[1e-60]], 1),
        ([[-1e-60]], 0),
        ([[2**40, 2**41]], 1),
    ],
)
def test_what_float32_cannot_tell_apart_is_decoded(codes, label):
    assert decode(np.array(codes)).tolist() == decode(codes).tolist() == [label]


def test_both_work_under_jit():
    labels = jnp.array([2, 0, 1])
    codes = jax.jit(lambda x: encode(x, 3))(labels)
    np.testing.assert_array_equal(codes, encode(labels, 3))
    np.testing.assert_array_equal(jax.jit(decode)(codes), labels)


@pytest.mark.parametrize(
    ("labels", "num_classes", "coding", "words"),
    [
        ([0, 3], 3, "one_hot", "holds 3"),
        ([0, -1], 3, "one_hot", "holds -1"),
        ([0.0, 1.0], 3, "one_hot", "dtype float64"),
        ([[0, 1]], 3, "one_hot", "shape"),
        ([0, 1], 1, "one_hot", "num_classes"),
        ([0, 1], 3, "sign", "2 classes"),
        ([0, 1], 3, "onehot", "expected one of"),
    ],
)
def test_bad_labels_are_refused(labels, num_classes, coding, words):
    with pytest.raises(ValueError, match=words):
        encode(np.array(labels), num_classes, coding=coding)


@pytest.mark.parametrize("codes", [np.zeros(3), np.zeros((3, 0)), np.array([[np.nan, 1.0]])])
def test_bad_codes_are_refused(codes):
    with pytest.raises(ValueError, match="codes"):
        decode(codes)
