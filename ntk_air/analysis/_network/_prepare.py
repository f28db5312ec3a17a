"""Inputs as a network takes them: images standardised, vectors flat, tokens left alone."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np

from ...datasets import Dataset
from ._given import GivenNetwork, given_network

# Beyond these a kernel of raw columns sees only the largest, or only that all points are alike.
_UNLIKE_SCALES, _FAR_FROM_ZERO = 10.0, 100.0


def prepare(dataset: Dataset, network: Any = None, *, standardize: bool | None = None) -> Dataset:
    """The dataset with its inputs as `air`, `label_report` and the commands give them to a network.

    Images lose their own mean and the training set's mean image and are divided by one deviation;
    for a network on vectors they are then flattened, every row of norm sqrt(d). Vectors are used as
    they are, unless their columns are of unlike units, which are then standardised, with a warning.
    Tokens stay what they are. A module or function of one's own gets the inputs as they are.

    Args:
        dataset: any.
        network: whose inputs they are, in any of the forms that `air` takes (of a function, which
            takes them as they are, without its parameters).
        standardize: False changes no number; True prepares them for a network of one's own too.

    Returns:
        A dataset of the same points.

    Raises:
        ValueError: for another kind of network, or one that takes inputs of other axes.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Example:
        >>> import ntk_air as na
        >>> digits = na.datasets.load("digits", train_size=20)
        >>> na.analysis.prepare(digits).train_inputs.shape
        (20, 64)
        >>> na.analysis.prepare(digits, "conv").train_inputs.shape
        (20, 8, 8, 1)
    """
    if inspect.isroutine(network):
        return _standardized(dataset, flat=False) if standardize else dataset
    return prepared(dataset, given_network(network, None, {}, 2), standardize)


def prepared(dataset: Dataset, network: GivenNetwork, standardize: bool | None) -> Dataset:
    """See `prepare`."""
    inputs, axes = dataset.train_inputs, network.axes
    if axes is not None and not network.flat and len(axes) != inputs.ndim:
        raise ValueError(
            f"{network.name} takes inputs ({', '.join(axes)}), those of {dataset.name} have shape "
            f"{tuple(inputs.shape)}; choose another network."
        )
    if not network.own if standardize is None else standardize:
        return _standardized(dataset, flat=network.flat)
    return dataset.flattened() if network.flat and inputs.ndim != 2 else dataset


def _standardized(dataset: Dataset, *, flat: bool) -> Dataset:
    axes = dataset.train_inputs.ndim
    if dataset.kind == "tokens":
        return dataset.flattened() if flat and axes != 2 else dataset
    if axes == 2:
        return dataset if dataset.kind == "images" else _of_like_columns(dataset)
    if axes == 4 or flat:
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
