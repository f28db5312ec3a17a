"""Download through Hugging Face `datasets`, where it is installed and a network allows."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ._images import decode_images
from ._parquet import IMAGE_COLUMNS
from ._source import Known, Source, Split


def read_hub(known: Known) -> Source:
    """Downloads a known dataset, or takes it from the local cache of `datasets`.

    Raises:
        FileNotFoundError: if `datasets` is not installed or gets no data; the message says which.
    """
    try:
        hub = importlib.import_module("datasets")
    except ImportError:
        hub = None
    # A folder named datasets/ in the working directory imports too, as an empty package.
    if hub is None or not hasattr(hub, "load_dataset"):
        raise FileNotFoundError("Hugging Face `datasets` is not installed")
    try:
        splits = hub.load_dataset(known.hub)
    # Offline, refused, out of disk, renamed: each release raises other types for them.
    except Exception as error:
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise FileNotFoundError(f"downloading {known.hub} failed: {reason}") from error
    return Source(
        known.hub,
        _split(hub, splits["train"], known, "train"),
        _split(hub, splits["test"], known, "test"),
    )


def _split(hub: Any, table: Any, known: Known, split: str) -> Split:
    image = next(name for name in IMAGE_COLUMNS if name in table.column_names)
    raw = table.cast_column(image, hub.Image(decode=False))
    return Split(np.asarray(list(raw[known.label_columns[0]])), _reader(raw, image, known, split))


def _reader(raw: Any, image: str, known: Known, split: str) -> Callable[[np.ndarray], np.ndarray]:
    def read(rows: np.ndarray) -> np.ndarray:
        cells = raw.select(rows.tolist())[image]
        blobs = [cell["bytes"] for cell in cells]
        return decode_images(blobs, lambda i: f"{known.hub} {split}, row {rows[i]},", known)

    return read
