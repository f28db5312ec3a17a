"""Figures: one function per result type, each takes a result and returns matplotlib axes."""

from ._air_parts import before_and_after, by_class, by_layer
from ._air_profile import air_profile
from ._air_record import air_record
from ._equivalent_time import equivalent_time
from ._filters import filters
from ._history import history
from ._retrieval import retrieval
from ._spectrum import spectrum
from ._stopping import stopping
from ._stopping_rules import stopping_rules
from ._style import standalone
from ._teacher_student import teacher_student
from ._theorem_report import theorem_figure, theorem_report
from ._theorem_scaling import theorem_scaling
from ._width_sweep import width_sweep

__all__ = [
    "spectrum",
    "air_profile",
    "retrieval",
    "stopping",
    "stopping_rules",
    "history",
    "air_record",
    "by_class",
    "by_layer",
    "before_and_after",
    "width_sweep",
    "filters",
    "equivalent_time",
    "teacher_student",
    "theorem_report",
    "theorem_scaling",
    "theorem_figure",
    "standalone",
]
