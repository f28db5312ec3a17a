"""Folders to write to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
