"""Tiny datasets in each file format that `load` reads."""

import gzip
import io
import struct

import numpy as np
import pytest

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}


def images_of(name, n, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8)
    num_classes = 100 if name == "cifar100" else 10
    return images, (np.arange(n) * 7 % num_classes).astype(np.uint8)


def png(image, fmt="PNG"):
    image_module = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image_module.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, fmt)
    return buffer.getvalue()


def write_parquet(folder, name, split, images, labels, *, groups=7, column="img", human=None):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    cells = [i if i is None or isinstance(i, bytes) else png(i) for i in images]
    label = "fine_label" if name == "cifar100" else "label"
    table = {column: [{"bytes": c, "path": None} for c in cells], label: labels.astype(np.int64)}
    path = folder / f"{split}-00000-of-00001.parquet"
    parquet.write_table(pa.table({**table, **(human or {})}), path, row_group_size=groups)
    return path


def write_idx(folder, name, split, images, labels, *, end="", mark="-"):
    folder.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if end else open
    stem = "train" if split == "train" else "t10k"
    with opener(folder / f"{stem}-images{mark}idx3-ubyte{end}", "wb") as file:
        file.write(struct.pack(">4I", 2051, *images.shape[:3]) + images.tobytes())
    with opener(folder / f"{stem}-labels{mark}idx1-ubyte{end}", "wb") as file:
        file.write(struct.pack(">2I", 2049, len(labels)) + labels.tobytes())


def write_binary(folder, name, split, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    coarse = (
        np.full((len(labels), 1), 99, np.uint8) if name == "cifar100" else labels[:, None][:, :0]
    )
    pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    rows = np.concatenate([coarse, labels[:, None], pixels], axis=1)
    if name == "cifar100":
        (folder / f"{split}.bin").write_bytes(rows.tobytes())
    elif split == "test":
        (folder / "test_batch.bin").write_bytes(rows.tobytes())
    else:
        for i, part in enumerate(np.array_split(rows, 5), 1):
            (folder / f"data_batch_{i}.bin").write_bytes(part.tobytes())


def write_image_folder(folder, name, split, images, labels):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / split / str(label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:04d}.png").write_bytes(png(image))
