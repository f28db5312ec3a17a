"""The way in for a user's own arrays."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_choice,
    check_finite,
    check_labels,
    check_same_length,
    real_array,
)
from .._numerics import check_range
from .._typing import ArrayLike
from ._dataset import KINDS, Dataset
from ._labels import check_names, class_count, number_labels

LAYOUTS = (None, "NHWC", "NCHW")
_CHANNELS = (1, 3, 4)


def from_arrays(
    train_inputs: ArrayLike,
    train_labels: ArrayLike,
    test_inputs: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    *,
    name: str,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    extra_labels: Mapping[str, ArrayLike] | None = None,
    kind: str | None = None,
    layout: str | None = None,
    train_identifiers: Sequence[str] | None = None,
    test_identifiers: Sequence[str] | None = None,
) -> Dataset:
    """Makes a dataset of a user's own arrays, in the order given and without rescaling.

    Labels that are no numbers from 0 up become such numbers: words are numbered in the order of
    ``class_names``, or else sorted; truth values are the classes False and True; integers from 1
    up, and -1 beside 1, are numbered in order, with a warning, unless ``num_classes`` or
    ``class_names`` says what they mean.

    Args:
        train_inputs: (n, ...) finite numbers, n of at least 1; stored as float32, tokens as int32.
        train_labels: (n,) or (n, 1) integers, words or truth values.
        test_inputs: (m, ...) with the trailing axes of ``train_inputs``; None for no test points.
        test_labels: (m,) or (m, 1), of the kind of ``train_labels``.
        name: what to call the dataset.
        num_classes: number of classes; by default that of ``class_names``, otherwise one more
            than the largest label.
        class_names: one name per class; by default the words, or the numbers.
        extra_labels: further labels (n,) of the training points; -1 marks an entry without one.
        kind: what a point is, see `Dataset`: "images", "table", "vectors" or "tokens", which are
            whole numbers (n, T) from 0 up. None: images if there are more axes than (n, d), else
            vectors; numbers alone do not say that they are tokens.
        layout: of images with four axes, "NHWC", or "NCHW", whose channels are moved to the end.
            None: NCHW where the second axis has 1, 3 or 4 entries and the last has not, with a
            warning, else NHWC.
        train_identifiers: n names of the training points, such as file names.
        test_identifiers: m names of the test points.

    Returns:
        The dataset.

    Raises:
        ValueError: for lengths or trailing axes that differ, NaN, infinity, masked or complex
            values, inputs whose size float32 does not hold, labels out of range, missing, of
            several kinds or several to a point, or one of the two test arrays without the other.

    Warns:
        UserWarning: if labels were numbered anew, or channels moved.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> data = na.datasets.from_arrays(np.eye(4), ["cat", "dog", "cat", "eel"], name="mine")
        >>> data.train_inputs.shape, data.num_classes, data.class_names
        ((4, 4), 3, ('cat', 'dog', 'eel'))
    """
    if kind is not None:
        check_choice("kind", kind, KINDS)
    train = _inputs("train_inputs", train_inputs, kind)
    if not len(train):
        raise ValueError("train_inputs holds no points, expected (n, ...) with n of at least 1.")
    if (test_inputs is None) != (test_labels is None):
        raise ValueError("one of test_inputs and test_labels is missing; pass both or neither.")
    if test_inputs is None or test_labels is None:
        test, raw_test_labels = np.zeros((0, *train.shape[1:]), train.dtype), np.zeros(0, np.int32)
    else:
        test, raw_test_labels = _inputs("test_inputs", test_inputs, kind), test_labels
    if test.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"test_inputs has shape {test.shape} and train_inputs {train.shape}; "
            "expected the same axes after the first."
        )
    train, test = channels_last(train, test, layout)
    given = {"train_labels": train_labels, "test_labels": raw_test_labels}
    names, labels, tested, extra = _labels(given, extra_labels or {}, num_classes, class_names)
    check_same_length("train_inputs", train, "train_labels", labels)
    check_same_length("test_inputs", test, "test_labels", tested)
    return Dataset(
        # jnp.array copies: jnp.asarray may share memory with an array that its owner changes later.
        train_inputs=jnp.array(train),
        train_labels=jnp.asarray(labels),
        test_inputs=jnp.array(test),
        test_labels=jnp.asarray(tested),
        extra_labels={k: jnp.asarray(v) for k, v in extra.items()},
        train_rows=jnp.arange(len(labels), dtype=jnp.int32),
        test_rows=jnp.arange(len(tested), dtype=jnp.int32),
        num_classes=len(names),
        class_names=names,
        name=str(name),
        kind=kind or "",
        train_identifiers=_identifiers("train_identifiers", train_identifiers, len(labels)),
        test_identifiers=_identifiers("test_identifiers", test_identifiers, len(tested)),
    )


def with_targets(dataset: Dataset, train: np.ndarray, test: np.ndarray) -> Dataset:
    """The dataset with numbers (n, k) and (m, k) to be predicted, and without classes."""
    return dataclasses.replace(
        dataset,
        train_targets=jnp.asarray(train, jnp.float32),
        test_targets=jnp.asarray(test, jnp.float32),
        # -1 is what no class is called: what wants classes says so.
        train_labels=jnp.full(len(train), -1, jnp.int32),
        test_labels=jnp.full(len(test), -1, jnp.int32),
        num_classes=0,
        class_names=(),
    )


def channels_last(
    train: np.ndarray, test: np.ndarray, layout: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Both as (n, H, W, ch); see `from_arrays`."""
    check_choice("layout", layout, LAYOUTS)
    if layout is not None and train.ndim != 4:
        raise ValueError(f"layout is {layout!r} and train_inputs has {train.ndim} axes, not 4.")
    if train.ndim == 4 and layout is None:
        moved = train.shape[1] in _CHANNELS and train.shape[3] not in _CHANNELS
        if moved:
            warnings.warn(
                f"inputs of shape {train.shape} are read as (n, channels, H, W) and the channels "
                "moved to the end; pass layout='NHWC' if they are there.",
                stacklevel=3,
            )
            layout = "NCHW"
    if layout != "NCHW":
        return train, test
    return np.moveaxis(train, 1, 3), np.moveaxis(test, 1, 3)


