"""The theorems: data model, network, and reports of what was assumed and what was measured.

`ntk-air check` runs each `check_*` in the order of the imports here, under the name after "check_":
a new theorem is a file with its check, and a line below.
"""

from .model._cluster_kernel import ClusterKernel, cluster_kernel
from .model._clusterability import Clusterability, measure_clusterability
from .model._clusters import ClusterGeometry, measure_clusters
from .model._two_layer import two_layer_apply, two_layer_init, two_layer_ntk
from .reporting._report import (
    Check,
    Scaling,
    TheoremCheck,
    TheoremReport,
    TheoremViolationError,
)
from .reporting._scaling import PowerLaw, power_law

# isort: off
from .theorems._jacobian_bimodality import check_jacobian_bimodality as check_jacobian_bimodality
from .theorems._early_stopping import check_early_stopping as check_early_stopping
from .theorems._overfitting_distance import check_overfitting_distance as check_overfitting_distance
from .theorems._linearization import check_linearization as check_linearization
from .theorems._ntk_concentration import check_ntk_concentration as check_ntk_concentration
from .theorems.self_distillation._theorem import check_self_distillation as check_self_distillation
from .theorems.l2_floor._theorem import check_l2_floor as check_l2_floor
from .theorems._margin_generalization import (
    check_margin_generalization as check_margin_generalization,
)
from .theorems._noise_isotropy import check_noise_isotropy as check_noise_isotropy
from .theorems._supervision_complexity import (
    check_supervision_complexity as check_supervision_complexity,
)
from .theorems.logistic_early_stopping._theorem import (
    check_logistic_early_stopping as check_logistic_early_stopping,
)
from .theorems.noise_level_stopping._theorem import (
    check_noise_level_stopping as check_noise_level_stopping,
)

# isort: on
from .theorems.self_distillation._law import ConvergenceBound, convergence_bound

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    # theorems
    *(name for name in tuple(globals()) if name.startswith("check_")),
    # reports
    "TheoremReport",
    "TheoremCheck",
    "Check",
    "Scaling",
    "TheoremViolationError",
    "PowerLaw",
    "power_law",
    # formulas
    "convergence_bound",
    "ConvergenceBound",
    # data model and network
    "measure_clusterability",
    "Clusterability",
    "measure_clusters",
    "ClusterGeometry",
    "cluster_kernel",
    "ClusterKernel",
    "two_layer_apply",
    "two_layer_init",
    "two_layer_ntk",
]
