"""The main job, and the same quantities over the training of any network: a recorder."""

from ._air import air, versions
from ._noisy_settings import NoisySettings
from ._noisy_summary import noisy_training_summary
from ._noisy_training import NoisyTraining, noisy_training
from ._record import AIRRecord, KernelMovement
from ._recorder import Recorder
from ._result import AIRAnalysis
from ._settings import Settings
from ._slopes import SlopeFit, fit_slope
from ._summary import headline_rank, summary
from ._teacher_student import teacher_student
from ._teacher_student_result import TeacherStudentStudy, teacher_student_summary
from ._width_sweep import WidthSweep, width_sweep

__all__ = [
    # the main job
    "air",
    "AIRAnalysis",
    "Settings",
    "summary",
    "headline_rank",
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
    # methods for noisy labels
    "noisy_training",
    "NoisySettings",
    "NoisyTraining",
    "noisy_training_summary",
]
