"""At which steps to record, and checks of what both trainers take in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_finite,
    check_in_range,
    check_labels,
    check_ndim,
    check_same_length,
    check_same_shape,
)
from .._typing import Array, ArrayLike
from ._label_fn import coding_of


def record_steps(record_every: int | Sequence[int] | None, num_steps: int) -> np.ndarray:
    """Steps to record at, increasing, from 0 to ``num_steps``, (R,) int32.

    None gives about a hundred; a sequence is completed by the first and the last step.
    """
    if int(num_steps) != num_steps or num_steps < 0:
        raise ValueError(f"num_steps is {num_steps}, expected an integer >= 0.")
    if record_every is None:
        record_every = max(1, int(num_steps) // 100)
    if np.ndim(record_every) == 0:
        every = int(record_every)  # pyright: ignore[reportArgumentType]
        if every != record_every or every < 1:
            raise ValueError(f"record_every is {record_every}, expected an integer >= 1.")
        steps = np.arange(0, num_steps + 1, every)
    else:
        steps = np.asarray(record_every)
        integral = np.issubdtype(steps.dtype, np.integer) and steps.ndim == 1
        if not integral or np.any(np.diff(steps) <= 0):
            raise ValueError(
                "record_every should be an integer or an increasing sequence of integer steps; "
                "for steps spaced by a factor use numpy.unique(numpy.geomspace(...).astype(int))."
            )
        if steps.size and (steps[0] < 0 or steps[-1] > num_steps):
            raise ValueError(
                f"record_every runs from {steps[0]} to {steps[-1]}, expected steps in "
                f"0..{num_steps} (num_steps = {num_steps})."
            )
    return np.union1d(steps, [0, num_steps]).astype(np.int32)


def check_targets(name: str, targets: ArrayLike) -> None:
    """Raises ValueError unless ``targets`` are finite floats (n, C)."""
    if np.issubdtype(np.asarray(targets).dtype, np.integer):
        raise ValueError(
            f"{name} has integer dtype {np.asarray(targets).dtype}, expected encoded targets "
            "(n, C) of floats; turn labels into targets with ntk_air.datasets.encode."
        )
    check_ndim(name, targets, 2, "(n, C) encoded targets")
    check_finite(name, targets)


def check_pair(observed: ArrayLike, clean: ArrayLike | None, loss: str) -> None:
    """Checks observed and clean targets alone and against each other and the loss."""
    check_targets("observed", observed)
    if clean is not None:
        check_targets("clean", clean)
        check_same_shape("clean", clean, "observed", observed)
        a, b = coding_of(clean), coding_of(observed)
        if a != b and None not in (a, b):
            raise ValueError(
                f"clean targets are coded as {a} and observed ones as {b}; encode both the same "
                "way, or their distance means nothing."
            )
    if loss == "cross_entropy" and coding_of(observed) != "one_hot":
        raise ValueError(
            "cross_entropy needs observed targets that are probabilities, one row per point and "
            "at least two columns; encode the labels with "
            'ntk_air.datasets.encode(labels, num_classes, coding="one_hot").'
        )


def check_same_coding(each: Sequence[ArrayLike]) -> None:
    """Raises ValueError unless the targets of all networks are coded alike."""
    codings = {coding_of(targets) for targets in each}
    if len(codings) > 1:
        raise ValueError(
            f"observed is coded as {' and '.join(sorted(map(str, codings)))} for networks that are "
            "trained together; encode the targets of all in the same way."
        )


def check_probabilities(label_fn: Any, loss: str) -> None:
    """Raises ValueError if cross-entropy would be given labels that are no probabilities."""
    kind = getattr(label_fn, "kind", None)
    if loss == "cross_entropy" and kind not in (None, "hard", "softmax"):
        raise ValueError(
            f"label_fn {kind!r} does not give probabilities, which cross_entropy needs; use hard "
            'or softmax(temperature), or loss="mse".'
        )


def check_label_fn(label_fn: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raises ValueError unless ``label_fn`` keeps the shape (n, C)."""
    returned = jax.eval_shape(label_fn, jax.ShapeDtypeStruct(shape, dtype))
    if getattr(returned, "shape", None) != shape:
        raise ValueError(
            f"label_fn turns outputs of shape {shape} into {getattr(returned, 'shape', returned)}, "
            "expected labels of the same shape (n, C)."
        )


def test_classes(labels_or_codes: ArrayLike, num_test: int, num_outputs: int) -> Array:
    """Class numbers (m,) of test points given as labels (m,) or encoded targets (m, C)."""
    given = np.asarray(labels_or_codes)
    if len(given) != num_test:
        check_same_length("test labels", given, "test inputs", np.empty(num_test))
    if given.ndim == 1:
        if num_outputs == 1 and given.size and given.min() == -1:
            given = (given + 1) // 2  # labels +-1 of a single output
        return jnp.asarray(check_labels("test labels", given, max(num_outputs, 2)))
    if given.shape[1:] != (num_outputs,):
        raise ValueError(
            f"test targets have shape {given.shape}, expected labels (m,) or encoded targets "
            f"(m, {num_outputs})."
        )
    return jnp.asarray((given[:, 0] >= 0) if num_outputs == 1 else given.argmax(1), jnp.int32)


def check_learning_rate(value: float) -> None:
    """Raises ValueError unless the learning rate is a positive finite number."""
    check_in_range("learning_rate", value, 0.0, low_open=True, high_open=True)
