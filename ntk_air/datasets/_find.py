"""Where the files of a dataset are looked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._hub import read_hub
from ._source import READERS, Known, Source

# isort: off
# The formats, in the order in which they are looked for: a new one is a file with a function under
# `reader`, and a line here.
from . import _parquet as _parquet
from . import _idx as _idx
from ._cifar_binary import find_pickles
from . import _image_folder as _image_folder
from . import _npz as _npz
from .tables import _files as _files

# isort: on

VARIABLE = "NTK_AIR_DATA"
# Folders that Hugging Face repositories, torchvision and the original archives put files in.
_INNER = ("", "data", "plain_text", "raw", "cifar-10-batches-bin", "cifar-100-binary")
_PICKLED = ("", "cifar-10-batches-py", "cifar-100-python")


def find_known(known: Known, root: str | os.PathLike[str] | None) -> Source:
    """The files of a known dataset below ``root`` or `$NTK_AIR_DATA`, else a download.

    A root that is given is the only place: a mistyped path must not start a download.
    """
    given = root or os.environ.get(VARIABLE)
    base = Path(given).expanduser() if given else None
    folders = [base / known.name, base / known.name.upper(), base] if base else []
    for folder in folders:
        for inner in (*_INNER, known.name):
            source = _read(folder / inner, known, {})
            if source is not None:
                return source
    for reader in READERS:
        file = base / f"{known.name}{reader.suffix}" if base and reader.suffix else None
        source = reader.source(file, known, {}) if file is not None and file.is_file() else None
        if source is not None:
            return source
    reasons = [str(f) for f in folders] or [f"${VARIABLE} (not set)"]
    for folder in folders:
        pickled = next(filter(None, (find_pickles(folder / p, known.name) for p in _PICKLED)), None)
        if pickled:
            reasons.append(
                f"{pickled} is the pickled version, not read because unpickling runs code from "
                "the file: get the binary version"
            )
            break
    if not root:
        try:
            return read_hub(known)
        except FileNotFoundError as error:
            reasons.append(str(error))
    raise FileNotFoundError(
        f"no files of {known.name} found; looked in: {'; '.join(reasons)}. Put the parquet folder "
        f"of https://huggingface.co/datasets/{known.hub}, or the originals from {known.homepage}, "
        f"in a folder named {known.name} and pass the folder above as root or set ${VARIABLE}."
    )


def find_path(name: str, names: tuple[str, ...], options: Mapping[str, Any]) -> Source:
    """The user's own data at a path: a file or a folder in one of the formats.

    Args:
        name: the path.
        names: of known data, for messages.
        options: what `load` was given for the reader, by keyword.
    """
    path = Path(name).expanduser()
    for reader in READERS:
        if reader.suffix and path.suffix.lower() == reader.suffix and path.is_file():
            return reader.read_file(path, None, options)
    if path.is_dir():
        for inner in _INNER:
            source = _read(path / inner, None, options)
            if source is not None:
                return source
        *some, last = (reader.files for reader in READERS if reader.files)
        raise FileNotFoundError(
            f"{path} holds no data that is read; expected {', '.join(some)} or {last}."
        )
    suffixes = " or ".join(reader.suffix for reader in READERS if reader.suffix)
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"{path} is no folder and no {suffixes} file; check the path.")
    raise ValueError(
        f"name is {name!r}, expected one of {', '.join(names)}, or the path of a folder or "
        f"{suffixes} file with your own data."
    )


def _read(folder: Path, known: Known | None, options: Mapping[str, Any]) -> Source | None:
    if not folder.is_dir():
        return None
    for reader in READERS:
        source = None if reader.suffix else reader.source(folder, known, options)
        if source is not None:
            return source
    return None
