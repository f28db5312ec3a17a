"""The theorems: data model, network, and reports of what was assumed and what was measured."""

from ._clusters import ClusterGeometry, measure_clusters
from ._report import Check, TheoremReport, TheoremViolationError
from ._self_distillation import check_self_distillation
from ._two_layer import two_layer_apply, two_layer_init, two_layer_ntk

__all__ = [
    # theorems
    "check_self_distillation",
    # reports
    "TheoremReport",
    "Check",
    "TheoremViolationError",
    # data model and network
    "measure_clusters",
    "ClusterGeometry",
    "two_layer_apply",
    "two_layer_init",
    "two_layer_ntk",
]
