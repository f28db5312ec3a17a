"""Folders to write to, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def check_writable(directory: str | os.PathLike[str]) -> Path:
    """Makes the folder where needed and proves that it takes files, before hours of work.

    Raises:
        ValueError: if it cannot be made or written, with the system's reason.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     na.reports.check_writable(pathlib.Path(folder) / "new").name
        'new'
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {directory}: {error.strerror or error}; choose another folder."
        ) from error
    return directory


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its name once it is whole; one that fails leaves nothing."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
