"""The main job: from a dataset with noisy labels to one result, prediction beside measurement."""

from ._air import air, versions
from ._result import AIRAnalysis
from ._settings import Settings
from ._summary import headline_rank, summary

__all__ = ["air", "AIRAnalysis", "Settings", "summary", "headline_rank", "versions"]
