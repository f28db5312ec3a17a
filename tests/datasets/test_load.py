"""`load` by name: the embedded digits, and every file format on tiny files made here."""

import io
import sys
import types

import numpy as np
import pytest
from dataset_files import (
    SHAPES,
    images_of,
    png,
    write_binary,
    write_idx,
    write_image_folder,
    write_parquet,
)

from ntk_air.datasets import load


def by_content(images, labels):
    """Rows in an order of their own: what must agree whatever the file order."""
    flat = np.asarray(images, np.float32).reshape(len(images), -1)
    order = np.lexsort(flat.T[:8])
    return flat[order], np.asarray(labels)[order]


FORMATS = [
    (write_parquet, "mnist", "mnist"),
    (write_parquet, "cifar10", "cifar10/plain_text"),
    (write_parquet, "cifar100", ""),
    (write_idx, "mnist", "MNIST/raw"),
    (write_binary, "cifar10", "cifar10/cifar-10-batches-bin"),
    (write_binary, "cifar100", "cifar-100-binary"),
    (write_image_folder, "mnist", "mnist"),
    (write_image_folder, "cifar10", ""),
]


@pytest.mark.parametrize(("write", "name", "inner"), FORMATS)
def test_every_format_gives_the_images_written(tmp_path, write, name, inner):
    train, test = images_of(name, 40), images_of(name, 12, seed=1)
    write(tmp_path / inner, name, "train", *train)
    write(tmp_path / inner, name, "test", *test)
    data = load(name, root=tmp_path)
    assert data.train_inputs.shape == (40, *SHAPES[name])
    assert data.train_inputs.dtype == np.float32
    assert data.name == name
    assert data.num_classes == len(data.class_names) == (100 if name == "cifar100" else 10)
    for got, labels, written in (
        (data.train_inputs, data.train_labels, train),
        (data.test_inputs, data.test_labels, test),
    ):
        expected = by_content(written[0] / np.float32(255), written[1])
        for a, b in zip(by_content(got, labels), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)
    if write is not write_image_folder:  # rows join data kept beside the files
        np.testing.assert_array_equal(data.train_labels, train[1][np.asarray(data.train_rows)])


@pytest.mark.parametrize("mark", ["-", "."])
def test_gzipped_idx_equals_plain(tmp_path, mark):
    for split in ("train", "test"):
        write_idx(tmp_path / "a", "mnist", split, *images_of("mnist", 20))
        write_idx(tmp_path / "b", "mnist", split, *images_of("mnist", 20), end=".gz", mark=mark)
    a, b = load("mnist", root=tmp_path / "a"), load("mnist", root=tmp_path / "b")
    np.testing.assert_array_equal(a.train_inputs, b.train_inputs)


def test_environment_variable_is_the_default_root(tmp_path, monkeypatch):
    for split in ("train", "test"):
        write_idx(tmp_path / "mnist", "mnist", split, *images_of("mnist", 20))
    monkeypatch.setenv("NTK_AIR_DATA", str(tmp_path))
    found = load("mnist", train_size=5, test_size=0)
    expected = images_of("mnist", 20)[0][np.asarray(found.train_rows)] / np.float32(255)
    np.testing.assert_allclose(found.train_inputs, expected, atol=1e-7)
    assert found.test_inputs.shape == (0, 28, 28, 1)


def test_digits_are_embedded():
    data = load("digits")
    assert data.train_inputs.shape == (1437, 8, 8, 1)
    assert data.test_inputs.shape == (360, 8, 8, 1)
    assert float(data.train_inputs.min()) == 0
    assert float(data.train_inputs.max()) == 1
    datasets = pytest.importorskip("sklearn.datasets")
    images = np.concatenate([data.train_inputs, data.test_inputs])
    labels = np.concatenate([data.train_labels, data.test_labels])
    bunch = datasets.load_digits()
    order = np.lexsort(images.reshape(1797, -1).T[::-1])
    truth = np.lexsort(bunch.data.T[::-1])
    np.testing.assert_array_equal(images.reshape(1797, -1)[order], (bunch.data / 16)[truth])
    np.testing.assert_array_equal(labels[order], bunch.target[truth])