def _labels(
    given: Mapping[str, Any],
    further: Mapping[str, ArrayLike],
    num_classes: int | None,
    class_names: Sequence[str] | None,
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Names of the classes, labels of both sets, and the further labels."""
    check_names(class_names, num_classes)
    # Those that are numbers are held to their classes below.
    wordy = {f"extra_labels[{k!r}]": v for k, v in further.items()}
    found = number_labels(given, further=wordy, class_names=class_names, num_classes=num_classes)
    names = found.names if class_names is None else class_names
    first = {name: found.labels[name] for name in given}
    classes = class_count(num_classes, names, first)
    labels, tested = (check_labels(name, x, classes) for name, x in first.items())
    extra = {
        k: _extra(k, found.labels[f"extra_labels[{k!r}]"], len(labels), classes) for k in further
    }
    named = list(map(str, names if names is not None else range(classes)))
    named += map(str, range(len(named), classes))
    return tuple(named), labels, tested, extra


def _identifiers(name: str, given: Sequence[str] | None, length: int) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str) or len(given) != length:
        raise ValueError(f"{name} holds {len(given)} entries, expected {length}, one per point.")
    return tuple(map(str, given))


def _inputs(name: str, value: ArrayLike, kind: str | None) -> np.ndarray:
    array = real_array(name, value)
    if array.ndim < 2:
        raise ValueError(
            f"{name} has shape {array.shape}, expected numbers (n, d) or (n, H, W, ch)."
        )
    if kind == "tokens":
        return _tokens(name, array)
    if kind in ("table", "vectors") and array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape} and kind is {kind!r}, expected (n, d).")
    check_finite(name, array)
    check_range(name, array, np.dtype(np.float32))
    return array.astype(np.float32, copy=False)


def _tokens(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected tokens: integers "
            "(n, T), padded to one length."
        )
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
        raise ValueError(
            f"{name} spans {array.min()}..{array.max()}, expected tokens from 0 up to 2^31 - 1."
        )
    return array.astype(np.int32)


def _extra(name: str, value: ArrayLike, length: int, num_classes: int) -> np.ndarray:
    array = real_array(f"extra_labels[{name!r}]", value)
    if array.shape != (length,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"extra_labels[{name!r}] has shape {array.shape} and dtype {array.dtype}, expected "
            f"integers ({length},), one per training point."
        )
    if array.size and (array.min() < -1 or array.max() >= num_classes):
        raise ValueError(
            f"extra_labels[{name!r}] spans {array.min()}..{array.max()}, expected labels in "
            f"0..{num_classes - 1}, or -1 for none."
        )
    return array.astype(np.int32)
