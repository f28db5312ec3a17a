"""Noise by specification, as the command line and configuration files give it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._checks import check_labels, check_size
from .._typing import ArrayLike
from ._cifar10n import COUNTS
from ._conditional import asymmetric, pair_flip
from ._human import human_cifar10, recorded
from ._instance import instance_dependent
from ._labels import NoisyLabels
from ._symmetric import symmetric

SPECS = (
    "none",
    "symmetric:RATE",
    "uniform:RATE",
    "asymmetric:RATE",
    "pair_flip:RATE",
    "instance:RATE",
    "human:WHICH",
    "human_transition:WHICH",
)
"""The forms that `apply` reads; WHICH is worst, random1, random2, random3 or aggregate."""


def apply(
    spec: str,
    labels: ArrayLike,
    *,
    num_classes: int,
    seed: int,
    inputs: ArrayLike | None = None,
    extra_labels: Mapping[str, ArrayLike] | None = None,
) -> NoisyLabels:
    """Applies the noise that a string names, such as ``"symmetric:0.4"``.

    Args:
        spec: one of `SPECS`. ``"symmetric"`` draws wrong labels from the other classes,
            ``"uniform"`` from all of them (`symmetric` with ``include_true_class``), ``"instance"``
            is `instance_dependent`, ``"human"`` takes recorded labels from ``extra_labels``, and
            ``"human_transition"`` draws from CIFAR-10N's published frequencies.
        labels: clean integer labels (n,).
        num_classes: number of classes C.
        seed: of the draw, from 0 up.
        inputs: (n, ...), needed by ``"instance"`` only.
        extra_labels: recorded labels (n,) by name, needed by ``"human"`` only.

    Returns:
        The observed labels.

    Raises:
        ValueError: for a specification that is not one of these, or that needs what is not there.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> noisy = na.noise.apply("pair_flip:0.25", np.zeros(100, int), num_classes=10, seed=0)
        >>> set(noisy.labels.tolist()), noisy.true_rate
        ({0, 1}, 0.25)
    """
    kind, colon, value = str(spec).strip().partition(":")
    value = value.strip()
    if kind == "none" and not colon:
        clean = check_labels("labels", labels, check_size("num_classes", num_classes, 2))
        return recorded(clean, clean, num_classes, model="none")
    if kind == "human" and value:
        return _recorded(value, labels, num_classes, extra_labels or {})
    if kind == "human_transition" and value in COUNTS:
        if num_classes != 10:
            raise ValueError(
                f"noise {spec!r} is for the 10 classes of CIFAR-10 and num_classes is "
                f"{num_classes}; use from_transition with your own matrix."
            )
        return human_cifar10(labels, value, seed)
    if kind == "instance" and inputs is None:
        raise ValueError(f"noise {spec!r} depends on the inputs; pass inputs (n, ...).")
    rate = _rate(spec, kind, value)
    if kind == "instance":
        return instance_dependent(
            np.asarray(inputs), labels, rate, num_classes=num_classes, seed=seed
        )
    if kind == "asymmetric":
        return asymmetric(labels, rate, num_classes=num_classes, seed=seed)
    if kind == "pair_flip":
        return pair_flip(labels, rate, num_classes=num_classes, seed=seed)
    return symmetric(
        labels, rate, num_classes=num_classes, seed=seed, include_true_class=kind == "uniform"
    )


def _rate(spec: str, kind: str, value: str) -> float:
    if f"{kind}:RATE" in SPECS:
        try:
            return float(value)
        except ValueError:
            pass
    raise ValueError(
        f"noise is {spec!r}, expected one of {', '.join(SPECS)}, with RATE a number in [0, 1) and "
        f"WHICH one of {', '.join(COUNTS)}."
    )


def _recorded(
    which: str, labels: ArrayLike, num_classes: int, extra_labels: Mapping[str, ArrayLike]
) -> NoisyLabels:
    if which not in extra_labels:
        there = ", ".join(extra_labels) or "none"
        raise ValueError(
            f"noise 'human:{which}' needs recorded labels named {which!r} and the dataset holds "
            f"{there}: load a source with CIFAR-10N columns, or draw from the published "
            f"frequencies with 'human_transition:{which}'."
        )
    return recorded(labels, extra_labels[which], num_classes, model=f"human:{which}")
