"""Zip archives of ``.npy`` arrays that may come from strangers: nothing is run, nothing expands.

What a member claims to hold is compared with the bytes that the file has before any of it is read
or memory is taken for it.
"""

from __future__ import annotations

import errno
import io
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

# Of a compressed archive: images and tables compress less; what expands further is a bomb.
_LARGEST_RATIO = 200
_ALWAYS_ALLOWED = 2**24
_ENCRYPTED = 0x1
_PART = 2**20
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to read; a pipe or a device would be waited for without end.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    # Without waiting for whoever writes to a named pipe.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is not a regular file, expected a file of data", str(path))
    with os.fdopen(handle, "rb") as file:
        yield file


class Archive:
    """A zip archive whose members add up to no more than its own bytes justify.

    Any exception of its methods means a damaged archive, see `damaged`.
    """

    def __init__(self, file: IO[bytes], *, compressed: bool = False):
        """Reads the list of members.

        Args:
            file: open to read.
            compressed: whether members may be deflated, up to `_LARGEST_RATIO`.

        Raises:
            ValueError: if members are encrypted, named twice, or claim more bytes than there are.
        """
        size = os.fstat(file.fileno()).st_size
        self._zip = zipfile.ZipFile(file)
        self._members = {member.filename: member for member in self._zip.infolist()}
        if len(self._members) < len(self._zip.infolist()):
            raise ValueError("it names a member twice")
        for member in self._members.values():
            self._check(member, compressed)
        claimed = sum(member.file_size for member in self._members.values())
        allowed = max(size, compressed * (_LARGEST_RATIO * size + _ALWAYS_ALLOWED))
        if claimed > allowed:
            raise ValueError(
                f"its {size} bytes claim to hold {claimed}"
                + (", more than data compress; write it uncompressed" if compressed else "")
            )

    def _check(self, member: zipfile.ZipInfo, compressed: bool) -> None:
        if member.flag_bits & _ENCRYPTED:
            raise ValueError(f"its member {member.filename!r} is encrypted")
        kinds = (zipfile.ZIP_STORED, *(zipfile.ZIP_DEFLATED,) * compressed)
        if member.compress_type not in kinds:
            raise ValueError(f"its member {member.filename!r} is compressed in a way not read here")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the members, in their order."""
        return tuple(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        data = self._zip.read(self._members[name])
        if len(data) != self._members[name].file_size:
            raise ValueError(f"its member {name!r} is truncated")
        return data

    def read_array(self, name: str) -> np.ndarray:
        """A member in NumPy's format, of numbers or text; its shape must be that of its bytes."""
        with self._zip.open(self._members[name]) as member:
            return read_npy(member, self._members[name].file_size)


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """An array of numbers or text in NumPy's format.

    Args:
        file: at the beginning of it.
        size: its bytes; memory is taken only if the header promises just as many.

    Raises:
        ValueError: if it does not, or its entries are Python objects or records.
    """
    major = np.lib.format.read_magic(file)
    if major not in _HEADERS:
        raise ValueError(f"an array is of the unknown format version {major}")
    counted = _Counting(file)
    shape, fortran, dtype = _HEADERS[major](counted)
    if dtype.kind not in "biufcSUMm" or not dtype.itemsize or dtype.subdtype is not None:
        raise ValueError(f"an array has entries of type {dtype}, expected numbers or text")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"an array has shape {shape}")
    found = size - np.lib.format.MAGIC_LEN - counted.count
    expected = math.prod(shape) * dtype.itemsize
    if found != expected:
        raise ValueError(
            f"an array of shape {shape} and type {dtype} takes {expected} bytes, there are {found}"
        )
    flat = np.empty(math.prod(shape), dtype)
    into = flat.view(np.uint8).data
    filled = 0
    # In parts: a member of an archive would be read whole, and lie in memory twice.
    while filled < expected and (part := file.read(min(_PART, expected - filled))):
        into[filled : filled + len(part)] = part
        filled += len(part)
    if filled < expected or file.read(1):
        raise ValueError(f"an array of {expected} bytes is truncated after {filled}")
    return flat.reshape(shape, order="F" if fortran else "C")


class _Counting(io.RawIOBase):
    """Counts the bytes that a reader of headers takes."""

    def __init__(self, file: IO[bytes]):
        self._file, self.count = file, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


def damaged(what: str, error: BaseException) -> ValueError:
    """The one error for a file whose content is not what it should be.

    zipfile, zlib, json and NumPy raise some fifteen types on damaged bytes, among them
    RecursionError, NotImplementedError and struct.error; each means the same to the caller.
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, KeyError | RecursionError | MemoryError):
        reason = f"{type(error).__name__}: {reason}"
    return ValueError(f"{what}: {_short(reason)}")


def _short(text: str, most: int = 500) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."
