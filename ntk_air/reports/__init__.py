"""Reports: folders with a self-contained page, figures and numbers, written from results."""

from .._files import check_writable
from ._air import output_folder, write_air_report
from ._figures import ReportFigure, air_figures
from ._labels import check_label_file, write_label_report
from ._theorem import write_theorem_report
from ._training import training_figure, write_training_report

__all__ = [
    "write_air_report",
    "write_theorem_report",
    "write_training_report",
    "write_label_report",
    "air_figures",
    "ReportFigure",
    "training_figure",
    "check_writable",
    "check_label_file",
    "output_folder",
]
