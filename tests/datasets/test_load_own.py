"""`load` by path: a user's own archives and folders."""

import io
import json

import numpy as np
import pytest
from dataset_files import images_of, write_parquet

from ntk_air.datasets import load


def arrays(n=12, shape=(5, 6, 3)):
    rng = np.random.default_rng(0)
    return rng.random((n, *shape)).astype(np.float32), np.arange(n) % 3


def test_npz_keeps_floats_and_reads_names(tmp_path):
    x, y = arrays()
    path = tmp_path / "flowers.npz"
    np.savez(
        path,
        train_inputs=x * 9,
        train_labels=y,
        test_inputs=x[:4],
        test_labels=y[:4],
        class_names=np.array(["rose", "tulip", "daisy"]),
        extra_second=(y + 1) % 3,
    )
    data = load(str(path))
    rows = np.asarray(data.train_rows)
    np.testing.assert_array_equal(data.train_inputs, x[rows] * 9)
    np.testing.assert_array_equal(data.extra_labels["second"], (y[rows] + 1) % 3)
    assert (data.name, data.class_names) == ("flowers", ("rose", "tulip", "daisy"))
    pair = load(str(path), classes=("daisy", "rose"))
    assert set(np.asarray(pair.extra_labels["second"]).tolist()) == {1, -1}


@pytest.mark.parametrize("keys", ["train_inputs train_labels", "x_train y_train"])
def test_npz_of_bytes_is_scaled_and_needs_no_test_set(tmp_path, keys):
    x = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    a, b = keys.split()
    np.savez(tmp_path / "mnist.npz", **{a: x, b: np.arange(12) % 10})
    data = load(str(tmp_path / "mnist.npz"))
    np.testing.assert_allclose(
        data.train_inputs[..., 0], x[np.asarray(data.train_rows)] / 255, atol=1e-7
    )
    assert data.test_inputs.shape == (0, 28, 28, 1)
    # The same archive by name: a known dataset has a test set, unless told otherwise.
    with pytest.raises(ValueError, match="test_size=0"):
        load("mnist", root=tmp_path)
    named = load("mnist", root=tmp_path, test_size=0)
    assert (named.num_classes, named.name) == (10, "mnist")


def test_image_folder_of_own_classes(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    written = {}
    for split in ("train", "test"):
        for c in ("2", "10", "cat"):
            (tmp_path / split / c).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (6, 5), dtype=np.uint8)
                written[split, c, i] = pixels
                image_module.fromarray(pixels).save(tmp_path / split / c / f"{i}.png")
    data = load(str(tmp_path))
    assert data.class_names == ("2", "10", "cat")  # numbers in numerical order
    assert data.train_inputs.shape == (9, 6, 5, 1)  # grey stays grey
    for row, label, x in zip(
        np.asarray(data.train_rows), data.train_labels, data.train_inputs, strict=True
    ):
        expected = written["train", data.class_names[int(label)], int(row) % 3] / 255
        np.testing.assert_allclose(x[..., 0], expected, atol=1e-7)


@pytest.mark.parametrize("named", [True, False])
def test_parquet_of_own_classes(tmp_path, named):
    pa = pytest.importorskip("pyarrow")
    images, labels = images_of("mnist", 9)
    path = write_parquet(tmp_path, "own", "train", images, labels % 3, column="image")
    if named:  # as Hugging Face's writer leaves it
        note = {"info": {"features": {"label": {"names": ["x", "y", "z"], "_type": "ClassLabel"}}}}
        table = pa.parquet.read_table(path)
        table = table.replace_schema_metadata({"huggingface": json.dumps(note)})
        pa.parquet.write_table(table, path)
    data = load(str(tmp_path))
    assert data.class_names == (("x", "y", "z") if named else ("0", "1", "2"))
    np.testing.assert_array_equal(data.train_labels, (labels % 3)[np.asarray(data.train_rows)])


def test_images_of_unequal_size_are_refused(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    for c, size in (("a", (5, 5)), ("b", (5, 6))):
        (tmp_path / "train" / c).mkdir(parents=True)
        image_module.fromarray(np.zeros(size, np.uint8)).save(tmp_path / "train" / c / "0.png")
    said = r"a/0\.png is 5x5 and \S+b/0\.png 5x6, .*image_size=5 "
    for seed in range(3):
        with pytest.raises(ValueError, match=said):
            load(str(tmp_path), seed=seed)


def test_16_bit_images_are_refused(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image_module.fromarray(np.zeros((4, 4), np.uint16)).save(buffer, "PNG")
    for c in "ab":
        (tmp_path / "train" / c).mkdir(parents=True)
        (tmp_path / "train" / c / "0.png").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="8 bits"):
        load(str(tmp_path))


def test_archives_with_pickles_are_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, train_inputs=np.array([{}, {}], object), train_labels=np.array([0, 1]))
    with pytest.raises(ValueError, match="plain arrays"):
        load(str(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_labels": None}, "add both"),
        ({"train_inputs": None, "train_labels": None}, "expected train_inputs"),
        ({"train_labels": np.arange(5)}, "length 5"),
        ({"train_inputs": np.full((12, 3), np.nan)}, "NaN"),
        ({"train_labels": np.arange(12) - 1}, "holds -1"),
        ({"train_labels": np.arange(12) / 2}, "dtype float64"),
        ({"train_inputs": np.zeros((12, 2, 2, 2, 2))}, "shape"),
        ({"class_names": np.array(["one", "two"])}, "holds 2"),
        ({"test_inputs": np.zeros((3, 2, 2, 3)), "test_labels": np.arange(3)}, "same axes"),
        ({"extra_h": np.full(12, 3)}, "'h'"),
    ],
)
def test_bad_archives_are_refused(tmp_path, change, words):
    x, y = arrays()
    kept = {
        k: v for k, v in {"train_inputs": x, "train_labels": y, **change}.items() if v is not None
    }
    np.savez(tmp_path / "own.npz", **kept)
    with pytest.raises(ValueError, match=words) as caught:
        load(str(tmp_path / "own.npz"))
    assert "\n" not in str(caught.value)


def test_damaged_archive_and_missing_paths(tmp_path):
    (tmp_path / "own.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match=r"own\.npz is not a readable"):
        load(str(tmp_path / "own.npz"))
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "absent", "absent.npz"):
        with pytest.raises(FileNotFoundError, match=missing):
            load(str(tmp_path / missing))
