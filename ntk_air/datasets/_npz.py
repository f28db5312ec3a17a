"""NumPy archives with train_inputs, train_labels, test_inputs, test_labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._archive import Archive, damaged, open_regular
from .._checks import check_finite, check_same_length
from ._source import Known, Source, Split, reader

# Ours first, then those of the widespread mnist.npz.
_KEYS = {
    "train_inputs": ("train_inputs", "x_train"),
    "train_labels": ("train_labels", "y_train"),
    "test_inputs": ("test_inputs", "x_test"),
    "test_labels": ("test_labels", "y_test"),
}
EXTRA = "extra_"


@reader(suffix=".npz")
def read_npz(path: Path, known: Known | None) -> Source:
    """Reads one archive.

    Optional keys are ``class_names`` (C,) and ``extra_<name>`` (n,) for further training labels.

    Raises:
        ValueError: if it is damaged, holds Python objects, expands to far more than its own bytes
            justify, or its arrays are not those expected.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        try:
            archive = Archive(file, compressed=True)
            arrays = {name.removesuffix(".npy"): archive.read_array(name) for name in archive.names}
        # What damaged bytes raise in zipfile and NumPy is none of their documentation.
        except Exception as error:
            what = f"{path} is not a readable .npz archive of plain arrays, as of numpy.savez"
            raise damaged(what, error) from error
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
    return Source(path, train, _split(path, "test", found, known, {}), _class_names(path, arrays))


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...] | None:
    names = arrays.get("class_names")
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise ValueError(
            f"class_names of {path} has shape {names.shape} and dtype {names.dtype}, expected "
            "one name, or number, for each class."
        )
    return tuple(map(str, names))


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
    if inputs.dtype.kind not in "biuf":
        raise ValueError(
            f"{split}_inputs of {path} has dtype {inputs.dtype}, expected real numbers."
        )
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
