"""The way in for datasets of Hugging Face's library: images, or texts through a tokenizer."""

from __future__ import annotations

import functools
import io
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._dataset import Dataset
from .._from_arrays import channels_last, from_arrays
from .._images import common_form, decode_images
from .._parquet import IMAGE_COLUMNS, LABEL_COLUMNS

_TEST = ("test", "validation", "valid", "val", "dev")


class _Columns(NamedTuple):
    """Which columns hold what."""

    label: str
    image: str | None
    text: str | None


def from_hugging_face(
    dataset: Any,
    test: Any = None,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    tokenizer: Callable[[list[str]], Any] | None = None,
    name: str | None = None,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
    layout: str | None = None,
) -> Dataset:
    """Makes a dataset of one of Hugging Face's `datasets`, in the order of its rows.

    Args:
        dataset: a ``Dataset``, or a ``DatasetDict`` with "train" and perhaps "test"; where it has
            no "test", validation points are the test points, with a warning.
        test: a ``Dataset`` of test points, or the name of a split of the ``DatasetDict``.
        image: the column of images; by default img, image, or the only one of that type.
        text: the column of texts, which ``tokenizer`` makes tokens.
        label: the column of classes; by default label or labels, or the only one of classes. The
            names of its classes are kept.
        tokenizer: from a list of texts to equally many tokens (n, T) for each, or to a mapping
            with "input_ids", as of the library transformers; padded to one length. Of what it
            returns, masks are not kept: a network has to know the padding by its token.
        name: what to call the dataset; by default its own name.
        image_size: what images are resized to, see `load`.
        channels: 1 or 3, see `load`.
        layout: of arrays in place of images, see `from_arrays`.

    Returns:
        The dataset, of kind "images" or "tokens". Identifiers are the files of images where they
        are known, else numbers of rows.

    Raises:
        ImportError: if Pillow is needed and missing.
        ValueError: for columns that are not there, a text without a tokenizer, tokens of several
            lengths, or images that `load` would refuse.
        TypeError: if ``dataset`` is none.

    Warns:
        UserWarning: see `load` and `from_arrays`.

    Example:
        >>> import ntk_air as na
        >>> class Rows(dict):  # stands for a Dataset of Hugging Face's
        ...     column_names = property(lambda self: list(self))
        ...     __len__ = lambda self: 2
        >>> data = na.datasets.from_hugging_face(
        ...     Rows(text=["so good", "so bad"], label=["fine", "poor"]), text="text",
        ...     tokenizer=lambda texts: [[len(word) for word in x.split()] for x in texts])
        >>> data.train_inputs.tolist(), data.class_names, data.kind
        ([[2, 4], [2, 3]], ('fine', 'poor'), 'tokens')
    """
    train, tested = _splits(dataset, test)
    columns = _columns(train, image, text, label)
    sets = [train] if tested is None else [train, tested]
    for one in sets[1:]:
        _named(one, columns.label, "label")
    labels = [np.array(list(one[columns.label])) for one in sets]
    if columns.text is not None:
        if tokenizer is None:
            raise ValueError(
                f"text is {columns.text!r} and there is no tokenizer; pass one, from a list of "
                "texts to their tokens."
            )
        inputs, kind = _tokens(sets, columns.text, tokenizer), "tokens"
        called: list[Any] = [list(map(str, range(len(one)))) for one in sets]
    else:
        assert columns.image is not None
        inputs, called = _images(sets, columns.image, image_size, channels, layout)
        kind = "images"
    names = getattr(_feature(train, columns.label), "names", None)
    second = len(sets) > 1
    return from_arrays(
        inputs[0],
        labels[0],
        inputs[1] if second else None,
        labels[1] if second else None,
        name=name or getattr(train, "builder_name", None) or "hugging_face",
        class_names=tuple(names) if names and labels[0].dtype.kind in "iu" else None,
        kind=kind,
        layout="NHWC" if kind == "images" else None,
        train_identifiers=called[0],
        test_identifiers=called[1] if second else None,
    )


def _splits(dataset: Any, test: Any) -> tuple[Any, Any]:
    """The training and the test rows."""
    if hasattr(dataset, "column_names") and not isinstance(dataset.column_names, Mapping):
        if isinstance(test, str):
            raise ValueError(f"test is {test!r} and there is one split only; pass a Dataset.")
        return dataset, test
    if not isinstance(dataset, Mapping):
        raise TypeError(
            f"dataset is of type {type(dataset).__name__}, expected a Dataset or a DatasetDict."
        )
    if "train" not in dataset:
        raise ValueError(
            f"the splits are {', '.join(map(str, dataset))}, expected one named train; pass the "
            "Dataset of one of them."
        )
    if isinstance(test, str):
        if test not in dataset:
            raise ValueError(f"test is {test!r}, expected one of {', '.join(map(str, dataset))}.")
        return dataset["train"], dataset[test]
    if test is not None:
        return dataset["train"], test
    found = [split for split in _TEST if split in dataset]
    if found and found[0] != "test":
        warnings.warn(f"there is no split named test; {found[0]} is taken for it.", stacklevel=3)
    return dataset["train"], dataset[found[0]] if found else None