def test_draws_are_balanced_nested_and_seeded():
    small, large = load("digits", train_size=103, seed=4), load("digits", train_size=500, seed=4)
    counts = np.bincount(small.train_labels)
    assert counts.min() == 10
    assert counts.max() == 11
    small_rows, large_rows = (np.asarray(d.train_rows) for d in (small, large))
    assert len(set(large_rows)) == 500
    assert set(small_rows) < set(large_rows)
    np.testing.assert_array_equal(small.test_inputs, large.test_inputs)
    np.testing.assert_array_equal(
        small.train_inputs, load("digits", train_size=103, seed=4).train_inputs
    )
    assert not np.array_equal(
        small.train_inputs, load("digits", train_size=103, seed=5).train_inputs
    )
    # The order is random, not one class after another.
    assert len(set(np.asarray(small.train_labels[:10]))) > 3


def test_a_class_that_runs_out_is_filled_up_by_the_others(tmp_path):
    images, _ = images_of("mnist", 30)
    labels = np.array([0] * 3 + [1] * 20 + [2] * 7, np.uint8)
    for split in ("train", "test"):
        write_idx(tmp_path, "mnist", split, images, labels)
    counts = np.bincount(load("mnist", root=tmp_path, train_size=17).train_labels)
    assert counts[0] == 3
    assert sorted(counts[1:3]) == [7, 7]


def test_classes_are_relabelled_in_the_order_given():
    data = load("digits", classes=("8", 3), train_size=50, test_size=21)
    assert (data.num_classes, data.class_names) == (2, ("8", "3"))
    np.testing.assert_array_equal(np.bincount(data.train_labels), [25, 25])
    assert sorted(np.bincount(data.test_labels)) == [10, 11]
    everything = load("digits")
    original = np.full(1437, -1)
    original[np.asarray(everything.train_rows)] = everything.train_labels
    expected = np.array([8, 3])[np.asarray(data.train_labels)]
    np.testing.assert_array_equal(original[np.asarray(data.train_rows)], expected)


def test_human_labels_follow_the_points_and_the_subset(tmp_path):
    images, labels = images_of("cifar10", 60)
    human = (labels + (np.arange(60) % 3 == 0)) % 10
    for split in ("train", "test"):
        write_parquet(
            tmp_path, "cifar10", split, images, labels, human={"worse_label": human.astype(int)}
        )
    data = load("cifar10", root=tmp_path)
    np.testing.assert_array_equal(data.extra_labels["worst"], human[np.asarray(data.train_rows)])
    pair = load("cifar10", root=tmp_path, classes=("dog", "cat"))
    expected = np.full(10, -1)
    expected[[5, 3]] = 0, 1
    rows = np.asarray(pair.train_rows)
    np.testing.assert_array_equal(pair.train_labels, expected[labels[rows]])
    np.testing.assert_array_equal(pair.extra_labels["worst"], expected[human[rows]])
    assert (np.asarray(pair.extra_labels["worst"]) == -1).any()


def test_only_the_rows_drawn_are_decoded(tmp_path):
    images, labels = images_of("cifar10", 40)
    for split in ("train", "test"):
        write_parquet(tmp_path, "cifar10", split, images, labels)
    wanted = set(np.asarray(load("cifar10", root=tmp_path, train_size=10).train_rows).tolist())
    damaged = [png(x) if i in wanted else b"no image" for i, x in enumerate(images)]
    write_parquet(tmp_path, "cifar10", "train", damaged, labels)
    assert load("cifar10", root=tmp_path, train_size=10).train_inputs.shape[0] == 10
    with pytest.raises(
        ValueError, match=r"train-00000-of-00001.parquet, row \d+, is not a readable"
    ):
        load("cifar10", root=tmp_path)


class FakeHub(types.ModuleType):
    """Stands for Hugging Face `datasets`, with the few calls that are made of it."""

    class Table:
        def __init__(self, columns):
            self.columns, self.column_names = columns, list(columns)

        def cast_column(self, name, feature):
            assert feature == "raw"
            return self

        def select(self, rows):
            return FakeHub.Table({k: [v[i] for i in rows] for k, v in self.columns.items()})

        def __getitem__(self, name):
            return self.columns[name]

    def Image(self, decode):
        return "raw" if not decode else "decoded"

    def load_dataset(self, name):
        if name != "ylecun/mnist":
            raise ConnectionError("Couldn't reach the Hub\nmore lines")
        images, labels = images_of("mnist", 30)
        columns = {"image": [{"bytes": png(x)} for x in images], "label": labels.tolist()}
        return {"train": FakeHub.Table(columns), "test": FakeHub.Table(columns)}


