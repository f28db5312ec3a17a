"""Rescalings of a dataset, own arrays, and saving."""

import json
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest

import ntk_air as na
from ntk_air.datasets import from_arrays


def make(n=30, m=10, shape=(4, 4, 3), seed=0):
    rng = np.random.default_rng(seed)
    return from_arrays(
        rng.random((n, *shape)),
        rng.integers(0, 3, n),
        rng.random((m, *shape)),
        rng.integers(0, 3, m),
        name="own",
        class_names=("a", "b", "c"),
        extra_labels={"second": rng.integers(-1, 3, n)},
    )


def test_standardized_against_its_definition():
    data = make()
    train, test = np.asarray(data.train_inputs, np.float64), np.asarray(data.test_inputs)
    mean = train.mean(axis=0)
    deviation = (train - mean).std()
    out = data.standardized()
    np.testing.assert_allclose(out.train_inputs, (train - mean) / deviation, atol=2e-6)
    np.testing.assert_allclose(out.test_inputs, (test - mean) / deviation, atol=2e-6)
    assert float(out.train_inputs.std()) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(out.train_inputs.mean(axis=0)).max() < 1e-6
    np.testing.assert_array_equal(data.train_inputs, train.astype(np.float32))  # left as it was


def test_standardizing_equal_images_is_refused():
    data = from_arrays(np.ones((5, 3)), np.arange(5) % 2, name="flat")
    with pytest.raises(ValueError, match="are equal"):
        data.standardized()


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100, 2.0**126])
@pytest.mark.parametrize("per_image", [False, True])
def test_standardizing_does_not_see_the_scale(scale, per_image):
    data = make()
    arrays = (data.train_inputs, data.train_labels, data.test_inputs, data.test_labels)
    own, labels, test, tested = map(np.asarray, arrays)
    scaled = from_arrays(own * np.float32(scale), labels, test * np.float32(scale), tested, name="")
    out, again = (d.standardized(per_image=per_image) for d in (data, scaled))
    np.testing.assert_allclose(again.train_inputs, out.train_inputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.test_inputs, out.test_inputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("unit_norm", "norm"), [(True, 1.0), ("sqrt_d", np.sqrt(48)), (False, None)]
)
def test_flattened_norms(unit_norm, norm):
    data = make()
    out = data.flattened(unit_norm=unit_norm)
    assert out.train_inputs.shape == (30, 48)
    assert out.test_inputs.shape == (10, 48)
    raw = np.asarray(data.train_inputs).reshape(30, 48)
    if norm is None:
        np.testing.assert_array_equal(out.train_inputs, raw)
    else:
        np.testing.assert_allclose(np.linalg.norm(out.train_inputs, axis=1), norm, rtol=1e-6)
        cosine = np.sum(np.asarray(out.train_inputs) * raw, axis=1)
        np.testing.assert_allclose(cosine, norm * np.linalg.norm(raw, axis=1), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_scales_and_zero_images_stay_finite(scale):
    inputs = np.random.default_rng(0).random((5, 2, 2, 1)) * scale
    inputs[2] = 0
    data = from_arrays(inputs, np.arange(5) % 2, name="own")
    with pytest.warns(UserWarning, match="1 training input"):
        out = data.flattened(unit_norm=True)
    norms = np.linalg.norm(out.train_inputs, axis=1)
    np.testing.assert_allclose(norms, [1, 1, 0, 1, 1], rtol=1e-5)


def test_flattened_refuses_other_norms():
    with pytest.raises(ValueError, match="unit_norm is 'l2'"):
        make().flattened(unit_norm="l2")


def test_take_by_positions_and_mask():
    data = make()
    mask = np.asarray(data.extra_labels["second"]) >= 0
    kept = data.take(mask, np.array([3, 1]))
    assert len(kept.train_labels) == mask.sum()
    assert (np.asarray(kept.extra_labels["second"]) >= 0).all()
    np.testing.assert_array_equal(kept.train_rows, np.flatnonzero(mask))
    np.testing.assert_array_equal(kept.test_inputs, np.asarray(data.test_inputs)[[3, 1]])
    hidden = np.ma.masked_array([0, 1], [False, True])
    for bad in (hidden, mask[1:], np.array([30]), np.array([-1]), np.array([0.5])):
        with pytest.raises(ValueError, match="train_index"):
            data.take(bad)


def test_is_a_pytree_and_saves(tmp_path):
    data = make()
    doubled = jax.tree.map(lambda x: 2 * x, data)
    np.testing.assert_allclose(doubled.train_inputs, 2 * np.asarray(data.train_inputs))
    assert doubled.class_names == ("a", "b", "c")
    again = na.load(na.save(data, tmp_path / "data"))
    np.testing.assert_array_equal(again.train_inputs, data.train_inputs)
    np.testing.assert_array_equal(again.extra_labels["second"], data.extra_labels["second"])
    assert again.class_names == data.class_names


def test_files_written_before_there_were_kinds_load(tmp_path):
    """The fields that came later are taken out of the file again."""
    later = ("train_targets", "test_targets", "kind", "train_identifiers", "test_identifiers")
    for data, kind in ((make(), "images"), (make(shape=(5,)), "vectors")):
        path = na.save(data, tmp_path / "data")
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(members["manifest.json"])
        for name in later:
            del manifest["tree"]["fields"][name]
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                text = json.dumps(manifest) if name == "manifest.json" else content
                archive.writestr(name, text)
        again = na.load(path)
        assert (again.kind, again.train_identifiers, again.train_targets) == (kind, None, None)
        np.testing.assert_array_equal(again.train_inputs, data.train_inputs)


def test_own_arrays_are_copied():
    inputs = np.ones((4, 64), np.float32)
    data = from_arrays(inputs, np.array([0, 1, 2, 1]), name="own")
    inputs[:] = 7
    assert float(data.train_inputs.max()) == 1
    assert data.num_classes == 3
    assert data.class_names == ("0", "1", "2")
    assert data.test_inputs.shape == (0, 64)


def test_half_precision_is_widened():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        data = from_arrays(np.full((4, 3), 0.5, dtype), Y, name="own")
        assert data.train_inputs.dtype == np.float32
        np.testing.assert_array_equal(data.train_inputs, 0.5)


X, Y = np.zeros((4, 3)), np.array([0, 1, 0, 1])
HIDDEN = np.ma.masked_array(X, X + np.eye(4, 3) > 0)
UNKNOWN = np.ma.masked_array(Y, [False, False, True, False])


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((X, Y[:3]), {}, "train_labels has length 3"),
        ((X * np.nan, Y), {}, "12 value"),
        ((X, Y.astype(float)), {}, "dtype float64"),
        ((X, Y - 1), {}, "holds -1"),
        ((X, Y), {"num_classes": 1}, "num_classes is 1"),
        ((X, Y + 2), {"num_classes": 3}, "holds 3"),
        ((X, Y), {"num_classes": 3, "class_names": ("a", "b")}, "2 names"),
        ((X, Y), {"class_names": ("a", "a")}, "twice"),
        ((X, Y, X), {}, "pass both"),
        ((X, Y, X[:, :2], Y), {}, "same axes"),
        ((X, Y, X, Y[:2]), {}, "test_labels has length 2"),
        ((X[:0], Y[:0]), {}, "no points"),
        ((Y, Y), {}, "expected numbers"),
        ((HIDDEN, Y), {}, "train_inputs has 3 masked"),
        ((X, Y, HIDDEN, Y), {}, "test_inputs has 3 masked"),
        ((X, UNKNOWN), {}, "train_labels has 1 masked"),
        ((X, Y, X, UNKNOWN), {}, "test_labels has 1 masked"),
        ((X, Y, X, UNKNOWN), {"num_classes": 2}, "test_labels has 1 masked"),
        ((X, Y), {"extra_labels": {"h": UNKNOWN}}, r"extra_labels\['h'\] has 1 masked"),
        ((X * 1j, Y), {}, "train_inputs is complex"),
        ((X + 1e-60, Y), {}, "train_inputs has a largest magnitude of 1e-60"),
        ((X + 1e60, Y), {}, "train_inputs has a largest magnitude of 1e\\+60"),
        ((X.astype(str), Y), {}, "expected numbers"),
        ((X, Y), {"extra_labels": {"h": Y[:2]}}, "extra_labels"),
        ((X, Y), {"extra_labels": {"h": Y + 1}}, "1..2"),
    ],
)
def test_bad_arrays_are_refused(args, kwargs, words):
    with pytest.raises(ValueError, match=words) as caught:
        from_arrays(*args, name="own", **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [1.0, 2.0**-100, 2.0**100])
def test_columns_are_standardized_each_on_the_training_points(scale):
    rng = np.random.default_rng(0)
    units = np.array([1e-6, 1.0, 1e5, 1.0]) * scale
    x = rng.normal([0, 5, -3, 0], size=(30, 4)) * units
    test = rng.normal([1, 5, -3, 0], size=(10, 4)) * units
    x[:, 3], test[:, 3] = np.float32(0.1) * scale, np.float32(0.3) * scale
    data = from_arrays(x, np.arange(30) % 2, test, np.arange(10) % 2, name="mine")
    assert data.kind == "vectors"
    out, x, test = data.standardized(), x.astype(np.float32), test.astype(np.float32)
    x, test = x.astype(np.float64), test.astype(np.float64)
    deviation = np.where(np.arange(4) < 3, x.std(axis=0), 1)
    mean = np.where(np.arange(4) < 3, x.mean(axis=0), x[0])
    np.testing.assert_allclose(out.train_inputs, (x - mean) / deviation, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out.test_inputs, (test - mean) / deviation, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(out.train_inputs[:, 3], 0)  # constant: not scaled up to noise
    with pytest.raises(ValueError, match="a row has no brightness"):
        data.standardized(per_image=True)
