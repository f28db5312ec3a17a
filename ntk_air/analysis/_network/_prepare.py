"""Inputs as a network takes them: images standardised, vectors flat, tokens left alone."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np

from ...datasets import Dataset

# Beyond these a kernel of raw columns sees only the largest, or only that all points are alike.
_UNLIKE_SCALES, _FAR_FROM_ZERO = 10.0, 100.0


def prepared(
    dataset: Dataset,
    *,
    name: str,
    flat: bool,
    axes: Collection[str] | None = None,
    standardize: bool = True,
) -> Dataset:
    """The dataset with its inputs as the network of that name takes them.

    Images lose their own mean and the training set's mean image and are divided by one deviation;
    flattened, every row has norm sqrt(d). Vectors are used as they are, unless their columns are of
    unlike units, which are then standardised, with a warning. Integers are tokens.

    Args:
        dataset: any.
        name: of the network, for messages.
        flat: whether it takes vectors.
        axes: names of the axes of its inputs, where they are known.
        standardize: False changes no number.

    Raises:
        ValueError: if the network takes inputs of other axes.
    """
    inputs = dataset.train_inputs
    if axes is not None and not flat and len(axes) != inputs.ndim:
        raise ValueError(
            f"{name} takes inputs ({', '.join(axes)}), those of {dataset.name} have shape "
            f"{tuple(inputs.shape)}; choose another network."
        )
    if not standardize or dataset.kind == "tokens":
        return dataset.flattened() if flat and inputs.ndim != 2 else dataset
    if inputs.ndim == 2:
        return dataset if dataset.kind == "images" else _of_like_columns(dataset)
    if inputs.ndim == 4 or flat:
        dataset = dataset.standardized(per_image=dataset.kind == "images")
    return dataset.flattened(unit_norm="sqrt_d") if flat else dataset


def _of_like_columns(dataset: Dataset) -> Dataset:
    """The dataset standardised where its columns are of unlike units; else as it is."""
    train = np.asarray(dataset.train_inputs, np.float64)
    varying = train.min(axis=0) < train.max(axis=0)
    if varying.sum() < 2:
        return dataset
    deviation = train[:, varying].std(axis=0)
    largest = float(deviation.max() / np.median(deviation))
    offset = float((train[:, varying].mean(axis=0) ** 2).sum() / (deviation**2).sum())
    if largest <= _UNLIKE_SCALES and offset <= _FAR_FROM_ZERO:
        return dataset
    why = (
        f"the largest deviation of a column of {dataset.name} is {largest:.3g} times the median one"
        if largest > _UNLIKE_SCALES
        else f"the inputs of {dataset.name} lie far from zero for how little they vary"
    )
    warnings.warn(
        f"{why}, and a kernel of them would see little else: each column is centred and divided "
        "by its deviation. standardize=False uses the columns as they are.",
        stacklevel=3,
    )
    return dataset.standardized()