def test_downloads_through_hugging_face_when_nothing_is_local(monkeypatch, tmp_path):
    monkeypatch.delenv("NTK_AIR_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", FakeHub("datasets"))
    data = load("mnist", train_size=10)
    images, labels = images_of("mnist", 30)
    rows = np.asarray(data.train_rows)
    np.testing.assert_allclose(data.train_inputs, images[rows] / 255, atol=1e-7)
    np.testing.assert_array_equal(data.train_labels, labels[rows])
    with pytest.raises(FileNotFoundError, match="Couldn't reach the Hub") as caught:
        load("cifar10")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="looked in"):
        load("mnist", root=tmp_path)  # a root that is given is the only place


def rows_of_parquet(path, rows):
    """Images in 0..1 (k, H, W, ch) and labels, read without the package."""
    parquet, image = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("PIL.Image")
    pixels, labels = parquet.read_schema(path).names[:2]
    table = parquet.read_table(path, columns=[pixels, labels])
    table = table.take(np.asarray(rows)).to_pydict()
    images = [np.asarray(image.open(io.BytesIO(one["bytes"]))) for one in table[pixels]]
    shaped = np.stack(images).reshape(len(rows), *images[0].shape[:2], -1) / 255
    return shaped, np.array(table[labels])


NAMES = {
    "mnist": tuple("0123456789"),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("mnist", (28, 28, 1), (8, 3)), ("cifar10", (32, 32, 3), ("dog", "cat"))],
)
def test_real_files_hold_what_pyarrow_and_pillow_read(data_root, name, shape, classes):
    paths = [data_root / name / f"{split}-00000-of-00001.parquet" for split in ("train", "test")]
    data = load(name, root=data_root, train_size=20, test_size=20)
    assert data.train_inputs.shape == (20, *shape)
    parts = [
        (data.train_inputs, data.train_labels, data.train_rows),
        (data.test_inputs, data.test_labels, data.test_rows),
    ]
    for path, (inputs, labels, rows) in zip(paths, parts, strict=True):
        images, truth = rows_of_parquet(path, rows)
        np.testing.assert_allclose(inputs, images, atol=1e-7)
        np.testing.assert_array_equal(labels, truth)
        np.testing.assert_array_equal(np.bincount(labels), np.full(10, 2))
        assert data.class_names == NAMES[name]
    pair = load(name, root=data_root, train_size=12, test_size=4, classes=classes)
    images, truth = rows_of_parquet(paths[0], pair.train_rows)
    np.testing.assert_allclose(pair.train_inputs, images, atol=1e-7)
    kept = [NAMES[name].index(str(c)) for c in classes]
    np.testing.assert_array_equal(np.array(kept)[np.asarray(pair.train_labels)], truth)
    assert pair.class_names == tuple(str(c) for c in classes)
    scaled, centred = pair.standardized(), images - images.mean(0)
    tested = rows_of_parquet(paths[1], pair.test_rows)[0]
    np.testing.assert_allclose(scaled.train_inputs, centred / centred.std(), atol=2e-5)
    shifted = (tested - images.mean(0)) / np.sqrt((centred**2).mean())
    np.testing.assert_allclose(scaled.test_inputs, shifted, atol=2e-5)


@pytest.mark.data
def test_human_labels_beside_real_files(data_root):
    data = load("cifar10", root=data_root, train_size=200, test_size=0)
    assert set(data.extra_labels) == {"aggregate", "random1", "random2", "random3", "worst"}
    worst = np.mean(np.asarray(data.extra_labels["worst"]) != np.asarray(data.train_labels))
    assert abs(worst - 0.402) < 5 * np.sqrt(0.402 * 0.598 / 200)
    with pytest.raises(ValueError, match="is 28x28, expected 32x32 as in cifar10"):
        load("cifar10", root=data_root / "mnist", train_size=10)
