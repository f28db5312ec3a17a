"""Parquet files with compressed images, as Hugging Face's folders of train-*.parquet hold them."""

from __future__ import annotations

import functools
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._images import INSTALL, Form, common_form, decode_images
from ._labels import number_labels
from ._source import Known, Source, Split, reader

# Compressed images compress no further, numbers of classes do.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 200, 2**24
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
# CIFAR-10N (Wei et al., ICLR 2022) column -> name here.
HUMAN_COLUMNS = {
    "aggre_label": "aggregate",
    "random_label1": "random1",
    "random_label2": "random2",
    "random_label3": "random3",
    "worse_label": "worst",
}


class _Group(NamedTuple):
    """A row group: the unit that parquet reads at once."""

    path: Path
    number: int
    first_row_in_file: int
    first_row: int
    num_rows: int


class _Part(NamedTuple):
    """The files of a split, read but for the images."""

    groups: list[_Group]
    image: str
    labels: np.ndarray
    human: dict[str, np.ndarray]


@reader("train-*.parquet", takes=("image", "label", "image_size", "channels"))
def read_parquet(
    folder: Path,
    known: Known | None,
    *,
    image: str | None = None,
    label: str | None = None,
    **form: Any,
) -> Source | None:
    """Reads a folder of parquet files; see `Reader`.

    Validation files are the test set where there are no others, with a warning.
    """
    splits = ("train", "validation", "test")
    train, val, test = (sorted(folder.glob(f"{split}*.parquet")) for split in splits)
    if not train:
        return None
    for paths in (train, test):
        _check_complete(paths)
    if val and known is None:
        warnings.warn(
            f"{folder}: {val[0].name} and its like are left out, since there are test files."
            if test
            else f"{folder} has no test files; {val[0].name} and its like are taken for them.",
            stacklevel=2,
        )
        test = test or val
    return read_image_files(folder, train, test, known, image=image, label=label, **form)


