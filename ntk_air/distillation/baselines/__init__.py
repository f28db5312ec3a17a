"""Methods for noisy labels to compare with: each takes the call of `self_distill`.

`METHODS` lists them by name, in the order of tables, which is that of the imports here: a new
method is a file with a function under `baseline`, and a line below.
"""

from ._record import METHODS, Baseline, NoisyRun, baseline, table

# isort: off
from ._cross_entropy import cross_entropy as cross_entropy
from ._early_stopping import early_stopping as early_stopping, EarlyStoppingResult
from ._label_smoothing import label_smoothing as label_smoothing
from ._bootstrapping import bootstrapping as bootstrapping
from ._gce import gce as gce
from ._symmetric_cross_entropy import symmetric_cross_entropy as symmetric_cross_entropy
from ._forward_correction import (
    ForwardCorrectionResult,
    estimate_transition,
    forward_correction as forward_correction,
)
from ._elr import elr as elr
from ._self_adaptive_training import self_adaptive_training as self_adaptive_training
from ._co_teaching import CoTeachingResult, co_teaching as co_teaching
from ._mixup import mixup as mixup
from ._distance_to_initialization import (
    distance_to_initialization as distance_to_initialization,
)
# isort: on

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "METHODS",
    "Baseline",
    "NoisyRun",
    "baseline",
    "table",
    # functions
    *dict.fromkeys(one.function_name for one in METHODS.values()),
    "estimate_transition",
    # results
    "EarlyStoppingResult",
    "ForwardCorrectionResult",
    "CoTeachingResult",
]
