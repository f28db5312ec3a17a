"""The main job, and the same quantities over the training of any network: a recorder."""

from ._air._air import air, versions
from ._air._by_class import ClassRetrieval
from ._air._by_layer import LayerShares
from ._air._cross_entropy import CrossEntropyRetrieval
from ._air._held_out import HeldOutRetrieval
from ._air._result import AIRAnalysis
from ._air._settings import Settings
from ._air._summary import headline_rank, summary
from ._labels._changes import LabelChanges, compare_label_reports
from ._labels._label_report import label_report
from ._labels._report import LabelReport, NoiseRate, WrongCount
from ._labels._truth import TruthComparison
from ._network._prepare import prepare
from ._noisy_training._problem import NoisyProblem, noisy_problem
from ._noisy_training._settings import NoisySettings
from ._noisy_training._summary import noisy_training_summary, over_seeds
from ._noisy_training._training import NoisyTraining, noisy_training
from ._recording._record import AIRRecord, KernelMovement
from ._recording._recorder import Recorder
from ._teacher_student._result import TeacherStudentStudy, teacher_student_summary
from ._teacher_student._study import teacher_student
from ._width._slopes import SlopeFit, fit_slope
from ._width._sweep import WidthSweep, width_sweep

__all__ = [
    # the main job
    "air",
    "AIRAnalysis",
    "HeldOutRetrieval",
    "ClassRetrieval",
    "LayerShares",
    "CrossEntropyRetrieval",
    "Settings",
    "summary",
    "headline_rank",
    "prepare",
    "versions",
    # over training time
    "Recorder",
    "AIRRecord",
    "KernelMovement",
    # over width
    "width_sweep",
    "WidthSweep",
    "fit_slope",
    "SlopeFit",
    # over the teacher's stopping time
    "teacher_student",
    "teacher_student_summary",
    "TeacherStudentStudy",
    # which labels are wrong
    "label_report",
    "LabelReport",
    "NoiseRate",
    "WrongCount",
    "compare_label_reports",
    "LabelChanges",
    "TruthComparison",
    # methods for noisy labels
    "noisy_training",
    "NoisySettings",
    "NoisyTraining",
    "noisy_training_summary",
    "noisy_problem",
    "NoisyProblem",
    "over_seeds",
]
