"""`load`: a dataset by name or path."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from .._checks import check_bool, check_labels
from ._dataset import Dataset
from ._digits import read_digits
from ._draw import choose_classes, draw_rows, generator
from ._find import find_known, find_path
from ._from_arrays import from_arrays
from ._purpose import cut
from ._source import KNOWN, Source, Split


def load(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    classes: Sequence[str | int] | None = None,
    seed: int = 0,
    purpose: str | None = None,
    judged: bool = False,
) -> Dataset:
    """Loads a labelled dataset as arrays in memory.

    Only the images that are asked for are decoded. Both sets come in an order shuffled by
    ``seed``; a smaller draw with the same seed is part of a larger one, and the test set does not
    depend on ``train_size``.

    Args:
        name: ``"digits"`` (1797 images of 8x8, embedded in scikit-learn, cut once into 1437 and
            360), ``"mnist"``, ``"cifar10"``, ``"cifar100"`` (fine labels), or the path of
            the user's own data: an .npz archive (train_inputs, train_labels, test_inputs,
            test_labels), or a folder in one of the formats below.
        root: folder that holds mnist/, cifar10/ or cifar100/, or the dataset's own folder; by
            default `$NTK_AIR_DATA`. Formats: Hugging Face parquet files (train-*.parquet,
            test-*.parquet), IDX files (gzipped or not), the binary version of CIFAR, folders of
            images (train/<class>/*.png), <name>.npz. CIFAR's pickled version is not read, since
            unpickling runs code from the file. Without ``root``, what is not found locally is
            downloaded through Hugging Face `datasets`, if that is installed.
        train_size: number of training points, drawn in equal numbers per class (up to one, and as
            far as the classes reach); None for all.
        test_size: likewise for the test set; 0 for none.
        classes: names or numbers of at least two classes to keep, relabelled 0, 1, ... in the
            order given. Human labels that name another class become -1: such a label has no number
            in the subset, and dropping the point would bias it towards easy images.
        seed: of the order and the draw, from 0 up; which points are training, selection or test
            points does not depend on it.
        purpose: what the numbers are for. ``"selection"``: schedules, strengths and constants are
            chosen with them; about a sixth of the training set (`selection_rows`) is not trained
            on and takes the place of the test set. ``"reporting"``: the same training points, and
            the test set. So no point that a choice was judged on is reported on, whatever the
            seeds. None: both sets as the files have them.
        judged: whether it is the labels of the training points that are judged, as where label
            errors are looked for. With ``purpose="selection"`` the training points are then those
            kept apart for selection, and the test points are as many of the others.

    Returns:
        The dataset. Images are (n, H, W, ch) float32: 8-bit values divided by 255, digits by 16.
        Floats from an .npz archive are kept as they are.

    Raises:
        ValueError: for an unknown name or class, a size that is not there, a ``root`` where it is
            not looked at, or damaged files (the message names file and row), such as images and
            archives that claim far more than their bytes can hold.
        FileNotFoundError: if no files are found; the message says where it looked.
        OSError: if a file cannot be read.
        ImportError: if pyarrow or Pillow is needed and missing.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=100, classes=(3, 8))
        >>> data.train_inputs.shape, data.num_classes, data.class_names
        ((100, 8, 8, 1), 2, ('3', '8'))
    """
    parts = cut(_source(str(name), root), purpose, judged=check_bool("judged", judged))
    return _drawn(parts, str(name), classes, (train_size, test_size), seed)


def _drawn(
    parts: tuple[Source, np.ndarray, np.ndarray],
    name: str,
    classes: Sequence[str | int] | None,
    sizes: tuple[int | None, int | None],
    seed: int,
) -> Dataset:
    """Points of a source, as many as asked for, with their rows in its files."""
    source, train_places, test_places = parts
    train_size, test_size = sizes
    known = KNOWN.get(name)
    title = name if known or name == "digits" else _title(Path(name))
    names = source.class_names or (known.class_names if known else _numbered(source))
    chosen = choose_classes(classes, names, title)
    train_rows = _rows(source, "train", names, chosen, train_size, seed)
    test_rows = _rows(source, "test", names, chosen, test_size, seed)
    if source.test is None and (test_size or (known and test_size is None)):
        raise ValueError(
            f"{source.origin} holds no test set of {title}; add it, or pass test_size=0."
        )
    new_number = np.full(len(names) + 1, -1, np.int32)  # the last entry serves -1
    new_number[chosen] = np.arange(len(chosen))
    train, test = source.train, source.test
    inputs = _scaled(train.read(train_rows))
    dataset = from_arrays(
        inputs,
        new_number[train.labels[train_rows]],
        _scaled(test.read(test_rows)) if test and len(test_rows) else None,
        new_number[test.labels[test_rows]] if test and len(test_rows) else None,
        name=title,
        class_names=tuple(names[i] for i in chosen),
        extra_labels={
            key: new_number[_human(key, values, source, len(names))[train_rows]]
            for key, values in train.extra_labels.items()
        },
    )
    return dataclasses.replace(
        dataset,
        train_rows=jnp.asarray(train_places[train_rows], jnp.int32),
        test_rows=jnp.asarray(test_places[test_rows], jnp.int32),
    )


def _source(name: str, root: str | os.PathLike[str] | None) -> Source:
    if root is not None and name not in KNOWN:
        raise ValueError(
            f"root is {os.fspath(root)!r}, which is where {', '.join(KNOWN)} are looked for, and "
            f"the name is {name!r}; leave root out."
        )
    if name == "digits":
        return read_digits()
    if name in KNOWN:
        return find_known(KNOWN[name], root)
    return find_path(name, ("digits", *KNOWN))


def _title(path: Path) -> str:
    return path.stem if path.expanduser().is_file() else path.resolve().name


def _numbered(source: Source) -> tuple[str, ...]:
    """Class names of data that brings none: the numbers up to the largest label."""
    splits = [split for split in (source.train, source.test) if split is not None]
    labels = [check_labels(f"the labels of {source.origin}", split.labels) for split in splits]
    return tuple(map(str, range(max(2, 1 + max(int(x.max(initial=0)) for x in labels)))))


def _rows(
    source: Source,
    split_name: str,
    names: tuple[str, ...],
    chosen: np.ndarray,
    size: int | None,
    seed: int,
) -> np.ndarray:
    split: Split | None = getattr(source, split_name)
    if split is None:
        return np.zeros(0, np.int64)
    labels = check_labels(f"the {split_name} labels of {source.origin}", split.labels, len(names))
    return draw_rows(
        labels,
        chosen,
        size,
        generator(seed, f"datasets.{split_name}"),
        size_name=f"{split_name}_size",
        smallest=1 if split_name == "train" else 0,
    )


def _human(key: str, values: np.ndarray, source: Source, num_classes: int) -> np.ndarray:
    """Checks further labels, which may be -1 for none."""
    labels = np.asarray(values)
    if labels.shape != source.train.labels.shape:
        raise ValueError(
            f"{key!r} in {source.origin} has shape {labels.shape}, expected a label for each of "
            f"the {len(source.train.labels)} training points."
        )
    known = labels[labels != -1] if labels.dtype.kind == "i" else labels
    check_labels(f"{key!r} in {source.origin}", known, num_classes)
    return labels


def _scaled(images: np.ndarray) -> np.ndarray:
    """8-bit images to float32 in [0, 1]; other numbers are the user's own scale."""
    if images.dtype != np.uint8:
        return images
    # One pass: the whole of CIFAR-10 is 614 MB as float32, and a temporary would double it.
    return np.divide(images, np.float32(255), dtype=np.float32)
