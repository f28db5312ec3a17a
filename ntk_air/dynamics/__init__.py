"""Training in the eigenbasis: spectral filters, closed-form outputs, retrieval, stopping."""

from ._filters import (
    gradient_descent,
    gradient_flow,
    heavy_ball,
    ridge,
    ridge_distillation,
    teacher_student,
    truncation,
)
from ._fit import filter_values, fit, predict
from ._retrieval import RetrievalCurves, measured_retrieval, retrieval
from ._stopping import (
    RULES,
    Risk,
    StoppingTime,
    leave_one_out,
    risk,
    stopping_time,
    time_grid,
)

__all__ = [
    # filters
    "gradient_flow",
    "gradient_descent",
    "heavy_ball",
    "ridge",
    "truncation",
    "ridge_distillation",
    "teacher_student",
    "filter_values",
    # closed-form training
    "fit",
    "predict",
    "retrieval",
    "measured_retrieval",
    "RetrievalCurves",
    # stopping
    "risk",
    "Risk",
    "stopping_time",
    "StoppingTime",
    "leave_one_out",
    "time_grid",
    "RULES",
]
