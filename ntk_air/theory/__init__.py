"""The theorems: data model, network, and reports of what was assumed and what was measured."""

from ._cluster_kernel import ClusterKernel, cluster_kernel
from ._clusterability import Clusterability, measure_clusterability
from ._clusters import ClusterGeometry, measure_clusters
from ._early_stopping import check_early_stopping
from ._jacobian_bimodality import check_jacobian_bimodality
from ._l2_floor import check_l2_floor
from ._linearization import check_linearization
from ._logistic_early_stopping import check_logistic_early_stopping
from ._margin_generalization import check_margin_generalization
from ._noise_isotropy import check_noise_isotropy
from ._noise_level_stopping import check_noise_level_stopping
from ._ntk_concentration import check_ntk_concentration
from ._overfitting_distance import check_overfitting_distance
from ._report import Check, Scaling, TheoremReport, TheoremViolationError
from ._scaling import PowerLaw, power_law
from ._self_distillation import check_self_distillation
from ._self_distillation_law import ConvergenceBound, convergence_bound
from ._supervision_complexity import check_supervision_complexity
from ._two_layer import two_layer_apply, two_layer_init, two_layer_ntk

__all__ = [
    # theorems: `ntk-air check` runs each of these in this order, under the name after "check_"
    "check_jacobian_bimodality",
    "check_early_stopping",
    "check_overfitting_distance",
    "check_linearization",
    "check_ntk_concentration",
    "check_self_distillation",
    "check_l2_floor",
    "check_margin_generalization",
    "check_noise_isotropy",
    "check_supervision_complexity",
    "check_logistic_early_stopping",
    "check_noise_level_stopping",
    # reports
    "TheoremReport",
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
