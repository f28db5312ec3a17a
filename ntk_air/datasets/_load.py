"""`load`: a dataset by name or path."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._checks import check_bool, check_labels
from ._dataset import Dataset
from ._digits import read_digits
from ._draw import choose_classes, draw_rows, generator
from ._find import find_known, find_path
from ._from_arrays import from_arrays, with_targets
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
    label: str | None = None,
    image: str | None = None,
    test: float | str | os.PathLike[str] | None = None,
    group: str | None = None,
    identifier: str | None = None,
    drop: Sequence[str] | None = None,
    extra_labels: Sequence[str] | None = None,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Loads a labelled dataset as arrays in memory.

    Only the images that are asked for are decoded. Both sets come in an order shuffled by
    ``seed``; a smaller draw with the same seed is part of a larger one, and the test set does not
    depend on ``train_size``.

    Args:
        name: ``"digits"`` (1797 images of 8x8, embedded in scikit-learn, cut once into 1437 and
            360), ``"mnist"``, ``"cifar10"``, ``"cifar100"`` (fine labels), or the path of
            the user's own data: an .npz archive (train_inputs, train_labels, test_inputs,
            test_labels, or the names of Keras and MedMNIST), a table (.csv, .parquet), or a folder
            in one of the formats below.
        root: folder that holds mnist/, cifar10/ or cifar100/, or the dataset's own folder; by
            default `$NTK_AIR_DATA`. Formats: Hugging Face parquet files (train-*.parquet,
            test-*.parquet), IDX files (gzipped or not), the binary version of CIFAR, folders of
            images (train/<class>/*.png, test or val beside train; or one folder per class, of
            which a fifth becomes a test set, with a warning), <name>.npz. CIFAR's pickled version
            is not read, since unpickling runs code from the file. Without ``root``, what is not
            found locally is downloaded through Hugging Face `datasets`, if that is installed.
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
        label: the column that holds the label, of a table (see `from_table`) or of parquet files
            with images.
        image: the column that holds the images of parquet files; by default img, image, or the
            only one that holds any.
        test: of a table, the test points: a fraction, a column that says which, or a second file.
            Of folders of images without a test set: a fraction, by default 0.2; they are drawn
            once, within classes, whatever the ``seed``.
        group: of a table, the column of what must not be cut apart, such as patients.
        identifier: of a table, the column of what points are called.
        drop: of a table, columns to leave out.
        extra_labels: of a table, columns of further labels.
        image_size: of folders of images and parquet files, what all are resized to: one number or
            (H, W). None: they must be of one size.
        channels: of the same, 1 or 3: all images become grey or colour. None: grey if all are.

    Returns:
        The dataset. Images are (n, H, W, ch) float32: 8-bit values divided by 255, digits by 16.
        Floats from an .npz archive are kept as they are. The columns of a table are made numbers
        as `from_table` does, by numbers of the training points that were drawn.

    Raises:
        ValueError: for an unknown name or class, a size that is not there, a ``root`` or another
            option where it is not looked at, or damaged files (the message names file and row),
            such as images and archives that claim far more than their bytes can hold; for what
            `from_table` refuses.
        FileNotFoundError: if no files are found; the message says where it looked.
        OSError: if a file cannot be read.
        ImportError: if pyarrow or Pillow is needed and missing.

    Warns:
        UserWarning: of what was decided for the user: files that are left out, a test set that was
            drawn, grey images beside coloured ones, channels that were moved, classes that were
            numbered anew.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=100, classes=(3, 8))
        >>> data.train_inputs.shape, data.num_classes, data.class_names
        ((100, 8, 8, 1), 2, ('3', '8'))
    """
    options: dict[str, Any] = {
        "label": label,
        "image": image,
        "test": test,
        "group": group,
        "identifier": identifier,
        "drop": drop,
        "extra_labels": extra_labels,
        "image_size": image_size,
        "channels": channels,
    }
    given = {k: v for k, v in options.items() if v is not None}
    parts = cut(_source(str(name), root, given), purpose, judged=check_bool("judged", judged))
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
    if source.train.targets is not None and classes is not None:
        raise ValueError(
            f"classes is {classes!r} and the label of {title} is no class; leave it out."
        )
    names = source.class_names or (known.class_names if known else numbered(source))
    chosen = choose_classes(classes, names, title)
    train_rows = _rows(source, "train", names, chosen, train_size, seed)
    test_rows = _rows(source, "test", names, chosen, test_size, seed)
    if source.test is None and (test_size or (known and test_size is None)):
        raise ValueError(
            f"{source.origin} holds no test set of {title}; add it, or pass test_size=0."
        )
    return assembled(
        source,
        title,
        (names, chosen),
        (train_rows, test_rows),
        (train_places[train_rows], test_places[test_rows]),
    )


