"""The IDX files of MNIST, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ._source import Known, Source, Split, reader

# What gzip can expand a byte to at most.
_LARGEST_RATIO = 1032
_HEADERS = {1: 2049, 3: 2051}  # number of axes -> magic number: unsigned bytes, that many axes


@reader("train-images-idx3-ubyte")
def read_idx(folder: Path, known: Known | None) -> Source | None:
    """Reads train-images-idx3-ubyte and its three companions; see `Reader`."""
    train = _find(folder, "train")
    if train is None:
        return None
    test = _find(folder, "t10k") or _find(folder, "test")
    return Source(folder, _split(*train, known), _split(*test, known) if test else None)


def _find(folder: Path, split: str) -> tuple[Path, Path] | None:
    """The paths of images and labels; the originals are spelled with '-' or '.' before idx."""
    for mark in "-.":
        for end in ("", ".gz"):
            images = folder / f"{split}-images{mark}idx3-ubyte{end}"
            if images.is_file():
                labels = folder / f"{split}-labels{mark}idx1-ubyte"
                for path in (labels, labels.with_name(labels.name + ".gz")):
                    if path.is_file():
                        return images, path
                raise ValueError(f"{images} is there but {labels.name} is not; add it.")
    return None


def _split(image_path: Path, label_path: Path, known: Known | None) -> Split:
    images, labels = _read(image_path, 3), _read(label_path, 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{image_path} holds {len(images)} images and {label_path} {len(labels)} labels; "
            "expected as many of each: they are not from one set."
        )
    if known is not None and images.shape[1:] != known.shape[:2]:
        raise ValueError(
            f"{image_path} holds images of {images.shape[1]}x{images.shape[2]}, expected "
            f"{known.shape[0]}x{known.shape[1]} as in {known.name}."
        )
    return Split(labels.astype(np.int32), lambda rows: images[rows][..., None])


def _read(path: Path, ndim: int) -> np.ndarray:
    """The array; no more of a gzip file is expanded than its header promises."""
    header_size = 4 * (1 + ndim)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(header_size)
            shape = _shape(path, head, ndim)
            promised = int(np.prod(shape, dtype=object))
            data = file.read(promised)
            more = len(file.read(1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a readable gzip file ({error}); replace it.") from error
    if len(data) != promised or more:
        raise ValueError(
            f"{path} holds {'more than ' * more}{header_size + len(data)} bytes where its header "
            f"promises {header_size + promised}: it is truncated or damaged; replace it."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(path: Path, head: bytes, ndim: int) -> tuple[int, ...]:
    """What the header says, if the file can hold that much."""
    whole = len(head) == 4 * (1 + ndim)
    magic, *shape = struct.unpack(f">{1 + ndim}I", head) if whole else (0,)
    if magic != _HEADERS[ndim]:
        raise ValueError(
            f"{path} begins with {head[:4].hex() or 'nothing'}, expected the IDX header "
            f"{_HEADERS[ndim]:08x}; replace it."
        )
    promised, size = int(np.prod(shape, dtype=object)), path.stat().st_size
    if not promised or promised > size * (_LARGEST_RATIO if path.suffix == ".gz" else 1):
        raise ValueError(
            f"{path} promises an array of shape {tuple(shape)} in {size} bytes: it is truncated "
            "or damaged; replace it."
        )
    return tuple(shape)
