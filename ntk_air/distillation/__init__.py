"""Self-distillation and plain training of real networks, and the same in function space.

`alpha` and `label_fn` are namespaces of the schedules and label functions listed here.
"""

from . import _alpha as alpha
from . import _label_fn as label_fn
from . import baselines
from ._alpha import (
    AlphaSchedule,
    agreement,
    constant,
    cosine,
    exponential,
    inverse_time,
    linear,
)
from ._alpha_given import as_schedule, tabulate
from ._evaluation import evaluate
from ._function_space import kernel_self_distill
from ._label_fn import LabelFn, hard, identity, nearest, sign, softmax, tanh
from ._posterior import Posterior, posterior
from ._self_distill import self_distill
from ._teacher_student import TeacherStudentResult, teacher_student
from .training._history import DistillationResult, DivergenceError, History
from .training._method import Batch, Method, method, switch
from .training._options import TrainingOptions
from .training._train import train

__all__ = [
    # training
    "self_distill",
    "evaluate",
    "teacher_student",
    "TeacherStudentResult",
    "kernel_self_distill",
    "DistillationResult",
    "History",
    "DivergenceError",
    # methods of one's own
    "train",
    "Method",
    "method",
    "switch",
    "Batch",
    "TrainingOptions",
    # methods to compare with
    "baselines",
    # weight of the observed label
    "alpha",
    "AlphaSchedule",
    "as_schedule",
    "tabulate",
    "agreement",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "linear",
    "posterior",
    "Posterior",
    # label functions
    "label_fn",
    "LabelFn",
    "hard",
    "identity",
    "nearest",
    "sign",
    "softmax",
    "tanh",
]
