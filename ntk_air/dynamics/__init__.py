"""Training in the eigenbasis: spectral filters, closed-form outputs, retrieval, stopping."""

from ._distillation import distilled, label_averaging, ridge_distillation, teacher_student
from ._equivalence_table import EquivalenceTable, distillation_schemes, equivalence_table
from ._equivalent import EquivalentTime, equivalent_stopping_time
from ._filters import Filter, gradient_descent, gradient_flow, heavy_ball, ridge, truncation
from ._fit import filter_values, fit, predict, remainder_bound
from ._retrieval import RetrievalCurves, measured_retrieval, retrieval
from ._ridge_choices import optimal_teacher_weight, tolerance_strengths
from ._risk import Risk, risk
from ._time import from_neural_tangents_time, to_neural_tangents_time
from .noisy._leave_one_out import leave_one_out, leave_one_out_flow
from .noisy._noise import NoiseEstimate, estimate_noise
from .noisy._refine import refine_labels
from .noisy._refined import RefinedLabels
from .noisy._stopping import (
    StoppingTime,
    degrees_of_freedom,
    stopping_time,
    stopping_times,
    time_grid,
)
from .noisy._stopping_rules import RULES, StoppingProblem, StoppingRule

__all__ = [
    # filters
    "Filter",
    "gradient_flow",
    "gradient_descent",
    "heavy_ball",
    "ridge",
    "truncation",
    # distillation as filters
    "distilled",
    "teacher_student",
    "ridge_distillation",
    "label_averaging",
    "tolerance_strengths",
    "optimal_teacher_weight",
    # closed-form training
    "fit",
    "predict",
    "remainder_bound",
    "filter_values",
    "retrieval",
    "measured_retrieval",
    "RetrievalCurves",
    "risk",
    "Risk",
    "to_neural_tangents_time",
    "from_neural_tangents_time",
    # distillation against early stopping
    "equivalent_stopping_time",
    "EquivalentTime",
    "distillation_schemes",
    "equivalence_table",
    "EquivalenceTable",
    # without clean labels
    "estimate_noise",
    "NoiseEstimate",
    "stopping_time",
    "stopping_times",
    "StoppingTime",
    "RULES",
    "StoppingRule",
    "StoppingProblem",
    "time_grid",
    "degrees_of_freedom",
    "leave_one_out",
    "leave_one_out_flow",
    "refine_labels",
    "RefinedLabels",
]
