"""The dataset type and its rescalings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_choice,
    real_array,
)
from .._results import result, static
from .._typing import Array, ArrayLike, Float, Int
from ._standardize import flattened_rows, standardized_columns, standardized_images
from .tables._corrections import classes_named, places_of, read_corrections

KINDS = ("images", "table", "vectors", "tokens")


@result
class Dataset:
    """Labelled training and test points.

    Attributes:
        train_inputs: (n, H, W, ch) float32 images in [0, 1] as loaded, (n, d) once flattened;
            (n, d) float32 of a table or of vectors; (n, T) int32 tokens.
        train_labels: (n,) int32 in 0..num_classes - 1; all -1 where there are targets instead.
        test_inputs: (m, H, W, ch) float32; m may be 0.
        test_labels: (m,) int32.
        extra_labels: further int32 labels (n,) of the training points by name, such as the
            CIFAR-10N human labels "aggregate", "random1", "random2", "random3", "worst". An entry
            is -1 where the annotator named a class outside the chosen subset of classes.
        train_rows: (n,) int32, the row of each training point in the source (files in order), to
            join per-image data kept elsewhere.
        test_rows: (m,) int32, likewise, in the test set; loaded for selection, in the training set.
        num_classes: number of classes C; 0 where there are targets instead.
        class_names: their C names.
        name: name of the dataset.
        train_targets: (n, k) float32, numbers to be predicted instead of classes; None: classes.
        test_targets: (m, k) float32, likewise.
        kind: what a point is: "images" (flattened or not), "table" (a row of columns that have
            been made numbers), "vectors" (rows of numbers) or "tokens" (whole numbers that name
            words and have no size). By default, images have more axes than (n, d), and vectors not.
        train_identifiers: what each training point is called where it comes from: a path, the
            entry of a column, or the number of its row; None where the source has no such names.
        test_identifiers: likewise of the test points.
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
    train_targets: Float[Array, "n k"] | None = None
    test_targets: Float[Array, "m k"] | None = None
    kind: str = static(default="")
    train_identifiers: tuple[str, ...] | None = static(default=None)
    test_identifiers: tuple[str, ...] | None = static(default=None)

    def __post_init__(self) -> None:
        # Files written before there were kinds say none; placeholders in a tree have no axes.
        if not self.kind:
            axes = getattr(self.train_inputs, "ndim", 2)
            object.__setattr__(self, "kind", "images" if axes > 2 else "vectors")

    def standardized(self, *, per_image: bool = False) -> Dataset:
        """Centres the inputs on the training set and divides by deviations of the training set.

        Of images, the mean is taken separately at each pixel and channel, and the deviation is one
        number, over all entries of the centred training images. Of a table or of vectors, each
        column has its own mean and its own deviation, since columns have units of their own; a
        column that is constant in the training set is only centred. The same numbers are applied
        to the test points. Tokens have no mean: they stay as they are.

        Args:
            per_image: first subtract from each image its own mean over pixels and channels, so
                that brightness, which says little about the class, does not lead the spectrum.

        Returns:
            A new dataset.

        Raises:
            ValueError: if all training inputs are equal, so that nothing is left to scale, or for
                ``per_image`` where the inputs are no images.

        Example:
            >>> import numpy as np, ntk_air as na
            >>> columns = np.array([[0.0, 1000.0], [1.0, 3000.0]])  # one in metres, one in euros
            >>> data = na.datasets.from_arrays(columns, [0, 1], name="mine")
            >>> print(data.standardized().train_inputs)
            [[-1. -1.]
             [ 1.  1.]]
        """
        if per_image and self.kind != "images":
            raise ValueError(
                f"per_image is True and the inputs of {self.name} are of kind {self.kind!r}, "
                "expected images: a row has no brightness; leave per_image out."
            )
        if self.kind == "tokens":
            return self
        train, test = np.asarray(self.train_inputs), np.asarray(self.test_inputs)
        if train.size and not (train != train[:1]).any():
            raise ValueError(
                f"all {len(train)} training inputs of {self.name} are equal, expected inputs that "
                "differ; load more points."
            )
        if self.kind == "images":
            train, test = standardized_images(train, test, per_image, self.name)
        else:
            train, test = standardized_columns(train, test)
        return dataclasses.replace(
            self, train_inputs=jnp.asarray(train), test_inputs=jnp.asarray(test)
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
            ValueError: for another value of ``unit_norm``, or one but False where the inputs are
                tokens, whose numbers are names.
        """
        check_choice("unit_norm", unit_norm, (False, True, "sqrt_d"))
        if self.kind == "tokens" and unit_norm is not False:
            raise ValueError(
                f"unit_norm is {unit_norm!r} and the inputs of {self.name} are tokens, which are "
                "names and have no norm; leave it out."
            )
        return dataclasses.replace(
            self,
            train_inputs=jnp.asarray(flattened_rows(self.train_inputs, unit_norm, "training")),
            test_inputs=jnp.asarray(flattened_rows(self.test_inputs, unit_norm, "test")),
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
            "train_targets": None if self.train_targets is None else self.train_targets[train],
            "train_identifiers": _chosen(self.train_identifiers, train),
        }
        if test_index is not None:
            test = _positions("test_index", test_index, len(self.test_labels))
            changes["test_inputs"] = self.test_inputs[test]
            changes["test_labels"] = self.test_labels[test]
            changes["test_rows"] = self.test_rows[test]
            if self.test_targets is not None:
                changes["test_targets"] = self.test_targets[test]
            changes["test_identifiers"] = _chosen(self.test_identifiers, test)
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

    @property
    def identifiers(self) -> np.ndarray:
        """What each training point is called, (n,) text or whole numbers.

        They are ``train_identifiers``, as whole numbers if all are, or else ``train_rows``.
        """
        if self.train_identifiers is None:
            return np.asarray(self.train_rows)
        names = np.array(self.train_identifiers, str)
        try:
            numbers = np.array([int(name) for name in names.tolist()], np.int64)
        except (ValueError, OverflowError):
            return names
        # What does not come back the same, such as 007, is a name.
        return numbers if (numbers.astype(str) == names).all() else names

    def corrected(
        self,
        corrections: Mapping[Any, Any] | str | os.PathLike[str],
        *,
        identifiers: ArrayLike | None = None,
    ) -> Dataset:
        """Puts labels that a person has corrected in the place of those that were given.

        Args:
            corrections: what a training point is called, and its label, the name of a class or its
                number (text that is both is a name); or the path of a list of suspects with
                corrections (`read_corrections`).
            identifiers: (n,) what the points are called; default `identifiers`, as a label report
                on this dataset has them.

        Returns:
            A new dataset.

        Raises:
            ValueError: for points that are unknown, named twice, or called as others are; for
                classes that there are not; or where there are targets instead of classes.
            OSError: if the file cannot be read.

        Example:
            >>> import numpy as np, ntk_air as na
            >>> data = na.datasets.from_arrays(np.eye(3), ["cat", "dog", "dog"], name="mine")
            >>> data.corrected({1: "cat"}).train_labels
            Array([0, 0, 1], dtype=int32)
        """
        if not self.num_classes:
            raise ValueError(f"{self.name} has targets and no classes, which a person corrects.")
        if not isinstance(corrections, Mapping):
            corrections = read_corrections(corrections)
        names = self._called(identifiers)
        places = places_of(corrections, names, "corrections")
        labels = np.array(self.train_labels)
        labels[places] = classes_named(corrections, self.class_names)
        return dataclasses.replace(self, train_labels=jnp.asarray(labels))

    def without(self, points: Iterable[Any], *, identifiers: ArrayLike | None = None) -> Dataset:
        """Leaves training points out, such as those whose labels are suspected.

        Args:
            points: what they are called, such as ``report.suspects()["index"]``; or a mask (n,) of
                bools, such as ``report.suspected``.
            identifiers: as in `corrected`.

        Returns:
            A new dataset with the same classes.

        Raises:
            ValueError: for points that are unknown, named twice, or called as others are, or if
                none would be left.

        Example:
            >>> import numpy as np, ntk_air as na
            >>> data = na.datasets.from_arrays(np.eye(3), ["cat", "dog", "dog"], name="mine")
            >>> data.without([1]).train_rows
            Array([0, 2], dtype=int32)
        """
        names = self._called(identifiers)
        listed = np.asarray(points if hasattr(points, "shape") else list(points))
        if listed.dtype == bool:
            gone = _positions("points", listed, len(names))
        else:
            gone = places_of(listed.tolist(), names, "points")
        left = np.setdiff1d(np.arange(len(names)), gone)
        if not len(left):
            raise ValueError(f"all {len(names)} training points would be left out; keep some.")
        return self.take(left)

    def _called(self, identifiers: ArrayLike | None) -> np.ndarray:
        names = self.identifiers if identifiers is None else np.asarray(identifiers)
        if names.shape != (len(self.train_labels),):
            raise ValueError(
                f"identifiers has shape {names.shape}, expected ({len(self.train_labels)},): one "
                "for each training point."
            )
        return names


def _chosen(names: tuple[str, ...] | None, places: np.ndarray) -> tuple[str, ...] | None:
    return None if names is None else tuple(names[place] for place in places)


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
