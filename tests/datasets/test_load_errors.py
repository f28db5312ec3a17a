"""`load` on what goes wrong: names, sizes, damaged files, missing readers."""

import re
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
from dataset_files import images_of, png, write_binary, write_idx, write_image_folder, write_parquet

from ntk_air.datasets import load
from ntk_air.datasets._source import READERS


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("imagenet", {}, "digits, mnist, cifar10, cifar100"),
        ("digits", {"train_size": 0}, "train_size is 0"),
        ("digits", {"train_size": 1438}, "in 1..1437"),
        ("digits", {"train_size": 10.5}, "train_size is 10.5"),
        ("digits", {"test_size": 361}, "test_size is 361"),
        ("digits", {"test_size": -1}, "test_size is -1"),
        ("digits", {"classes": (1,)}, "at least two"),
        ("digits", {"classes": (1, 1)}, "at least two"),
        ("digits", {"classes": (1, 10)}, "holds 10"),
        ("digits", {"classes": ("cat", "dog")}, "'cat'"),
        ("digits", {"classes": "38"}, "a sequence"),
        ("digits", {"classes": (3, 8), "train_size": 1000}, "of these classes"),
        ("digits", {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments(name, kwargs, words):
    with pytest.raises(ValueError, match=words) as caught:
        load(name, **kwargs)
    assert "\n" not in str(caught.value)


def test_missing_files_name_every_place(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        load("cifar10", root=tmp_path / "nowhere")
    message = str(caught.value)
    for part in ("nowhere/cifar10", "nowhere;", "NTK_AIR_DATA", "huggingface.co"):
        assert part in message.replace("nowhere.", "nowhere;")
    monkeypatch.delenv("NTK_AIR_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match="`datasets` is not installed"):
        load("mnist")


def test_pickles_are_named_and_not_read(tmp_path):
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"cposix\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 is the pickled version, not read"):
        load("cifar10", root=tmp_path)


def test_a_root_that_is_a_file_is_no_pickle(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(FileNotFoundError, match="looked in") as caught:
        load("mnist", root=tmp_path / "file")
    assert "pickled" not in str(caught.value)


def damage(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def write_both(write, folder, name, n=30):
    for split in ("train", "test"):
        write(folder, name, split, *images_of(name, n))


@pytest.mark.parametrize("keep", [0, 3, 10, 500])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_damaged_idx(tmp_path, keep, end):
    for split in ("train", "test"):
        write_idx(tmp_path, "mnist", split, *images_of("mnist", 30), end=end)
    damage(tmp_path / f"train-images-idx3-ubyte{end}", keep)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        load("mnist", root=tmp_path)


def test_idx_of_other_sets(tmp_path):
    write_both(write_idx, tmp_path, "mnist")
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(struct.pack(">2I", 2049, 4) + bytes(4))
    with pytest.raises(ValueError, match=r"30 images .* 4 labels"):
        load("mnist", root=tmp_path)
    labels.write_bytes(struct.pack(">2I", 2049, 30) + bytes([77] * 30))
    with pytest.raises(ValueError, match="holds 77"):
        load("mnist", root=tmp_path)
    labels.unlink()
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte is not; add it"):
        load("mnist", root=tmp_path)


def test_damaged_cifar_binary(tmp_path):
    write_both(write_binary, tmp_path, "cifar10")
    damage(tmp_path / "data_batch_3.bin", 5000)
    with pytest.raises(ValueError, match=r"data_batch_3\.bin holds 5000 bytes"):
        load("cifar10", root=tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match=r"lacks data_batch_3\.bin"):
        load("cifar10", root=tmp_path)


def test_damaged_parquet(tmp_path):
    write_both(write_parquet, tmp_path, "cifar10")
    path = tmp_path / "train-00000-of-00001.parquet"
    whole = path.read_bytes()
    damage(path, 1000)
    with pytest.raises(ValueError, match=r"00000-of-00001\.parquet is not a readable parquet"):
        load("cifar10", root=tmp_path)
    path.write_bytes(whole)
    path.rename(tmp_path / "train-00000-of-00002.parquet")
    with pytest.raises(ValueError, match="some of that set are missing"):
        load("cifar10", root=tmp_path)


def test_truncated_image_names_file_and_row(tmp_path):
    images, labels = images_of("cifar10", 30)
    blobs = [png(x) for x in images]
    for bad in (blobs[17][:700], b"", None):
        cells = [*blobs[:17], bad, *blobs[18:]]
        write_parquet(tmp_path, "cifar10", "train", cells, labels)
        write_parquet(tmp_path, "cifar10", "test", images, labels)
        with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet, row 17,"):
            load("cifar10", root=tmp_path)
    jpeg = png(images[0], "JPEG")[:600]
    write_parquet(tmp_path, "cifar10", "train", [*blobs[:29], jpeg], labels)
    with pytest.raises(ValueError, match="row 29, is not a readable image"):
        load("cifar10", root=tmp_path)


def test_parquet_with_other_columns(tmp_path):
    images, labels = images_of("cifar10", 12)
    for split in ("train", "test"):
        write_parquet(tmp_path, "cifar10", split, images, labels)
    with pytest.raises(ValueError, match="expected one named fine_label"):
        load("cifar100", root=tmp_path)
    write_parquet(tmp_path, "cifar10", "train", images, labels, column="picture")
    with pytest.raises(ValueError, match="expected one named img or image"):
        load("cifar10", root=tmp_path)


def test_image_folder_with_wrong_classes(tmp_path):
    write_both(write_image_folder, tmp_path, "cifar10", n=10)
    (tmp_path / "train" / "zebra").mkdir()
    with pytest.raises(ValueError, match="zebra is not a class"):
        load("cifar10", root=tmp_path)
    (tmp_path / "train" / "zebra").rmdir()
    (tmp_path / "train" / "cat").mkdir()
    with pytest.raises(ValueError, match="cat holds no images"):
        load("cifar10", root=tmp_path)


@pytest.mark.parametrize(("module", "words"), [("pyarrow.parquet", "pyarrow"), ("PIL", "Pillow")])
def test_missing_readers_say_what_to_install(tmp_path, monkeypatch, module, words):
    write_both(write_parquet, tmp_path, "cifar10", n=12)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{words}: pip install 'ntk_air\[readers\]'"):
        load("cifar10", root=tmp_path)


def test_importing_the_room_imports_no_reader():
    code = (
        "import sys, ntk_air.datasets, ntk_air.noise; "
        "print(sorted({'PIL', 'pyarrow', 'sklearn', 'datasets', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_order_of_a_draw_does_not_depend_on_the_format(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / "a", "mnist", split, *images_of("mnist", 40))
        write_idx(tmp_path / "b", "mnist", split, *images_of("mnist", 40))
    a, b = (load("mnist", root=tmp_path / x, train_size=20, seed=3) for x in "ab")
    np.testing.assert_array_equal(a.train_inputs, b.train_inputs)


def test_parquet_with_labels_that_are_none(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images, labels = images_of("cifar10", 3)
    path = write_parquet(tmp_path, "cifar10", "train", images, labels)
    write_parquet(tmp_path, "cifar10", "test", images, labels)
    table = parquet.read_table(path)
    cases = (
        (pa.array([0, None, 1]), "has empty entries in column 'label'; fill or drop them"),
        (pa.array([0.0, 1.0, 2.0]), "has entries of type double in column 'label', expected whole"),
    )
    for column, words in cases:
        parquet.write_table(table.set_column(1, "label", column), path)
        with pytest.raises(ValueError, match=words):
            load("cifar10", root=tmp_path)


def test_a_path_that_is_not_there_and_a_download_that_fails(tmp_path, monkeypatch):
    suffixes = " or ".join(reader.suffix for reader in READERS if reader.suffix)
    assert ".npz" in suffixes
    said = f"{tmp_path / 'gone.npy'} is no folder and no {suffixes} file; check the path."
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(said)}$"):
        load(str(tmp_path / "gone.npy"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NTK_AIR_DATA", raising=False)

    def fails(name):
        raise OSError("offline\nand more")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=fails))
    with pytest.raises(FileNotFoundError, match=r"downloading \S+ failed: offline"):
        load("mnist")
