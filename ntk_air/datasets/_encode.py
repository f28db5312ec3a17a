"""Class labels to regression targets, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_choice, check_finite, check_labels, check_ndim, check_size
from .._classes import class_of
from .._typing import Array, ArrayLike, Float, Int

CODINGS = ("centered_one_hot", "one_hot", "sign")


def encode(
    labels: ArrayLike, num_classes: int, *, coding: str = "centered_one_hot"
) -> Float[Array, "n C"]:
    """Turns class labels into regression targets.

    Args:
        labels: integer labels (n,) in 0..num_classes - 1.
        num_classes: number of classes, at least 2.
        coding: ``"centered_one_hot"`` is one-hot minus 1/num_classes, so that each row sums to
            zero; ``"one_hot"``; ``"sign"`` is one column, +1 for class 1 and -1 for class 0, for
            two classes only.

    Returns:
        Targets (n, num_classes), or (n, 1) for ``"sign"``, in JAX's default float: float32, or
        float64 where that is enabled.

    Raises:
        ValueError: for labels that are no integers or out of range, an unknown coding, or
            ``"sign"`` with other than two classes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> print(na.datasets.encode(np.array([0, 1]), 2))
        [[ 0.5 -0.5]
         [-0.5  0.5]]
    """
    check_choice("coding", coding, CODINGS)
    num_classes = check_size("num_classes", num_classes, 2)
    if coding == "sign" and num_classes != 2:
        raise ValueError(
            f"coding 'sign' is for 2 classes and num_classes is {num_classes}; "
            "use 'centered_one_hot', or load two classes only."
        )
    # Under jit the values are unknown: the caller has checked them before tracing.
    if isinstance(labels, Tracer):
        check_ndim("labels", labels, 1, "(n,)")
        classes: Any = labels
    else:
        classes = check_labels("labels", labels, num_classes)
    if coding == "sign":
        return (2 * jnp.asarray(classes) - 1).astype(float)[:, None]
    targets = jax.nn.one_hot(jnp.asarray(classes), num_classes, dtype=float)
    return targets - 1.0 / num_classes if coding == "centered_one_hot" else targets


def decode(codes: ArrayLike) -> Int[Array, " n"]:
    """Turns targets or network outputs back into class labels.

    Args:
        codes: (n, C). Several columns are read by their largest entry, the first of equals; one
            column by its sign, class 1 where it is above zero.

    Returns:
        Int32 labels (n,).

    Raises:
        ValueError: if ``codes`` is not (n, C), has no columns, or holds NaN or infinity.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> na.datasets.decode(np.array([[0.1, 0.7], [0.9, 0.2]])).tolist()
        [1, 0]
    """
    check_ndim("codes", codes, 2, "(n, C)")
    if np.shape(codes)[1] == 0:
        raise ValueError("codes has no columns, expected (n, C) with C of at least 1.")
    check_finite("codes", codes)
    # Before anything is narrowed: two numbers may be one in float32, or in int32.
    rows = codes if isinstance(codes, jax.Array) else np.asarray(codes)
    return jnp.asarray(class_of(rows))
