"""The way in for PyTorch's datasets and loaders, through NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._dataset import Dataset
from .._from_arrays import from_arrays


class _Set(NamedTuple):
    """Inputs (n, ...), labels (n,), and what points are called, if the dataset knows."""

    inputs: np.ndarray
    labels: np.ndarray
    identifiers: Sequence[str] | None


def from_torch(
    train: Any,
    test: Any = None,
    *,
    name: str = "torch",
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    kind: str | None = None,
    layout: str | None = None,
) -> Dataset:
    """Makes a dataset of PyTorch's: all points are read once, in the order that they come in.

    PyTorch is not imported: anything will do whose items are pairs (input, label), or that gives
    batches of such pairs and is a loader by its ``batch_size``. Transforms are applied as they are;
    one that draws at random is drawn once.

    Args:
        train: a dataset or a loader. Tensors (C, H, W) become (H, W, C), with a warning; images of
            Pillow and arrays of bytes are divided by 255.
        test: likewise; None for no test points.
        name: what to call the dataset.
        class_names: one name per class; by default the dataset's own ``classes``, if it has any.
        num_classes: see `from_arrays`.
        kind: see `from_arrays`; "tokens" for integers (T,) that are words.
        layout: see `from_arrays`.

    Returns:
        The dataset. Identifiers are the paths of torchvision's folders, else positions; there are
        none where a loader gives points in an order of its own.

    Raises:
        ValueError: for items that are no pairs, or inputs that differ in shape; see `from_arrays`.
        TypeError: if ``train`` or ``test`` cannot be iterated.

    Warns:
        UserWarning: if a loader gives fewer points than its dataset has; see `from_arrays`.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> pairs = [(np.full((3, 8, 8), i / 4), i % 2) for i in range(4)]  # as of a torch Dataset
        >>> data = na.datasets.from_torch(pairs, layout="NCHW")
        >>> data.train_inputs.shape, data.train_labels.tolist()
        ((4, 8, 8, 3), [0, 1, 0, 1])
    """
    first = _read("train", train)
    second = None if test is None else _read("test", test)
    if class_names is None and num_classes is None and first.labels.dtype.kind in "iu":
        class_names = _own_names(train, first, second)
    return from_arrays(
        first.inputs,
        first.labels,
        None if second is None else second.inputs,
        None if second is None else second.labels,
        name=name,
        class_names=class_names,
        num_classes=num_classes,
        kind=kind,
        layout=layout,
        train_identifiers=first.identifiers,
        test_identifiers=None if second is None else second.identifiers,
    )


def _read(what: str, source: Any) -> _Set:
    is_loader = hasattr(source, "batch_size") and hasattr(source, "dataset")
    inputs: list[np.ndarray] = []
    labels: list[Any] = []
    for i, item in enumerate(_items(what, source)):
        if isinstance(item, str | dict) or not isinstance(item, Sequence) or len(item) != 2:
            has = f" of {len(item)} parts" if isinstance(item, Sequence) else ""
            one = f"{'batch' if is_loader else 'item'} {i} of {what}"
            raise ValueError(
                f"{one} is a {type(item).__name__}{has}, expected a pair (input, label)."
            )
        x, y = _array(item[0]), _array(item[1])
        inputs += list(x) if is_loader else [x]
        labels += list(y) if is_loader else [y]
    if not inputs:
        raise ValueError(f"{what} holds no points, expected one at least.")
    if len(inputs) != len(labels):
        raise ValueError(f"{what} gives {len(inputs)} inputs and {len(labels)} labels.")
    shapes = {x.shape: i for i, x in reversed(list(enumerate(inputs)))}
    if len(shapes) > 1:
        (one, i), (other, j) = sorted(shapes.items(), key=lambda pair: pair[1])[:2]
        raise ValueError(
            f"inputs of {what} differ in shape: {one} at {i} and {other} at {j}; make them of one "
            "by a transform."
        )
    stacked = np.stack(inputs)
    if stacked.dtype == np.uint8 and stacked.ndim > 2:
        stacked = np.divide(stacked, np.float32(255), dtype=np.float32)
        stacked = stacked[..., None] if stacked.ndim == 3 else stacked
    return _Set(stacked, np.array(labels), _identifiers(source, len(inputs), is_loader))


def _items(what: str, source: Any) -> Iterator[Any]:
    """What a loader or a dataset holds; a dataset may end by its length alone."""
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return (source[i] for i in range(len(source)))
    if isinstance(source, Iterable):
        return iter(source)
    raise TypeError(
        f"{what} is of type {type(source).__name__}, expected a dataset or a loader of PyTorch's."
    )


def _array(value: Any) -> np.ndarray:
    """A tensor, an image of Pillow or a number as a NumPy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        value = value.float() if "bfloat16" in str(value.dtype) else value
        return np.asarray(value.numpy())
    return np.asarray(value)


def _identifiers(source: Any, count: int, is_loader: bool) -> list[str] | None:
    """Paths of torchvision's folders, else positions; none where they are not known."""
    if is_loader:
        size = len(source.dataset) if hasattr(source.dataset, "__len__") else count
        if count < size:
            warnings.warn(
                f"the loader gave {count} of the {size} points of its dataset: it drops a last "
                "batch, or samples; pass its dataset for all of them.",
                stacklevel=4,
            )
        return None
    rows, base = np.arange(count), source
    while hasattr(base, "indices") and hasattr(base, "dataset"):  # a Subset
        rows, base = np.asarray(base.indices)[rows], base.dataset
    samples = getattr(base, "samples", None)
    if isinstance(samples, list) and len(samples) > rows.max() and isinstance(samples[0], tuple):
        return [str(samples[row][0]) for row in rows]
    return [str(row) for row in rows]


def _own_names(train: Any, first: _Set, second: _Set | None) -> tuple[str, ...] | None:
    """The names that torchvision's datasets bring, if all labels are their numbers."""
    base = train
    while not hasattr(base, "classes") and hasattr(base, "dataset"):
        base = base.dataset
    names = getattr(base, "classes", None)
    if not isinstance(names, list | tuple) or len(names) < 2 or len(set(names)) < len(names):
        return None
    labels = np.concatenate([one.labels.reshape(-1) for one in (first, second) if one is not None])
    fits = labels.min() >= 0 and labels.max() < len(names)
    return tuple(map(str, names)) if fits else None
