"""Hugging Face parquet folders: train-*.parquet and test-*.parquet with compressed images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._images import INSTALL, decode_images
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


@reader("train-*.parquet")
def read_parquet(folder: Path, known: Known | None) -> Source | None:
    """Reads a folder of parquet files; see `Reader`."""
    train, test = (sorted(folder.glob(f"{split}*.parquet")) for split in ("train", "test"))
    if not train:
        return None
    for paths in (train, test):
        _check_complete(paths)
    names = None if known else _class_names(train[0])
    return Source(folder, _split(train, known), _split(test, known) if test else None, names)


def _class_names(path: Path) -> tuple[str, ...] | None:
    """The class names that Hugging Face's writer keeps in the file, if it wrote the file."""
    with _naming(path):
        schema = _pyarrow_parquet().ParquetFile(path).schema_arrow
    label = _one_of(LABEL_COLUMNS, schema.names, path)
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (TypeError, KeyError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} names its classes {names!r}, expected a list of names.")
    return tuple(names)


def _split(paths: list[Path], known: Known | None) -> Split:
    parquet = _pyarrow_parquet()
    groups: list[_Group] = []
    columns: dict[str, list[np.ndarray]] = {}
    total, image_column, label_column = 0, "", ""
    for path in paths:
        with _naming(path):
            file = parquet.ParquetFile(path)
            names = file.schema_arrow.names
            _check_claims(path, file.metadata)
        image_column = _one_of(IMAGE_COLUMNS, names, path)
        label_column = _one_of(known.label_columns if known else LABEL_COLUMNS, names, path)
        for name in (label_column, *(c for c in HUMAN_COLUMNS if c in names)):
            with _naming(path):
                kind = str(file.schema_arrow.field(name).type)
                values = file.read(columns=[name]).column(0)
            if not kind.startswith(("int", "uint")):
                raise ValueError(
                    f"{path} has entries of type {kind} in column {name!r}, expected whole numbers."
                )
            if values.null_count:
                raise ValueError(f"{path} has empty entries in column {name!r}; fill or drop them.")
            columns.setdefault(name, []).append(np.asarray(values))
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
    return Split(
        labels=merged.pop(label_column),
        read=_image_reader(groups, image_column, known),
        extra_labels={HUMAN_COLUMNS[name]: values for name, values in merged.items()},
    )


def _check_claims(path: Path, metadata: Any) -> None:
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


def _image_reader(
    groups: list[_Group], column: str, known: Known | None
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that decodes chosen rows, one row group in memory at a time."""

    def read(rows: np.ndarray) -> np.ndarray:
        blobs: list[bytes | None] = [None] * len(rows)
        places: list[tuple[Path, int]] = [(groups[0].path, 0)] * len(rows)
        for group in groups:
            local = rows - group.first_row
            wanted = np.flatnonzero((local >= 0) & (local < group.num_rows))
            if not len(wanted):
                continue
            with _naming(group.path):
                file = _pyarrow_parquet().ParquetFile(group.path)
                cells = file.read_row_group(group.number, columns=[column]).column(0)
                cells = cells.take(local[wanted]).to_pylist()
            for position, cell in zip(wanted, cells, strict=True):
                blobs[position] = cell.get("bytes") if isinstance(cell, dict) else cell
                places[position] = (group.path, int(local[position]) + group.first_row_in_file)
        return decode_images(blobs, lambda i: f"{places[i][0]}, row {places[i][1]},", known)

    return read


def _one_of(candidates: tuple[str, ...], names: list[str], path: Path) -> str:
    for name in candidates:
        if name in names:
            return name
    raise ValueError(
        f"{path} has columns {', '.join(names)}; expected one named {' or '.join(candidates)}."
    )


class _naming:
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


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"reading parquet files needs pyarrow: {INSTALL}.") from error
    return pyarrow.parquet
