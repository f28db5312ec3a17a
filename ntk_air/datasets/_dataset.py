"""The dataset type and its rescalings."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_choice,
    real_array,
)
from .._results import result, static
from .._typing import Array, ArrayLike, Float, Int

_MODERATE = 2.0**40


@result
class Dataset:
    """Labelled training and test points.

    Attributes:
        train_inputs: (n, H, W, ch) float32 images in [0, 1] as loaded; (n, d) once flattened.
        train_labels: (n,) int32 in 0..num_classes - 1.
        test_inputs: (m, H, W, ch) float32; m may be 0.
        test_labels: (m,) int32.
        extra_labels: further int32 labels (n,) of the training points by name, such as the
            CIFAR-10N human labels "aggregate", "random1", "random2", "random3", "worst". An entry
            is -1 where the annotator named a class outside the chosen subset of classes.
        train_rows: (n,) int32, the row of each training point in the source (files in order), to
            join per-image data kept elsewhere.
        test_rows: (m,) int32, likewise, in the test set; loaded for selection, in the training set.
        num_classes: number of classes C.
        class_names: their C names.
        name: name of the dataset.
    """

    train_inputs: Float[Array, "n ..."]
    train_labels: Int[Array, " n"]
    test_inputs: Float[Array, "m ..."]
    test_labels: Int[Array, " m"]
    extra_labels: dict[str, Int[Array, " n"]]
    train_rows: Int[Array, " n"]
    test_rows: Int[Array, " m"]
    num_classes: int = static()
    class_names: tuple[str, ...] = static()
    name: str = static()

    def standardized(self, *, per_image: bool = False) -> Dataset:
        """Centres each pixel on the training set and divides by one overall deviation.

        The mean is taken over training images, separately at each pixel and channel; the standard
        deviation is one number, over all entries of the centred training images. The same two are
        applied to the test images.

        Args:
            per_image: first subtract from each image its own mean over pixels and channels, so
                that brightness, which says little about the class, does not lead the spectrum.

        Returns:
            A new dataset.

        Raises:
            ValueError: if all training images are equal, so that nothing is left to scale.
        """
        train, test = _of_moderate_size(self.train_inputs, self.test_inputs)
        if per_image:
            train, test = _without_own_mean(train), _without_own_mean(test)
        # Sums over 1e8 float32 pixels lose digits: accumulate in float64, keep float32.
        mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = train - mean
        rows = centred.reshape(len(centred), -1)
        energy = np.einsum("nd,nd->n", rows, rows).sum(dtype=np.float64)
        if not energy > 0:
            raise ValueError(
                f"all {len(train)} training inputs of {self.name} are equal, expected inputs that "
                "differ; load more points."
            )
        deviation = np.float32(np.sqrt(energy / centred.size))
        centred /= deviation
        return dataclasses.replace(
            self,
            train_inputs=jnp.asarray(centred),
            test_inputs=jnp.asarray((test - mean) / deviation),
        )

    def flattened(self, unit_norm: bool | Literal["sqrt_d"] = False) -> Dataset:
        """Makes each input one row of d numbers, on request of a fixed Euclidean norm.

        Args:
            unit_norm: False keeps the values; True scales each row to norm 1; ``"sqrt_d"`` scales
                each row to norm sqrt(d), the usual scale for kernels in NTK parameterisation. A
                row of zeros has no direction: it stays zero, with a warning.

        Returns:
            A new dataset with inputs (n, d).

        Raises:
            ValueError: for another value of ``unit_norm``.
        """
        check_choice("unit_norm", unit_norm, (False, True, "sqrt_d"))
        return dataclasses.replace(
            self,
            train_inputs=jnp.asarray(_flatten(self.train_inputs, unit_norm, "training")),
            test_inputs=jnp.asarray(_flatten(self.test_inputs, unit_norm, "test")),
        )

    def take(self, train_index: ArrayLike, test_index: ArrayLike | None = None) -> Dataset:
        """Keeps the training points at ``train_index``, and the test points at ``test_index``.

        Args:
            train_index: positions (k,) or a mask (n,) of bools.
            test_index: the same for the test points; None keeps them all.

        Returns:
            A new dataset with the same classes.

        Raises:
            ValueError: if a position is out of range or masked, or a mask has the wrong length.
        """
        train = _positions("train_index", train_index, len(self.train_labels))
        changes: dict[str, Any] = {
            "train_inputs": self.train_inputs[train],
            "train_labels": self.train_labels[train],
            "train_rows": self.train_rows[train],
            "extra_labels": {k: v[train] for k, v in self.extra_labels.items()},
        }
        if test_index is not None:
            test = _positions("test_index", test_index, len(self.test_labels))
            changes["test_inputs"] = self.test_inputs[test]
            changes["test_labels"] = self.test_labels[test]
            changes["test_rows"] = self.test_rows[test]
        return dataclasses.replace(self, **changes)

    def labelled_by(self, column: str) -> Dataset:
        """Keeps the training points that have a label in a column of ``extra_labels``.

        Args:
            column: its name. Of a subset of classes, points whose annotator named a class outside
                it have no label there (-1).

        Returns:
            A new dataset, or this one where all points have a label.

        Raises:
            ValueError: if there is no such column.

        Example:
            >>> import numpy as np, ntk_air as na
            >>> data = na.datasets.from_arrays(
            ...     np.eye(3), [0, 1, 0], name="mine", extra_labels={"worst": [1, -1, 0]}
            ... )
            >>> data.labelled_by("worst").train_labels
            Array([0, 0], dtype=int32)
        """
        check_choice("column", column, tuple(self.extra_labels))
        known = np.asarray(self.extra_labels[column]) >= 0
        return self if known.all() else self.take(known)


def _flatten(inputs: ArrayLike, unit_norm: bool | str, split: str) -> np.ndarray:
    array = np.asarray(inputs)
    rows = array.reshape(len(array), int(np.prod(array.shape[1:])))
    if unit_norm is False:
        return rows
    length = np.sqrt(rows.shape[1]) if unit_norm == "sqrt_d" else 1.0
    scaled, zeros = np.empty_like(rows), 0
    # In float64, a block at a time: float32 squares of tiny inputs underflow, of huge overflow.
    for start in range(0, len(rows), 4096):
        block = rows[start : start + 4096].astype(np.float64)
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        zeros += int((norms == 0).sum())
        scaled[start : start + 4096] = block * (length / np.where(norms == 0, 1.0, norms))
    if zeros:
        warnings.warn(
            f"{zeros} {split} input(s) are all zero and stay so: they have no direction to scale.",
            stacklevel=3,
        )
    return scaled


def _of_moderate_size(train: ArrayLike, test: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both over one power of two, where squares of the training inputs leave float32's range."""
    train, test = np.asarray(train), np.asarray(test)
    largest = max(float(train.max(initial=0.0)), -float(train.min(initial=0.0)))
    if largest == 0 or 1 / _MODERATE <= largest <= _MODERATE:
        return train, test
    exponent = -int(np.frexp(largest)[1])
    return np.ldexp(train, exponent), np.ldexp(test, exponent)


def _positions(name: str, index: ArrayLike, length: int) -> np.ndarray:
    array = real_array(name, index)
    if array.dtype == bool:
        if array.shape != (length,):
            raise ValueError(f"{name} is a mask of shape {array.shape}, expected ({length},).")
        return np.flatnonzero(array)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has shape {array.shape}, expected integer positions (k,).")
    if array.size and (array.min() < 0 or array.max() >= length):
        raise ValueError(
            f"{name} spans {array.min()}..{array.max()}, expected positions in 0..{length - 1}."
        )
    return array


def _without_own_mean(inputs: np.ndarray) -> np.ndarray:
    axes = tuple(range(1, inputs.ndim))
    return inputs - inputs.mean(axis=axes, keepdims=True)
