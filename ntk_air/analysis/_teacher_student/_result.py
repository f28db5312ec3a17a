"""The result of teacher-student training over the teacher's stopping time, and its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._results import result, static
from ..._typing import Array, Float
from ...distillation import History


@result
class TeacherStudentStudy:
    """Students of a teacher stopped at S times, over G seeds, K temperatures, E label smoothings.

    Times are those of gradient flow on the loss summed over all points: learning rate x step,
    divided by 1 - momentum, times the share of the points (and, for a mean loss, divided by their
    number) that one step sees.

    Attributes:
        teacher: histories, fields (G, S), recorded at the checkpoints; without outputs.
        students: histories, fields (G, S, K, R).
        smoothed: histories of students trained on smoothed observed labels, (G, E, R).
        times: (S,) of the teacher's checkpoints.
        checkpoints: (S,) their steps.
        temperatures: (K,); NaN where the targets are the teacher's outputs themselves.
        smoothing: (E,) weights of the uniform distribution; 0 is training on the observed labels.
        complexity: (G, S, K) supervision complexity of the students' centred targets under the
            student's own NTK at initialisation.
        observed_complexity: (G,) the same of the observed labels.
        clean_complexity: (G,) the same of the clean ones.
        predicted: (G, S) test accuracy in closed form, from the infinite-width NTK, of a student
            of each checkpoint; None for cross-entropy, which has no closed form.
        predicted_teacher: (G, S) the same of the teacher; None for cross-entropy.
        stopping_time: (G,) chosen from the observed labels alone by generalised cross-validation on
            that kernel; None for cross-entropy.
        noise_rate: (G,) fraction of training labels that are wrong.
        dataset, noise, architecture, loss: what they were.
        num_points, num_test, num_classes: sizes n, m, C.
        student_steps, batch_size, learning_rate, momentum, alpha, seed: as used.
        versions: pairs (package, version).
    """

    teacher: History
    students: History
    smoothed: History
    times: Float[Array, " S"]
    checkpoints: Array
    temperatures: Float[Array, " K"]
    smoothing: Float[Array, " E"]
    complexity: Float[Array, "G S K"]
    observed_complexity: Float[Array, " G"]
    clean_complexity: Float[Array, " G"]
    predicted: Float[Array, "G S"] | None
    predicted_teacher: Float[Array, "G S"] | None
    stopping_time: Float[Array, " G"] | None
    noise_rate: Float[Array, " G"]
    dataset: str = static()
    noise: str = static()
    architecture: str = static()
    loss: str = static()
    num_points: int = static()
    num_test: int = static()
    num_classes: int = static()
    student_steps: int = static()
    batch_size: int | None = static()
    learning_rate: float = static()
    momentum: float = static()
    alpha: float = static()
    seed: int = static()
    versions: tuple[tuple[str, str], ...] = static()


def teacher_student_summary(study: TeacherStudentStudy) -> dict[str, Any]:
    """The numbers of a study, plain types only; means and standard deviations are over seeds.

    A curve's ``maximum`` says where its mean is largest and how far that is above its first and
    its last point: the mean and the standard deviation over seeds of the difference within each
    seed, and ``inside``, whether both means exceed both their standard deviation and 0. ``best``
    accuracies are those of the best record on the test points, which nobody has in practice;
    ``last`` are those after the last step.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> noisy = [na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)]
        >>> study = na.analysis.teacher_student(
        ...     data, noisy, num_seeds=1, width=16, teacher_steps=4, batch_size=20)
        >>> sorted(na.analysis.teacher_student_summary(study))[:3]
        ['alpha', 'architecture', 'batch_size']
    """
    students = np.asarray(study.students.test_accuracy, np.float64)
    teacher = np.asarray(study.teacher.test_accuracy, np.float64)
    smoothed = np.asarray(study.smoothed.test_accuracy, np.float64)
    numbers: dict[str, Any] = {
        "dataset": study.dataset,
        "num_points": study.num_points,
        "num_test": study.num_test,
        "noise": study.noise,
        "noise_rate": spread(study.noise_rate),
        "architecture": study.architecture,
        "loss": study.loss,
        "seeds": len(students),
        "student_steps": study.student_steps,
        "batch_size": study.batch_size,
        "learning_rate": study.learning_rate,
        "momentum": study.momentum,
        "alpha": study.alpha,
        "checkpoints": [int(s) for s in study.checkpoints],
        "times": [float(t) for t in study.times],
        "teacher": {
            "test_accuracy": spread(teacher),
            "maximum": maximum(teacher, study.times),
            "error_to_observed": spread(study.teacher.error_to_observed),
        },
        "students": [],
        "smoothing": [],
        "observed_complexity": spread(study.observed_complexity),
        "clean_complexity": spread(study.clean_complexity),
    }
    for k, temperature in enumerate(np.asarray(study.temperatures, np.float64)):
        last = students[:, :, k, -1]
        numbers["students"].append(
            {
                "temperature": None if np.isnan(temperature) else float(temperature),
                "last_test_accuracy": spread(last),
                "best_test_accuracy": spread(students[:, :, k].max(-1)),
                "maximum": maximum(last, study.times),
                "l2_to_clean": spread(study.students.l2_to_clean[:, :, k, -1]),
                "supervision_complexity": spread(study.complexity[:, :, k]),
            }
        )
    for e, weight in enumerate(np.asarray(study.smoothing, np.float64)):
        numbers["smoothing"].append(
            {
                "weight": float(weight),
                "last_test_accuracy": spread(smoothed[:, e, -1]),
                "best_test_accuracy": spread(smoothed[:, e].max(-1)),
            }
        )
    if study.predicted is not None:
        assert study.predicted_teacher is not None
        numbers["predicted"] = {
            "student": spread(study.predicted),
            "teacher": spread(study.predicted_teacher),
            "stopping_time": spread(study.stopping_time),
            "teacher_test_accuracy_at_stopping_time": spread(stopped_accuracy(study)),
        }
    return numbers


def spread(values: Any) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over the first axis; the latter 0 for one seed."""
    array = np.asarray(values, np.float64)
    deviation = array.std(axis=0, ddof=1) if len(array) > 1 else np.zeros(array.shape[1:])
    return {"mean": array.mean(axis=0).tolist(), "sd": deviation.tolist()}


def maximum(curves: Any, times: Any) -> dict[str, Any]:
    """Where the mean of curves (G, S) is largest, and how far above both ends in each seed."""
    curves = np.asarray(curves, np.float64)
    best = int(curves.mean(axis=0).argmax())
    above = {end: spread(curves[:, best] - curves[:, s]) for end, s in (("first", 0), ("last", -1))}
    return {
        "index": best,
        "time": float(np.asarray(times)[best]),
        "value": spread(curves[:, best]),
        "above": above,
        "inside": all(gap["mean"] > gap["sd"] and gap["mean"] > 0 for gap in above.values()),
    }


def stopped_accuracy(study: TeacherStudentStudy) -> np.ndarray:
    """Test accuracy of the teacher at the checkpoint nearest to the chosen time, (G,)."""
    assert study.stopping_time is not None
    at = np.log(np.maximum(np.asarray(study.times, np.float64), 1e-300))
    chosen = np.log(np.asarray(study.stopping_time, np.float64))
    nearest = np.abs(at[None] - chosen[:, None]).argmin(axis=1)
    return np.take_along_axis(np.asarray(study.teacher.test_accuracy), nearest[:, None], 1)[:, 0]
