"""At which steps to record, and checks of what both trainers take in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..._checks import (
    check_finite,
    check_ndim,
    check_real,
    check_same_shape,
    is_number,
)
from ..._typing import Array, ArrayLike
from .._label_fn import KINDS, coding_of


def record_steps(record_every: int | Sequence[int] | None, num_steps: int) -> np.ndarray:
    """Steps to record at, increasing, from 0 to ``num_steps``, (R,) int32.

    None gives about a hundred; a sequence is completed by the first and the last step.
    """
    num_steps = whole_number("num_steps", num_steps, 0)
    if record_every is None:
        record_every = max(1, num_steps // 100)
    if np.ndim(record_every) == 0:
        every = whole_number("record_every", record_every, 1)
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


def whole_number(name: str, value: Any, low: int) -> int:
    """A whole number, which may be a float such as 1e3; ValueError on anything else."""
    if not _is_whole(value) or value < low:
        raise ValueError(f"{name} is {value!r}, expected an integer >= {low}.")
    return int(value)


def _is_whole(value: Any) -> bool:
    return is_number(value) and bool(np.isfinite(value)) and int(value) == value


def checked_batch(batch_size: Any, count: int) -> int | None:
    """The batch size, None for all points; ValueError unless there are that many."""
    if batch_size is None:
        return None
    if not _is_whole(batch_size) or not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size is {batch_size!r}, expected an integer in 1..{count}, the number of "
            "points; None takes all of them at every step."
        )
    return int(batch_size)


def check_test(test: Any) -> tuple[Any, Any]:
    """Inputs and labels of the test points; ValueError unless there are these two."""
    if not isinstance(test, tuple | list) or len(test) != 2 or any(part is None for part in test):
        came = f"{len(test)} parts" if isinstance(test, tuple | list) else type(test).__name__
        raise ValueError(f"test is {came}, expected (inputs, labels) of the test points.")
    check_finite("test inputs", test[0])
    check_finite("test labels", test[1])
    return test[0], test[1]


def shape_of_outputs(who: str, apply: Any, variables: tuple[Any, ...], inputs: Array) -> Any:
    """Shape and dtype of the outputs, not computed; ValueError if they cannot be.

    Errors that are ValueErrors already, such as those of `ntk_air.networks`, say what is wrong.
    """
    try:
        return jax.eval_shape(apply, *variables, inputs)
    except ValueError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines()
        raise ValueError(
            f"{who} fails on inputs of shape {inputs.shape}: {said[0] if said else error!r} "
            "Expected inputs (n, ...) of the shape that the parameters are for."
        ) from error


def check_targets(name: str, targets: ArrayLike) -> None:
    """Raises ValueError unless ``targets`` are finite floats (n, C)."""
    if np.issubdtype(np.asarray(targets).dtype, np.integer):
        raise ValueError(
            f"{name} has integer dtype {np.asarray(targets).dtype}, expected encoded targets "
            "(n, C) of floats; turn labels into targets with ntk_air.datasets.encode."
        )
    check_ndim(name, targets, 2, "(n, C) encoded targets")
    if not np.size(targets):
        raise ValueError(f"{name} has shape {np.shape(targets)}, expected at least one point.")
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
    allowed = (None, *(name for name, one in KINDS.items() if one.probabilities))
    if loss == "cross_entropy" and kind not in allowed:
        raise ValueError(
            f"label_fn {kind!r} does not give probabilities, which cross_entropy needs; use hard "
            'or softmax(temperature), or loss="mse".'
        )


def check_label_fn(label_fn: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raises ValueError unless ``label_fn`` keeps the shape (n, C) and gives real numbers."""
    try:
        returned = jax.eval_shape(label_fn, jax.ShapeDtypeStruct(shape, dtype))
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            "label_fn cannot be compiled, as functions of NumPy cannot; write it with jax.numpy: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if hasattr(returned, "dtype"):
        check_real("what label_fn returns", returned)
    if getattr(returned, "shape", None) != shape:
        raise ValueError(
            f"label_fn turns outputs of shape {shape} into {getattr(returned, 'shape', returned)}, "
            "expected labels of the same shape (n, C)."
        )
