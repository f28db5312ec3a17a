"""Methods for noisy labels to compare with: each takes the call of `self_distill`.

`METHODS` lists them by name, in the order of tables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..training._history import DistillationResult
from ._bootstrapping import bootstrapping
from ._co_teaching import CoTeachingResult, co_teaching
from ._cross_entropy import cross_entropy
from ._distance_to_initialization import distance_to_initialization
from ._early_stopping import EarlyStoppingResult, early_stopping
from ._elr import elr
from ._forward_correction import (
    ForwardCorrectionResult,
    estimate_transition,
    forward_correction,
)
from ._gce import gce
from ._label_smoothing import label_smoothing
from ._mixup import mixup
from ._self_adaptive_training import self_adaptive_training
from ._symmetric_cross_entropy import symmetric_cross_entropy

METHODS: dict[str, Callable[..., DistillationResult]] = {
    "cross_entropy": cross_entropy,
    "early_stopping": early_stopping,
    "label_smoothing": label_smoothing,
    "bootstrapping_soft": functools.partial(bootstrapping, kind="soft"),
    "bootstrapping_hard": functools.partial(bootstrapping, kind="hard"),
    "gce": gce,
    "symmetric_cross_entropy": symmetric_cross_entropy,
    "forward_correction": forward_correction,
    "elr": elr,
    "self_adaptive_training": self_adaptive_training,
    "co_teaching": co_teaching,
    "mixup": mixup,
    "distance_to_initialization": distance_to_initialization,
}
"""Every baseline by name. Two need more than the rest: `co_teaching` ``peer_params`` and
``forget_rate``, `distance_to_initialization` ``strength``."""

__all__ = [
    "METHODS",
    # losses
    "cross_entropy",
    "label_smoothing",
    "bootstrapping",
    "gce",
    "symmetric_cross_entropy",
    "forward_correction",
    "estimate_transition",
    # memories of every point
    "elr",
    "self_adaptive_training",
    # training
    "early_stopping",
    "co_teaching",
    "mixup",
    "distance_to_initialization",
    # results
    "EarlyStoppingResult",
    "ForwardCorrectionResult",
    "CoTeachingResult",
]
