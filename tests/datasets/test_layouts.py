"""Images in the folders, sizes and colours that people have, beside Pillow by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from dataset_files import images_of, png

from ntk_air.datasets import load

Image = pytest.importorskip("PIL.Image")


def picture(value, size=(8, 6), mode="RGB"):
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def tree(root, *files, mode="RGB", size=(8, 6)):
    for i, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(i, size, mode).save(root / name)
    return str(root)


def expected(root, name, mode="RGB"):
    pixels = np.asarray(Image.open(f"{root}/{name}").convert(mode), np.float32) / 255
    return pixels[..., None] if mode == "L" else pixels


def check_against_files(data, root, mode="RGB"):
    for inputs, labels, names in (
        (data.train_inputs, data.train_labels, data.train_identifiers),
        (data.test_inputs, data.test_labels, data.test_identifiers),
    ):
        assert len(inputs) == len(names or ())
        for x, label, name in zip(inputs, labels, names or (), strict=True):
            np.testing.assert_allclose(x, expected(root, name, mode), atol=1e-6)
            assert data.class_names[int(label)] in name.split("/")


def test_class_folders_at_the_top_are_cut_once_within_classes(tmp_path):
    root = tree(tmp_path, *(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)))
    with pytest.warns(UserWarning, match="has no test set: 4 of its 20 images, drawn within"):
        data = load(root)
    check_against_files(data, root)
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2])
    with pytest.warns(UserWarning, match="no test set"):
        other = load(root, seed=1)  # another order of the same sets
    assert set(other.test_identifiers) == set(data.test_identifiers)
    assert other.train_identifiers != data.train_identifiers
    rows = np.concatenate([data.train_rows, data.test_rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(20))
    with pytest.warns(UserWarning, match="10 of its 20"):
        assert len(load(root, test=0.5).test_labels) == 10
    with pytest.raises(ValueError, match="test is 'half', expected a fraction"):
        load(root, test="half")


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_images_are_the_test_set_where_there_is_no_other(tmp_path, name):
    files = [f"{s}/{c}/{i}.png" for s in ("train", name) for c in "ab" for i in range(2)]
    root = tree(tmp_path, *files)
    with pytest.warns(UserWarning, match=f"the images in {name}/ are taken for the test images"):
        data = load(root)
    check_against_files(data, root)
    assert all(x.startswith(name) for x in data.test_identifiers)
    tree(tmp_path, "test/a/0.png", "test/b/0.png")
    with pytest.warns(UserWarning, match=f"the images in {name}/ are left out"):
        assert len(load(root).test_labels) == 2
    with pytest.raises(ValueError, match="has a test set; leave test out"), pytest.warns():
        load(root, test=0.1)


def test_all_images_of_a_class_are_read_and_what_is_none_is_named(tmp_path):
    files = ["train/a/0.png", "train/a/1.WEBP", "train/a/more/2.tif", "train/b/3.gif"]
    root = tree(tmp_path, *files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(root)
    assert sorted(data.train_identifiers) == sorted(files)
    check_against_files(data, root)
    for name in ("train/notes.txt", "train/b/x.eps", "train/b/y.csv", "train/b/z.md"):
        (tmp_path / name).write_text("text")
    (tmp_path / "train/b/.hidden").write_text("")
    (tmp_path / "train/b/z.md").unlink()
    (tmp_path / "train/b/linked").symlink_to(tmp_path / "train/a")
    (tmp_path / "train/b/Thumbs.db").write_text("")
    with pytest.warns(UserWarning, match=r"4 file\(s\) below .* left out.*: train/.*, \.\.\.\.$"):
        assert len(load(root).train_labels) == 4


def test_folders_of_data_sets_are_no_classes(tmp_path):
    tree(tmp_path, "one/train/a/0.png", "two/train/b/0.png")
    with pytest.raises(FileNotFoundError, match="no data that is read"):
        load(str(tmp_path))
    tree(tmp_path / "other", "test/a/0.png", "a/0.png")
    with pytest.raises(FileNotFoundError, match="no data that is read"):
        load(str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("modes", "count"),
    [(("L", "RGB"), 4), (("L", "P"), 4), (("1", "LA"), 12), (("RGBA", "L"), 8), (("L", "L"), 12)],
)
def test_one_form_for_all_whatever_is_drawn_first(tmp_path, modes, count):
    for split in ("train", "test"):
        for i in range(6):
            tree(tmp_path, f"{split}/{'ab'[i % 2]}/{i}.png", mode=modes[i > 1])
    grey = count == 12
    for seed in range(4):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            data = load(str(tmp_path), seed=seed, train_size=2)
        words = [str(w.message) for w in said]
        assert [w.startswith(f"{count} of the 12 images") for w in words] == (
            [] if grey else [True]
        )
        check_against_files(data, tmp_path, "L" if grey else "RGB")
    for channels, mode in ((1, "L"), (3, "RGB")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = load(str(tmp_path), channels=channels)
        check_against_files(data, tmp_path, mode)
    with pytest.raises(ValueError, match="channels is 2"):
        load(str(tmp_path), channels=2)


def test_images_are_resized_as_pillow_does(tmp_path):
    tree(tmp_path, "train/a/0.png", size=(8, 6))
    tree(tmp_path, "train/b/0.png", size=(20, 31))
    for image_size, shape in ((5, (5, 5)), ((4, 7), (4, 7)), ([9], (9, 9))):
        data = load(str(tmp_path), image_size=image_size)
        assert data.train_inputs.shape == (2, *shape, 3)
        for x, name in zip(data.train_inputs, data.train_identifiers, strict=True):
            image = Image.open(tmp_path / name).resize(shape[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(x, np.asarray(image, np.float32) / 255, atol=1e-6)
    for bad in (0, (1, 2, 3), "8", 2.5, 10**6):
        with pytest.raises(ValueError, match="image_size is"):
            load(str(tmp_path), image_size=bad)


def test_unreadable_images_are_counted_whatever_is_drawn(tmp_path):
    root = tree(tmp_path, *(f"train/{c}/{i}.png" for c in "ab" for i in range(4)))
    (tmp_path / "train/a/1.png").write_bytes(b"text")
    (tmp_path / "train/b/2.png").write_bytes(b"")
    for seed in range(3):
        with pytest.raises(ValueError, match=r"a/1\.png is not a readable .*; and 1 more of "):
            load(root, train_size=2, seed=seed)


def test_parquet_of_any_columns(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images, labels = images_of("cifar10", 8)
    words = np.array(["cat", "dog"])[labels % 2]
    cells = [{"bytes": png(x), "path": None} for x in images]
    table = arrow.table({"picture": cells, "animal": words, "weight": np.arange(8.0)})
    (tmp_path / "folder").mkdir()
    parquet.write_table(table, tmp_path / "folder" / "train-00000-of-00001.parquet")
    parquet.write_table(table.slice(0, 4), tmp_path / "folder" / "validation-0.parquet")
    parquet.write_table(table, tmp_path / "one.parquet")
    with pytest.warns(UserWarning, match=r"validation-0\.parquet and its like are taken"):
        folder = load(str(tmp_path / "folder"), label="animal")
    one = load(str(tmp_path / "one.parquet"), label="animal", image="picture")
    assert len(folder.test_labels) == 4
    for data in (folder, one):
        rows = np.asarray(data.train_rows)
        np.testing.assert_allclose(data.train_inputs, images[rows] / np.float32(255), atol=1e-7)
        np.testing.assert_array_equal(data.train_labels, labels[rows] % 2)
        assert (data.class_names, data.kind) == (("cat", "dog"), "images")
    small = load(str(tmp_path / "one.parquet"), label="animal", image_size=16, channels=1)
    assert small.train_inputs.shape == (8, 16, 16, 1)
    for options, words in (
        ({}, "expected one named label or labels"),
        ({"label": "animal", "image": "photo"}, "expected one named photo"),
        ({"label": "animal", "image": "animal"}, "column 'animal' holds string, expected images"),
        ({"label": "animal", "group": "weight"}, "group: .* holds images; leave it out"),
        ({"label": "weight"}, "type double in column 'weight', expected whole numbers or words"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            load(str(tmp_path / "one.parquet"), **options)
        assert "\n" not in str(caught.value)
