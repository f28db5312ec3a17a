"""Figures: one function per result type, each takes a result and returns matplotlib axes."""

from ._air_profile import air_profile
from ._equivalent_time import equivalent_time
from ._filters import filters
from ._history import history
from ._retrieval import retrieval
from ._spectrum import spectrum
from ._stopping import stopping
from ._style import standalone
from ._theorem_report import theorem_report

__all__ = [
    "spectrum",
    "air_profile",
    "retrieval",
    "stopping",
    "history",
    "filters",
    "equivalent_time",
    "theorem_report",
    "standalone",
]
