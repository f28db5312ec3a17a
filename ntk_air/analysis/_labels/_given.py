"""The labels that are judged: of a data set or an array, as classes with names and identifiers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite, check_labels, check_same_length, real_array
from ...datasets import Dataset, from_arrays, from_table
from ...noise import NoisyLabels


@dataclasses.dataclass(frozen=True)
class GivenLabels:
    """Points with the labels that are judged.

    Attributes:
        dataset: the points; its ``train_labels`` are those that are judged.
        identifiers: (n,) integers or text, what each point is called.
    """

    dataset: Dataset
    identifiers: np.ndarray


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """Columns of a table that are no inputs; see `ntk_air.datasets.from_table`."""

    label: str | None = None
    identifier: str | None = None
    drop: Sequence[str] = ()


def given_labels(
    data: Any,
    labels: Any,
    class_names: Sequence[Any] | None,
    identifiers: Any,
    columns: TableColumns,
) -> GivenLabels:
    """Reads data and labels in any of the forms that `label_report` takes.

    Raises:
        ValueError: if they are of another form, of different lengths, or of fewer than two classes.
    """
    if _is_table(data, columns):
        return _of_table(data, labels, class_names, identifiers, columns)
    idle = [name for name, value in vars(columns).items() if value not in (None, ())]
    if idle:
        raise ValueError(
            f"{', '.join(idle)} {'is a column' if len(idle) == 1 else 'are columns'} of a table, "
            f"and data is of type {type(data).__name__}; leave {'it' if len(idle) == 1 else 'them'}"
            " out."
        )
    if isinstance(data, Dataset):
        if class_names is not None:
            raise ValueError(
                f"class_names is given and the dataset {data.name} has its own; leave it out."
            )
        return _of_dataset(data, labels, identifiers)
    inputs = real_array("data", data)
    if inputs.ndim < 2 or not len(inputs):
        raise ValueError(
            f"data has shape {inputs.shape}, expected an ntk_air.datasets.Dataset or inputs (n, d) "
            "or (n, H, W, ch) with n of at least 1."
        )
    check_finite("data", inputs)
    if labels is None or isinstance(labels, str):
        raise ValueError(
            f"labels is {labels!r} and data is an array, which has no labels of its own; pass "
            "labels (n,), or an ntk_air.datasets.Dataset as data."
        )
    codes, names = _classes(labels, class_names)
    check_same_length("data", inputs, "labels", codes)
    dataset = from_arrays(inputs, codes, name="data", class_names=names)
    return GivenLabels(dataset, _identifiers(identifiers, np.arange(len(codes))))


def _is_table(data: Any, columns: TableColumns) -> bool:
    """Whether it is to be read as a table: frames of numbers alone are arrays without a label."""
    if isinstance(data, str | os.PathLike | Mapping):
        return True
    frame = hasattr(data, "columns") or hasattr(data, "__arrow_c_stream__")
    return columns.label is not None and frame


def _of_table(
    data: Any,
    labels: Any,
    class_names: Sequence[Any] | None,
    identifiers: Any,
    columns: TableColumns,
) -> GivenLabels:
    if columns.label is None and isinstance(labels, str):
        raise ValueError(
            f"labels is {labels!r} and data is a table; pass the column as label={labels!r}."
        )
    if labels is not None or class_names is not None:
        idle = "labels" if labels is not None else "class_names"
        raise ValueError(
            f"{idle} is given and data is a table, whose column label holds the labels and their "
            "names; leave it out."
        )
    dataset = from_table(
        data,
        label=columns.label,  # pyright: ignore[reportArgumentType]  # None is refused there
        identifier=columns.identifier,
        drop=columns.drop,
        regression=False,
    )
    return _of_dataset(dataset, None, identifiers)


def _of_dataset(data: Dataset, labels: Any, identifiers: Any) -> GivenLabels:
    if not data.num_classes:
        raise ValueError(
            f"{data.name} has targets, numbers to be predicted; expected labels that are classes."
        )
    called = _identifiers(identifiers, data.identifiers)
    if labels is None:
        return GivenLabels(data, called)
    if isinstance(labels, str):
        if labels not in data.extra_labels:
            raise ValueError(
                f"labels is {labels!r} and {data.name} has the further labels "
                f"{', '.join(data.extra_labels) or 'none'}."
            )
        known = np.asarray(data.extra_labels[labels]) >= 0
        if not known.all():
            data, called = data.take(known), called[known]
        codes = np.asarray(data.extra_labels[labels])
    elif isinstance(labels, NoisyLabels):
        if labels.num_classes != data.num_classes:
            raise ValueError(
                f"labels has {labels.num_classes} classes, the dataset {data.num_classes}; "
                "expected the same."
            )
        codes = np.asarray(labels.labels)
    else:
        codes = check_labels("labels", labels, data.num_classes)
    check_same_length("the training points of the dataset", data.train_labels, "labels", codes)
    return GivenLabels(dataclasses.replace(data, train_labels=jnp.asarray(codes)), called)


def _classes(labels: Any, names: Sequence[Any] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n,) as numbers of classes, and the names of these."""
    if isinstance(labels, NoisyLabels):
        names = range(labels.num_classes) if names is None else names
        labels = np.asarray(labels.labels)
    if np.ma.is_masked(labels):
        raise ValueError("labels has masked values, expected a label of each point; drop those.")
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(
            f"labels has shape {array.shape}, expected one label of each point (n,); encoded "
            "targets become labels through argmax."
        )
    # NumPy makes text of a NaN in a list of text.
    one_by_one = labels if isinstance(labels, list | tuple) else array.tolist()
    missing = [i for i, label in enumerate(one_by_one) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"labels has {len(missing)} missing value(s), the first at index {missing[0]}; "
            "expected a label of each point: drop those points."
        )
    if names is not None:
        return _among(array, tuple(map(str, names)))
    from sklearn.preprocessing import LabelEncoder

    encoder: Any = LabelEncoder()
    try:
        codes = np.asarray(encoder.fit_transform(array))
    except TypeError as error:
        raise ValueError(
            f"labels cannot be sorted into classes: {error}; expected labels of one type, such as "
            "text or integers."
        ) from error
    found = tuple(map(str, encoder.classes_))
    if len(found) < 2:
        raise ValueError(
            f"labels has {len(found)} class(es), {', '.join(found) or 'none'}, expected two or "
            "more; pass class_names where there are classes that no label names."
        )
    return codes, found


def _among(array: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels that are numbers of the classes, or their names."""
    if np.issubdtype(array.dtype, np.integer):
        return check_labels("labels", array, len(names)), names
    place = {name: i for i, name in enumerate(names)}
    unknown = sorted({str(label) for label in array.tolist()} - place.keys())
    if unknown:
        raise ValueError(
            f"labels holds {unknown[0]!r}, expected one of class_names: {', '.join(names)}."
        )
    return np.array([place[str(label)] for label in array.tolist()]), names


def _is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, or what pandas writes for them."""
    missing = label is None or (isinstance(label, float) and label != label)
    return missing or type(label).__name__ in ("NAType", "NaTType")


def _identifiers(given: Any, default: np.ndarray) -> np.ndarray:
    """What each point is called, as NumPy's integers or text."""
    if given is None:
        return default
    array = np.asarray(given)
    if array.dtype == object and all(isinstance(one, str) for one in array.ravel()):
        array = array.astype(str)
    if array.shape != default.shape or array.dtype.kind not in "iuU":
        raise ValueError(
            f"identifiers has shape {array.shape} and dtype {array.dtype}, expected an integer or "
            f"text for each point ({len(default)},)."
        )
    return array
