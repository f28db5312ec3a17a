"""Arrays as members of an archive: any name, every dtype of NumPy and JAX that needs no pickle."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import jax
import numpy as np

from ._archive import Archive

# Kinds of entries that NumPy's format keeps without pickle, and the name of a member at most.
_STORED, _LONGEST_NAME = "biufcSUMm", 100


class ArrayReader:
    """Arrays of an archive, each of them once: the sum is then no more than the file."""

    def __init__(self, archive: Archive):
        self._archive, self._left = archive, set(archive.names)

    def __call__(self, name: Any, dtype: Any) -> np.ndarray:
        member = f"{name}.npy"
        if not isinstance(name, str) or member not in self._left:
            raise ValueError(f"its array {name!r} is not there, or is named twice")
        self._left.remove(member)
        array = self._archive.read_array(member)
        if array.dtype.name == dtype:
            return array
        wanted = jax.numpy.dtype(dtype) if isinstance(dtype, str) else array.dtype
        if not _is_extension(wanted) or array.dtype != f"u{wanted.itemsize}":
            raise ValueError(f"its array {name!r} is of {array.dtype}, not of {dtype!r}")
        return array.view(wanted)


def timeless_entry(name: str) -> zipfile.ZipInfo:
    """An entry without the time of day: equal results make equal files."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o600 << 16
    return entry


def encode_array(array: np.ndarray, arrays: dict[str, np.ndarray], name: str) -> Any:
    """The node that stands for an array in the manifest; the array is added to ``arrays``."""
    if array.dtype.hasobject:
        raise TypeError(f"cannot save {name}: an array of Python objects would need pickle.")
    dtype = array.dtype.name
    if _is_extension(array.dtype):  # bfloat16 and others that NumPy does not know: as raw bytes
        array = array.view(f"u{array.dtype.itemsize}")
    if array.dtype.kind not in _STORED or not array.dtype.itemsize:
        raise TypeError(f"cannot save {name}: an array of {array.dtype}, expected numbers or text.")
    # Keys may hold dots, slashes and bytes that a zip archive does not take.
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)[-_LONGEST_NAME:]
    entry = safe if safe not in arrays else f"{safe}~{len(arrays)}"
    arrays[entry] = array
    return {"array": entry, "dtype": dtype}


def _is_extension(dtype: np.dtype) -> bool:
    """Whether a dtype is one of JAX's own, such as bfloat16."""
    return dtype.isbuiltin == 2