def assembled(
    source: Source,
    title: str,
    classes: tuple[tuple[str, ...], np.ndarray],
    rows: tuple[np.ndarray, np.ndarray],
    places: tuple[np.ndarray, np.ndarray],
) -> Dataset:
    """A dataset of chosen rows of a source.

    Args:
        source: where they are.
        title: name of the dataset.
        classes: names of all classes, and the numbers of those that are kept, in order.
        rows: of the training and of the test points, in the source.
        places: the same rows in the source's files, where the source does not say itself.
    """
    (names, chosen), (train_rows, test_rows) = classes, rows
    new_number = np.full(len(names) + 1, -1, np.int32)  # the last entry serves -1
    new_number[chosen] = np.arange(len(chosen))
    train, test = source.train, source.test if len(test_rows) else None
    inputs, tested = _inputs(source, train_rows, test_rows)
    called = tuple(
        None if split is None or split.identifiers is None else split.identifiers[rows].tolist()
        for split, rows in ((train, train_rows), (test, test_rows))
    )
    dataset = from_arrays(
        inputs,
        new_number[train.labels[train_rows]],
        tested if test else None,
        new_number[test.labels[test_rows]] if test else None,
        name=title,
        class_names=tuple(names[i] for i in chosen),
        extra_labels={
            key: new_number[_human(key, values, source, len(names))[train_rows]]
            for key, values in train.extra_labels.items()
        },
        kind=source.kind or None,
        layout="NHWC" if inputs.ndim == 4 else None,
        train_identifiers=called[0],
        test_identifiers=called[1],
    )
    numbers = (
        place if split is None or split.rows is None else split.rows[rows]
        for split, rows, place in ((train, train_rows, places[0]), (test, test_rows, places[1]))
    )
    train_numbers, test_numbers = (jnp.asarray(one, jnp.int32) for one in numbers)
    dataset = dataclasses.replace(dataset, train_rows=train_numbers, test_rows=test_numbers)
    if train.targets is None:
        return dataset
    wanted = train.targets[train_rows]
    tested = wanted[:0] if test is None or test.targets is None else test.targets[test_rows]
    return with_targets(dataset, wanted, tested)


def _inputs(
    source: Source, train_rows: np.ndarray, test_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the drawn points of both sets."""
    train = _scaled(source.train.read(train_rows))
    read = source.test is not None and len(test_rows) > 0
    test = _scaled(source.test.read(test_rows)) if read and source.test else train[:0]
    return (train, test) if source.prepare is None else source.prepare(train, test)


def _source(name: str, root: str | os.PathLike[str] | None, options: dict[str, Any]) -> Source:
    if root is not None and name not in KNOWN:
        raise ValueError(
            f"root is {os.fspath(root)!r}, which is where {', '.join(KNOWN)} are looked for, and "
            f"the name is {name!r}; leave root out."
        )
    if options and (name == "digits" or name in KNOWN):
        raise ValueError(
            f"{', '.join(options)} {'is' if len(options) == 1 else 'are'} for data of your own, "
            f"and the name is {name!r}; leave {'it' if len(options) == 1 else 'them'} out."
        )
    if name == "digits":
        return read_digits()
    if name in KNOWN:
        return find_known(KNOWN[name], root)
    return find_path(name, ("digits", *KNOWN), options)


def _title(path: Path) -> str:
    return path.stem if path.expanduser().is_file() else path.resolve().name


def numbered(source: Source) -> tuple[str, ...]:
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
