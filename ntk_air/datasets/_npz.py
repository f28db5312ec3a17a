"""NumPy archives with train_inputs, train_labels, test_inputs, test_labels."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from .._checks import check_finite, check_same_length
from ._source import Known, Source, Split

# Ours first, then those of the widespread mnist.npz.
_KEYS = {
    "train_inputs": ("train_inputs", "x_train"),
    "train_labels": ("train_labels", "y_train"),
    "test_inputs": ("test_inputs", "x_test"),
    "test_labels": ("test_labels", "y_test"),
}
EXTRA = "extra_"


def read_npz(path: Path, known: Known | None) -> Source:
    """Reads one archive.

    Optional keys are ``class_names`` (C,) and ``extra_<name>`` (n,) for further training labels.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{path} is not a readable .npz archive of plain arrays ({error}); write it with "
            "numpy.savez."
        ) from error
    found = {
        name: next((arrays[k] for k in keys if k in arrays), None) for name, keys in _KEYS.items()
    }
    extra = {k.removeprefix(EXTRA): v for k, v in arrays.items() if k.startswith(EXTRA)}
    train = _split(path, "train", found, known, extra)
    if train is None:
        raise ValueError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; expected train_inputs and "
            "train_labels (and test_inputs, test_labels)."
        )
    names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else None
    return Source(path, train, _split(path, "test", found, known, {}), names)


def _split(
    path: Path,
    split: str,
    found: dict[str, np.ndarray | None],
    known: Known | None,
    extra: dict[str, np.ndarray],
) -> Split | None:
    inputs, labels = found[f"{split}_inputs"], found[f"{split}_labels"]
    if inputs is None and labels is None:
        return None
    if inputs is None or labels is None:
        raise ValueError(f"{path} holds only one of {split}_inputs and {split}_labels; add both.")
    if inputs.ndim == 3:  # grey images without a channel axis
        inputs = inputs[..., None]
    if inputs.ndim not in (2, 4) or (known is not None and inputs.shape[1:] != known.shape):
        raise ValueError(
            f"{split}_inputs of {path} has shape {inputs.shape}, expected "
            + (f"(n, {', '.join(map(str, known.shape))})." if known else "(n, d) or (n, H, W, ch).")
        )
    labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    try:
        check_finite(f"{split}_inputs", inputs)
        check_same_length(f"{split}_inputs", inputs, f"{split}_labels", labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Split(labels, lambda rows: inputs[rows], extra)
