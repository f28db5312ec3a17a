"""NumPy archives with train_inputs, train_labels, test_inputs, test_labels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .._archive import Archive, damaged, open_regular
from .._checks import check_choice, check_finite, check_same_length
from ._dataset import KINDS
from ._from_arrays import channels_last
from ._labels import number_labels
from ._source import Known, Source, Split, reader

# Ours first, then those of Keras and MedMNIST, and of one set without a name.
_SPLITS = ("train", "val", "test")
_INPUTS: dict[str, tuple[str, ...]] = {
    split: (f"{split}_inputs", f"x_{split}", f"X_{split}", f"{split}_images") for split in _SPLITS
}
_LABELS: dict[str, tuple[str, ...]] = {
    split: (f"{split}_labels", f"y_{split}", f"Y_{split}") for split in _SPLITS
}
_INPUTS["train"] += ("inputs", "images", "data", "x", "X")
_LABELS["train"] += ("labels", "target", "y", "Y")
EXTRA = "extra_"


@reader(suffix=".npz")
def read_npz(path: Path, known: Known | None) -> Source:
    """Reads one archive.

    Optional keys are ``class_names`` (C,), ``extra_<name>`` (n,) for further training labels,
    ``train_identifiers`` and ``test_identifiers``, what points are called, and ``kind``, one word
    as of `Dataset`. Validation points are the test points where there are no others, with a
    warning, and else left out, with a warning.

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
    try:
        return _source(path, arrays, known)
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error


def _source(path: Path, arrays: dict[str, np.ndarray], known: Known | None) -> Source:
    found = {split: _pair(split, arrays, known) for split in _SPLITS}
    train, test = found["train"], found["test"]
    if train is None:
        raise ValueError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; expected train_inputs and "
            "train_labels (and test_inputs, test_labels)."
        )
    if found["val"] is not None:
        count = len(found["val"][0])
        warnings.warn(
            f"{path}: the {count} validation points are left out, since there are test points."
            if test
            else f"{path} has no test points; its {count} validation points are taken for them.",
            stacklevel=2,
        )
        test = test or found["val"]
    x, tested = channels_last(train[0], test[0] if test else train[0][:0])
    labels = {"train_labels": train[1]} | ({"test_labels": test[1]} if test else {})
    extra = {k: v for k, v in arrays.items() if k.startswith(EXTRA)}
    names = known.class_names if known else _class_names(path, arrays)
    numbered = number_labels(labels, further=extra, class_names=names)
    further = {k.removeprefix(EXTRA): numbered.labels[k] for k in extra}
    kind = str(arrays.get("kind", ""))
    check_choice(f"kind of {path}", kind, ("", *KINDS))

    def split(name: str, inputs: np.ndarray, more: dict[str, np.ndarray]) -> Split:
        called: Any = arrays.get(f"{name}_identifiers")
        if called is not None:
            check_same_length(f"{name}_identifiers", called, f"{name}_inputs", inputs)
        return Split(numbered.labels[f"{name}_labels"], lambda rows: inputs[rows], more, called)

    sets = split("train", x, further), split("test", tested, {}) if test else None
    return Source(path, *sets, numbered.names, kind)


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


def _pair(
    split: str, arrays: dict[str, np.ndarray], known: Known | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Inputs and labels of a split, in the axes that are known."""
    inputs = next((arrays[k] for k in _INPUTS[split] if k in arrays), None)
    labels = next((arrays[k] for k in _LABELS[split] if k in arrays), None)
    if inputs is None and labels is None:
        return None
    if inputs is None or labels is None:
        raise ValueError(f"holds only one of {split}_inputs and {split}_labels; add both.")
    if inputs.dtype.kind not in "biuf":
        raise ValueError(f"{split}_inputs has dtype {inputs.dtype}, expected real numbers.")
    if inputs.ndim == 3:  # grey images without a channel axis
        inputs = inputs[..., None]
    if inputs.ndim not in (2, 4):
        raise ValueError(
            f"{split}_inputs has shape {inputs.shape}, expected (n, d) or (n, H, W, ch)."
        )
    if known is not None and inputs.shape[1:] not in (
        known.shape,
        known.shape[-1:] + known.shape[:2],
    ):
        raise ValueError(
            f"{split}_inputs has shape {inputs.shape}, expected "
            f"(n, {', '.join(map(str, known.shape))})."
        )
    check_finite(f"{split}_inputs", inputs)
    check_same_length(f"{split}_inputs", inputs, f"{split}_labels", labels)
    return inputs, labels
