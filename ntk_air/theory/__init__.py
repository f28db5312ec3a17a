"""The theorems: data model, network, and reports of what was assumed and what was measured."""

from .model._cluster_kernel import ClusterKernel, cluster_kernel
from .model._clusterability import Clusterability, measure_clusterability
from .model._clusters import ClusterGeometry, measure_clusters
from .model._two_layer import two_layer_apply, two_layer_init, two_layer_ntk
from .reporting._report import Check, Scaling, TheoremReport, TheoremViolationError
from .reporting._scaling import PowerLaw, power_law
from .theorems._early_stopping import check_early_stopping
from .theorems._jacobian_bimodality import check_jacobian_bimodality
from .theorems._linearization import check_linearization
from .theorems._margin_generalization import check_margin_generalization
from .theorems._noise_isotropy import check_noise_isotropy
from .theorems._ntk_concentration import check_ntk_concentration
from .theorems._overfitting_distance import check_overfitting_distance
from .theorems._supervision_complexity import check_supervision_complexity
from .theorems.l2_floor._theorem import check_l2_floor
from .theorems.logistic_early_stopping._theorem import check_logistic_early_stopping
from .theorems.noise_level_stopping._theorem import check_noise_level_stopping
from .theorems.self_distillation._law import ConvergenceBound, convergence_bound
from .theorems.self_distillation._theorem import check_self_distillation

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