def read_image_files(
    origin: Path,
    train: list[Path],
    test: list[Path],
    known: Known | None,
    *,
    image: str | None = None,
    label: str | None = None,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Source:
    """The source of parquet files with images; keywords as of `load`."""
    names = known.class_names if known else _class_names(train[0], label)
    parts = {"train": _part(train, known, image, label)}
    if test:
        parts["test"] = _part(test, known, image, label)
    labels = {f"the {split} labels of {origin}": part.labels for split, part in parts.items()}
    numbered = number_labels(labels, class_names=names)

    @functools.cache
    def form() -> Form | None:
        if known is not None:
            return None
        everything = (one for part in parts.values() for one in _opened(part))
        return common_form(everything, str(origin), image_size=image_size, channels=channels)

    sets = [
        Split(numbered.labels[name], _image_reader(part, known, form), part.human)
        for name, part in zip(labels, parts.values(), strict=True)
    ]
    return Source(origin, sets[0], sets[1] if test else None, numbered.names, "images")


def _class_names(path: Path, label: str | None) -> tuple[str, ...] | None:
    """The class names that Hugging Face's writer keeps in the file, if it wrote the file."""
    with naming(path):
        schema = pyarrow_parquet().ParquetFile(path).schema_arrow
    label = _label_column(path, schema.names, None, label)
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (TypeError, KeyError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} names its classes {names!r}, expected a list of names.")
    return tuple(names)


def image_columns(schema: Any) -> list[str]:
    """The columns of a parquet file that hold images as Hugging Face's writer puts them."""
    return [
        field.name
        for field in schema
        if str(field.type).startswith("struct<") and "bytes: binary" in str(field.type)
    ]


def _label_column(path: Path, names: list[str], known: Known | None, given: str | None) -> str:
    return _one_of(
        (given,) if given else known.label_columns if known else LABEL_COLUMNS, names, path
    )


def _part(paths: list[Path], known: Known | None, image: str | None, label: str | None) -> _Part:
    parquet = pyarrow_parquet()
    groups: list[_Group] = []
    columns: dict[str, list[np.ndarray]] = {}
    total, image_column, label_column = 0, "", ""
    for path in paths:
        with naming(path):
            file = parquet.ParquetFile(path)
            names = file.schema_arrow.names
            check_claims(path, file.metadata)
            own = image_columns(file.schema_arrow) if known is None else []
        usual = (image,) if image else IMAGE_COLUMNS
        # The only one that can be meant, whatever it is called.
        sole = own if not image and len(own) == 1 and not set(usual) & set(names) else []
        image_column = _one_of((*sole, *usual), names, path)
        with naming(path):
            kind = str(file.schema_arrow.field(image_column).type)
        if not kind.startswith(("struct<", "binary", "large_binary", "null")):
            raise ValueError(
                f"{path}: column {image_column!r} holds {kind}, expected images, as bytes."
            )
        label_column = _label_column(path, names, known, label)
        for name in (label_column, *(c for c in HUMAN_COLUMNS if c in names)):
            values = _column(path, file, name, words=known is None and name == label_column)
            columns.setdefault(name, []).append(values)
        row = 0
        for index in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(index).num_rows
            groups.append(_Group(path, index, row, total + row, size))
            row += size
        total += row
    merged = {name: np.concatenate(parts) for name, parts in columns.items()}
    for name, values in merged.items():
        if len(values) != total:
            raise ValueError(f"{paths[0].parent}: column {name!r} is missing in some of the files.")
    labels = merged.pop(label_column)
    human = {HUMAN_COLUMNS[name]: values for name, values in merged.items()}
    return _Part(groups, image_column, labels, human)


def _column(path: Path, file: Any, name: str, *, words: bool) -> np.ndarray:
    """A column of labels: whole numbers, or ``words``."""
    with naming(path):
        kind = str(file.schema_arrow.field(name).type)
        values = file.read(columns=[name]).column(0)
    is_text = kind.startswith(("string", "large_string", "bool", "dictionary<values=string"))
    if not kind.startswith(("int", "uint")) and not (words and is_text):
        raise ValueError(
            f"{path} has entries of type {kind} in column {name!r}, expected whole numbers"
            f"{' or words' if words else ''}."
        )
    if values.null_count:
        raise ValueError(f"{path} has empty entries in column {name!r}; fill or drop them.")
    return np.array(values.to_pylist()) if is_text else np.asarray(values)


def check_claims(path: Path, metadata: Any) -> None:
    """Before a column is read: as many different images take a byte each at least."""
    # Of row groups: pyarrow ends the process where it is asked for a damaged column's.
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    claimed = sum(group.total_byte_size for group in groups)
    size = path.stat().st_size
    if metadata.num_rows > size or claimed > _ALWAYS_ALLOWED + _LARGEST_RATIO * size:
        raise ValueError(f"its {size} bytes claim {metadata.num_rows} rows of {claimed} bytes")


def _check_complete(paths: list[Path]) -> None:
    """Files are numbered train-00000-of-00002: half a download must not pass for the dataset."""
    totals = {match[1] for p in paths if (match := re.search(r"-of-(\d+)", p.name))}
    if totals and (len(totals) > 1 or int(totals.pop()) != len(paths)):
        names = ", ".join(p.name for p in paths)
        raise ValueError(
            f"{paths[0].parent} holds {names}; some of that set are missing: add them."
        )


def _opened(part: _Part) -> Iterator[tuple[str, Callable[[], io.BytesIO]]]:
    """Name and bytes of every image, one row group in memory at a time."""
    for group in part.groups:
        for i, cell in enumerate(_cells(group, part.image, None)):
            name = f"{group.path}, row {group.first_row_in_file + i},"
            yield name, functools.partial(io.BytesIO, cell or b"")


def _cells(group: _Group, column: str, rows: np.ndarray | None) -> list[bytes | None]:
    """The bytes of images of a row group: of some of its rows, or of all."""
    with naming(group.path):
        file = pyarrow_parquet().ParquetFile(group.path)
        cells = file.read_row_group(group.number, columns=[column]).column(0)
        cells = (cells if rows is None else cells.take(rows)).to_pylist()
    return [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]


def _image_reader(
    part: _Part, known: Known | None, form: Callable[[], Form | None]
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that decodes chosen rows, one row group in memory at a time."""
    groups = part.groups

    def read(rows: np.ndarray) -> np.ndarray:
        blobs: list[bytes | None] = [None] * len(rows)
        places: list[tuple[Path, int]] = [(groups[0].path, 0)] * len(rows)
        for group in groups:
            local = rows - group.first_row
            wanted = np.flatnonzero((local >= 0) & (local < group.num_rows))
            if not len(wanted):
                continue
            cells = _cells(group, part.image, local[wanted])
            for position, cell in zip(wanted, cells, strict=True):
                blobs[position] = cell
                places[position] = (group.path, int(local[position]) + group.first_row_in_file)
        return decode_images(blobs, lambda i: f"{places[i][0]}, row {places[i][1]},", known, form())

    return read


def _one_of(candidates: Sequence[str], names: list[str], path: Path) -> str:
    for name in candidates:
        if name in names:
            return name
    raise ValueError(
        f"{path} has columns {', '.join(names)}; expected one named {' or '.join(candidates)}."
    )


class naming:
    """Turns what pyarrow raises on a damaged file into a ValueError that names the file."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # pyarrow's errors derive from ValueError, OSError, KeyError, ... by release.
        if isinstance(error, Exception) and not isinstance(error, ImportError):
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"{self.path} is not a readable parquet file ({reason}); replace it."
            ) from error


def pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"reading parquet files needs pyarrow: {INSTALL}.") from error
    return pyarrow.parquet
