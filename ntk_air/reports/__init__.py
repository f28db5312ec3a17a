"""Reports: folders with a self-contained page, figures and numbers, written from results."""

from ._air import check_writable, output_folder, write_air_report
from ._figures import ReportFigure, air_figures

__all__ = ["write_air_report", "air_figures", "ReportFigure", "check_writable", "output_folder"]
