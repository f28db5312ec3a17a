"""Inputs centred and scaled by the training points: images by one number, columns by their own."""

from __future__ import annotations

import warnings

import numpy as np

from .._typing import ArrayLike

_MODERATE = 2.0**40
_BLOCK = 4096


def standardized_images(
    train: np.ndarray, test: np.ndarray, per_image: bool, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both less the mean training image, over the deviation of all centred entries.

    Args:
        train: (n, ...) float32.
        test: (m, ...) float32.
        per_image: first take from each image its own mean.
        name: of the dataset, for messages.

    Raises:
        ValueError: if nothing is left of the training images.
    """
    train, test = _of_moderate_size(train, test)
    if per_image:
        train, test = _without_own_mean(train), _without_own_mean(test)
    # Sums over 1e8 float32 pixels lose digits: accumulate in float64, keep float32.
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = train - mean
    rows = centred.reshape(len(centred), -1)
    energy = np.einsum("nd,nd->n", rows, rows).sum(dtype=np.float64)
    if not energy > 0:
        raise ValueError(
            f"all {len(train)} training inputs of {name} are equal, expected inputs that "
            "differ; load more points."
        )
    deviation = np.float32(np.sqrt(energy / centred.size))
    centred /= deviation
    return centred, (test - mean) / deviation


def standardized_columns(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with each column less its training mean, over its training deviation, float32.

    Args:
        train: (n, d) float32.
        test: (m, d) float32.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    squares = np.zeros(train.shape[1])
    # In float64, where squares of float32 neither overflow nor vanish; a block at a time.
    for start in range(0, len(train), _BLOCK):
        squares += np.square(train[start : start + _BLOCK] - mean).sum(axis=0)
    # The mean of equal numbers need not be that number: dividing by what is left would make noise.
    constant = train.min(axis=0) == train.max(axis=0)
    mean = np.where(constant, train[0], mean)
    deviation = np.where(constant, 1.0, np.sqrt(squares / len(train)))

    def scaled(rows: np.ndarray) -> np.ndarray:
        out = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), _BLOCK):
            out[start : start + _BLOCK] = (rows[start : start + _BLOCK] - mean) / deviation
        return out

    return scaled(train), scaled(test)


def _of_moderate_size(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both over one power of two, where squares of the training inputs leave float32's range."""
    largest = max(float(train.max(initial=0.0)), -float(train.min(initial=0.0)))
    if largest == 0 or 1 / _MODERATE <= largest <= _MODERATE:
        return train, test
    exponent = -int(np.frexp(largest)[1])
    return np.ldexp(train, exponent), np.ldexp(test, exponent)


def _without_own_mean(inputs: np.ndarray) -> np.ndarray:
    axes = tuple(range(1, inputs.ndim))
    return inputs - inputs.mean(axis=axes, keepdims=True)


def flattened_rows(inputs: ArrayLike, unit_norm: bool | str, split: str) -> np.ndarray:
    """Inputs as rows, of the norm that `Dataset.flattened` was asked for."""
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
