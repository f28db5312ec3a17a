"""Files of tables, for `load`: .csv, .tsv, .parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._parquet import image_columns, naming, pyarrow_parquet, read_image_files
from .._source import Known, Source, reader
from ._frame import SUFFIXES, read_table
from ._rows import TableOptions, table_source

_TAKES = ("label", "test", "group", "identifier", "drop", "extra_labels")
_TAKES_IMAGES = ("image", "image_size", "channels")


def _reader_of(suffix: str) -> Callable[..., Source | None]:
    def read(path: Path, known: Known | None, **options: Any) -> Source | None:
        if known is not None:  # images are no tables
            return None
        return table_source(read_table(path), TableOptions(**options))

    return reader(suffix=suffix, takes=_TAKES)(read)


@reader(suffix=".parquet", takes=(*_TAKES, *_TAKES_IMAGES))
def read_parquet_file(path: Path, known: Known | None, **options: Any) -> Source | None:
    """Reads a file with a column of images as images, and any other as a table.

    Raises:
        ValueError: as `read_image_files` and `table_source`; for options of the other of the two.
        OSError: if it cannot be read.
    """
    if known is not None:
        return None
    with naming(path):
        schema = pyarrow_parquet().ParquetFile(path).schema_arrow
    has_images = "image" in options or bool(image_columns(schema))
    idle = set(options) & set(_TAKES[1:] if has_images else _TAKES_IMAGES)
    if idle:
        what = "a table" if not has_images else "images"
        raise ValueError(f"{', '.join(sorted(idle))}: {path} holds {what}; leave it out.")
    if has_images:
        return read_image_files(path, [path], [], None, **options)
    return table_source(read_table(path), TableOptions(**options))


for _suffix in SUFFIXES:
    if _suffix != ".parquet":
        _reader_of(_suffix)