def _columns(train: Any, image: str | None, text: str | None, label: str | None) -> _Columns:
    if image is not None and text is not None:
        raise ValueError(f"image is {image!r} and text is {text!r}, expected one of the two.")
    names = list(train.column_names)
    if label is None:
        typed = [name for name in names if getattr(_feature(train, name), "names", None)]
        usual = [name for name in LABEL_COLUMNS if name in names]
        label = next(iter([*usual, *(typed if len(typed) == 1 else [])]), None)
    label = _named(train, label, "label")
    if text is not None:
        return _Columns(label, None, _named(train, text, "text"))
    if image is None:
        typed = [name for name in names if type(_feature(train, name)).__name__ == "Image"]
        usual = [name for name in IMAGE_COLUMNS if name in names]
        image = next(iter([*usual, *(typed if len(typed) == 1 else [])]), None)
    if image is None:
        raise ValueError(
            f"no column of {', '.join(names)} is one of images; pass image= or text=, and columns "
            "of numbers as a table: from_table(dataset.to_pandas(), label=...)."
        )
    return _Columns(label, _named(train, image, "image"), None)


def _named(rows: Any, name: str | None, what: str) -> str:
    names = list(rows.column_names)
    if name is None or name not in names:
        given = "is missing" if name is None else f"is {name!r}"
        raise ValueError(f"{what} {given}, expected one of the columns {', '.join(names)}.")
    return name


def _feature(rows: Any, column: str) -> Any:
    features = getattr(rows, "features", None)
    return features.get(column) if isinstance(features, Mapping) else None


def _tokens(
    sets: Sequence[Any], column: str, tokenizer: Callable[[list[str]], Any]
) -> list[np.ndarray]:
    """Tokens (n, T) of each set: all in one call, which pads them to one length."""
    parts = [list(one[_named(one, column, "text")]) for one in sets]
    texts = [text for part in parts for text in part]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"column {column!r} holds entries that are no text; repair them.")
    found = tokenizer(texts)
    if hasattr(found, "keys"):
        found = found["input_ids"]
    try:
        tokens = np.asarray(found)
    except ValueError:
        tokens = np.array(None)
    if tokens.ndim != 2 or len(tokens) != len(texts):
        raise ValueError(
            f"the tokenizer gives {f'shape {tokens.shape}' if tokens.ndim else 'several lengths'}, "
            f"expected ({len(texts)}, T): have it pad and cut texts to one length, such as "
            "padding='max_length', truncation=True, max_length=64."
        )
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(tokens, ends)


def _images(
    sets: Sequence[Any],
    column: str,
    image_size: int | Sequence[int] | None,
    channels: int | None,
    layout: str | None,
) -> tuple[list[np.ndarray], list[list[str]]]:
    """Images (n, H, W, ch) of each set in [0, 1], or arrays as they are; what they are called."""
    cells = [_cells(one, _named(one, column, "image")) for one in sets]
    flat = [cell for part in cells for cell in part]
    called = [_called(part) for part in cells]
    if not all(_is_image(cell) for cell in flat):
        if image_size is not None or channels is not None:
            raise ValueError(
                f"column {column!r} holds arrays, expected images where image_size or channels is "
                "given; leave them out."
            )
        arrays = [_stacked(part, column) for part in cells]
        train, test = channels_last(arrays[0], arrays[-1], layout)
        return [train, test][: len(sets)], called
    if layout is not None:
        raise ValueError(f"layout is {layout!r} and column {column!r} holds images; leave it out.")
    blobs = [[_bytes_of(cell) for cell in part] for part in cells]
    opened = (
        (f"{split} row {i}", functools.partial(io.BytesIO, blob))
        for split, part in zip(("train", "test"), blobs, strict=False)
        for i, blob in enumerate(part)
    )
    form = common_form(opened, f"column {column!r}", image_size=image_size, channels=channels)
    out = []
    for split, part in zip(("train", "test"), blobs, strict=False):
        pixels = decode_images(part, functools.partial("{} row {}".format, split), None, form)
        out.append(np.divide(pixels, np.float32(255), dtype=np.float32))
    return out, called


def _cells(rows: Any, column: str) -> list[Any]:
    """The entries of a column of images, as their files' bytes where the library has them."""
    hub = sys.modules.get("datasets")
    if hub is not None and isinstance(_feature(rows, column), getattr(hub, "Image", ())):
        rows = rows.cast_column(column, hub.Image(decode=False))
    return list(rows[column])


def _is_image(cell: Any) -> bool:
    return isinstance(cell, bytes | Mapping) or hasattr(cell, "convert")


def _bytes_of(cell: Any) -> bytes:
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, Mapping):
        path = cell.get("path")
        return cell.get("bytes") or (
            Path(path).read_bytes() if path and Path(path).is_file() else b""
        )
    buffer = io.BytesIO()
    # What is not lost by it: PNG has no other modes.
    kept = cell.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")
    (cell if kept else cell.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _called(cells: Iterable[Any]) -> list[str]:
    paths = [
        cell.get("path") if isinstance(cell, Mapping) else getattr(cell, "filename", None)
        for cell in cells
    ]
    if all(paths):
        return [str(path) for path in paths]
    return [str(row) for row in range(len(paths))]


def _stacked(cells: list[Any], column: str) -> np.ndarray:
    try:
        array = np.asarray(cells)
    except ValueError as error:
        raise ValueError(
            f"column {column!r} holds arrays of several shapes; make them one."
        ) from error
    if array.dtype.kind not in "biuf" or array.ndim < 3:
        raise ValueError(
            f"column {column!r} holds entries of shape {array.shape[1:]} and dtype {array.dtype}, "
            "expected images."
        )
    array = array[..., None] if array.ndim == 3 else array
    return np.divide(array, np.float32(255), dtype=np.float32) if array.dtype == np.uint8 else array
