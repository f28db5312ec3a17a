"""SHA-256 of contents: of arrays with their names, types and shapes, of texts, of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ._typing import ArrayLike, PyTree

DIGEST_SIZE = hashlib.sha256().digest_size
"""Bytes of a digest, two characters each as text."""


def new_digest(text: str = "") -> Any:
    """A digest of a text that more is added to; ``hexdigest()`` reads it."""
    return hashlib.sha256(text.encode())


def digest_of_text(text: str) -> str:
    """The digest of a text."""
    return new_digest(text).hexdigest()


def digest_of_file(path: Path) -> str:
    """The digest of what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_arrays(tree: PyTree) -> str:
    """The digest of the arrays of a tree: structure, types, shapes and bytes."""
    # Not the tree's own text: it may show functions by their address.
    taken = new_digest()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        add_array(taken, jax.tree_util.keystr(path), leaf)
    return taken.hexdigest()


def add_array(taken: Any, name: str, value: ArrayLike) -> None:
    """Adds an array with its name, type and shape."""
    array = np.ascontiguousarray(value)
    taken.update(f"{name} {array.dtype} {array.shape}".encode())
    add_bytes(taken, array)


def add_bytes(taken: Any, array: ArrayLike) -> None:
    """Adds the bytes of an array, in C order."""
    taken.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
