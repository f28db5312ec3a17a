"""The way in for a user's own arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from .._checks import check_finite, check_labels, check_same_length, check_size, real_array
from .._numerics import check_range
from .._typing import ArrayLike
from ._dataset import Dataset


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
) -> Dataset:
    """Makes a dataset of a user's own arrays, in the order given and without rescaling.

    Args:
        train_inputs: (n, ...) finite numbers, n of at least 1; stored as float32.
        train_labels: (n,) integers from 0 up.
        test_inputs: (m, ...) with the trailing axes of ``train_inputs``; None for no test points.
        test_labels: (m,) integers.
        name: what to call the dataset.
        num_classes: number of classes; by default that of ``class_names``, otherwise one more
            than the largest label.
        class_names: one name per class; by default the numbers.
        extra_labels: further labels (n,) of the training points; -1 marks an entry without one.

    Returns:
        The dataset.

    Raises:
        ValueError: for lengths or trailing axes that differ, NaN, infinity, masked or complex
            values, inputs whose size float32 does not hold, labels out of range, or one of the two
            test arrays without the other.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> data = na.datasets.from_arrays(np.eye(4), [0, 1, 0, 2], name="mine")
        >>> data.train_inputs.shape, data.num_classes, len(data.test_labels)
        ((4, 4), 3, 0)
    """
    train = _inputs("train_inputs", train_inputs)
    if not len(train):
        raise ValueError("train_inputs holds no points, expected (n, ...) with n of at least 1.")
    if (test_inputs is None) != (test_labels is None):
        raise ValueError("one of test_inputs and test_labels is missing; pass both or neither.")
    if test_inputs is None or test_labels is None:
        test, raw_test_labels = np.zeros((0, *train.shape[1:]), np.float32), np.zeros(0, np.int32)
    else:
        test, raw_test_labels = _inputs("test_inputs", test_inputs), test_labels
    if test.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"test_inputs has shape {test.shape} and train_inputs {train.shape}; "
            "expected the same axes after the first."
        )
    given = {"train_labels": train_labels, "test_labels": raw_test_labels}
    classes = _class_count(num_classes, class_names, given)
    labels = check_labels("train_labels", train_labels, classes)
    tested = check_labels("test_labels", raw_test_labels, classes)
    check_same_length("train_inputs", train, "train_labels", labels)
    check_same_length("test_inputs", test, "test_labels", tested)
    extra = {k: _extra(k, v, len(labels), classes) for k, v in (extra_labels or {}).items()}
    return Dataset(
        # jnp.array copies: jnp.asarray may share memory with an array that its owner changes later.
        train_inputs=jnp.array(train),
        train_labels=jnp.asarray(labels),
        test_inputs=jnp.array(test),
        test_labels=jnp.asarray(tested),
        extra_labels={k: jnp.asarray(v) for k, v in extra.items()},
        train_rows=jnp.arange(len(labels), dtype=jnp.int32),
        test_rows=jnp.arange(len(tested), dtype=jnp.int32),
        num_classes=classes,
        class_names=tuple(map(str, class_names or range(classes))),
        name=str(name),
    )


def _inputs(name: str, value: ArrayLike) -> np.ndarray:
    array = real_array(name, value)
    if array.ndim < 2:
        raise ValueError(
            f"{name} has shape {array.shape}, expected numbers (n, d) or (n, H, W, ch)."
        )
    check_finite(name, array)
    check_range(name, array, np.dtype(np.float32))
    return array.astype(np.float32, copy=False)


def _class_count(
    num_classes: int | None, names: Sequence[str] | None, labels: Mapping[str, ArrayLike]
) -> int:
    if names is not None and num_classes is not None and len(names) != num_classes:
        raise ValueError(f"class_names has {len(names)} names and num_classes is {num_classes}.")
    if names is not None and len(set(names)) != len(names):
        raise ValueError(f"class_names holds a name twice: {', '.join(map(str, names))}.")
    if names is not None:
        num_classes = len(names)
    if num_classes is None:
        largest = max(check_labels(*one).max(initial=0) for one in labels.items())
        num_classes = max(int(largest) + 1, 2)
    return check_size("num_classes", num_classes, 2)


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
