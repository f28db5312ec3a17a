"""The 8x8 digits that scikit-learn embeds: the dataset that is always there."""

from __future__ import annotations

import numpy as np

from ._draw import generator
from ._source import Source, Split

TRAIN_SIZE = 1437  # four fifths of 1797


def read_digits() -> Source:
    """All 1797 images (8, 8, 1) in [0, 1], cut once into 1437 and 360.

    The files' own order keeps writers together, so that the cut is at random, but the same for
    every seed: a test point of one seed must not be a training point of another.
    """
    # Takes a second to import: only when asked for.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images[..., None] / 16.0).astype(np.float32)  # pyright: ignore
    labels = bunch.target.astype(np.int32)  # pyright: ignore
    order = generator(0, "datasets.digits").permutation(len(labels))

    def split(rows: np.ndarray) -> Split:
        return Split(labels[rows], lambda chosen: images[rows[chosen]])

    return Source("scikit-learn", split(order[:TRAIN_SIZE]), split(order[TRAIN_SIZE:]))
