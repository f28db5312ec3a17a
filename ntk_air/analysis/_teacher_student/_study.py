"""Students of a teacher stopped at many times, beside early stopping and label smoothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ... import distillation, dynamics, kernels, spectral
from ..._checks import check_choice, check_in_range, check_seed, check_size
from ..._memory import eigensystem_budget
from ..._numerics import in_precision
from ..._typing import Array
from ...datasets import Dataset
from ...noise import NoisyLabels
from .._air._air import versions
from .._air._targets import check_dataset, check_noisy, coded_targets, described
from .._network._prepare import prepare
from ._kernels import CLOSED_FORM, closed_form, complexities
from ._result import TeacherStudentStudy


@in_precision
def teacher_student(
    dataset: Dataset,
    noisy: NoisyLabels | Sequence[NoisyLabels],
    *,
    loss: str = "mse",
    num_seeds: int = 5,
    depth: int = 1,
    width: int = 256,
    weight_std: float = 1.4,
    bias_std: float = 0.1,
    teacher_steps: int = 1000,
    student_steps: int | None = None,
    checkpoints: Sequence[int] | None = None,
    temperatures: Sequence[float] | None = None,
    alpha: float = 0.0,
    smoothing: Sequence[float] = (0.0, 0.1, 0.3),
    learning_rate: float | None = None,
    momentum: float = 0.9,
    batch_size: int | None = 100,
    memory_budget: float | None = None,
    students_at_once: int | None = None,
    seed: int = 0,
    precision: str | None = None,
) -> TeacherStudentStudy:
    """Student accuracy and supervision complexity against the teacher's stopping time.

    Trains a fully connected teacher on the observed labels, a student on its outputs at every
    checkpoint, and students on smoothed observed labels, for several seeds; networks are taken
    minus their own initial outputs. Beside them: how hard every teacher's targets are for the
    student's NTK at initialisation; for squared loss also the infinite-width closed form of the
    same training, in the mean over batches, and the stopping time that generalised
    cross-validation chooses from the observed labels.

    Args:
        dataset: training and test points, prepared as in `air`.
        noisy: observed labels of the training points, or one draw of them for each seed.
        loss: "mse" on centred one-hot targets, summed over points, or "cross_entropy", a mean.
        num_seeds: G; a seed is an initialisation of the teacher and another of the student, and
            the order of the points.
        depth: hidden ReLU layers of teacher and student.
        width: units of each.
        weight_std: standard deviation of the weights in NTK parameterisation.
        bias_std: standard deviation of the biases.
        teacher_steps: steps of the teacher.
        student_steps: steps of every student; None is as many.
        checkpoints: increasing steps of the teacher; None is about a dozen, spaced by a factor.
        temperatures: of the soft targets; None is the outputs themselves for "mse" and 1 for
            "cross_entropy".
        alpha: weight of the observed labels in the students' loss.
        smoothing: weights of the uniform distribution in the label smoothing baselines.
        learning_rate: of heavy-ball gradient descent; None is a third of 1/λ for the largest
            curvature λ that a batch's loss can have under the infinite-width NTK.
        momentum: β in [0, 1).
        batch_size: points per step; None takes all.
        memory_budget: bytes for a kernel and its eigensystem; None is half of what is free.
        students_at_once: networks of a seed in memory at a time; None is all of all seeds.
        seed: of the first network; the others follow from it.
        precision: ``"float64"`` computes all of it in float64, whatever JAX's default is;
            ``"float32"`` likewise.

    Returns:
        A `TeacherStudentStudy`.

    Raises:
        ValueError: no dataset or noisy labels, labels that do not match the dataset, no test
            points, numbers out of range, or kernels that do not fit in memory.
        TypeError: if ``label_fn`` is no function.
        RuntimeError: if an eigensolver fails.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Source: Dong, Hou, Lu, Zhang (arXiv:1910.01255); supervision complexity: Harutyunyan, Rawat,
        Menon, Kim, Kumar (arXiv:2301.12245).

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> noisy = [na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)]
        >>> study = na.analysis.teacher_student(
        ...     data, noisy, num_seeds=1, width=16, teacher_steps=4, batch_size=20)
        >>> study.teacher.test_accuracy.shape
        (1, 4)
    """
    check_dataset(dataset)
    _check(dataset, loss, num_seeds, seed, momentum, batch_size, smoothing)
    dataset = prepare(dataset)
    draws = _draws(noisy, num_seeds, dataset)
    clean, observed = _coded(dataset, draws, loss)
    n, batch = len(clean), batch_size or len(clean)
    budget = eigensystem_budget(f"the float64 kernel of {n} points", n, 8, memory_budget)
    network = kernels.fully_connected(
        depth, width, num_outputs=clean.shape[1], weight_std=weight_std, bias_std=bias_std
    )
    kernel = kernels.infinite_ntk(network, dataset.train_inputs, memory_budget=budget)
    es = spectral.eigendecompose(kernel)
    rate, seen = _rates(float(es.eigenvalues[0]), n, batch, loss, learning_rate)
    teachers, students = _initial(network, dataset, num_seeds, seed)
    trained = distillation.teacher_student(
        network.apply_fn,
        teachers,
        dataset.train_inputs,
        observed,
        optimizer=optax.sgd(rate, momentum=momentum),
        learning_rate=rate / (1 - momentum) * seen,
        teacher_steps=teacher_steps,
        student_steps=student_steps or teacher_steps,
        checkpoints=checkpoints,
        temperatures=temperatures,
        alpha=alpha,
        smoothing=smoothing,
        student_params=students,
        num_seeds=num_seeds,
        loss=loss,
        batch_size=batch_size,
        subtract_initial=True,
        clean=clean,
        test=(dataset.test_inputs, dataset.test_labels),
        students_at_once=students_at_once,
        key=seed,
    )
    closed = dict.fromkeys(CLOSED_FORM)
    if loss == "mse":
        # In the mean over batches, momentum on part of the points is momentum at a smaller rate.
        fitted = functools.partial(dynamics.heavy_ball, rate * seen, momentum=momentum)
        closed = closed_form(network, dataset, es, observed, trained, alpha, fitted, budget)
    return TeacherStudentStudy(
        noise_rate=jnp.asarray([one.empirical_rate for one in draws]),
        noise=described(draws[0]),
        architecture=network.name,
        loss=loss,
        student_steps=int(trained.students.step[-1]),
        batch_size=batch_size,
        learning_rate=rate,
        momentum=momentum,
        alpha=float(alpha),
        seed=seed,
        versions=versions(),
        **_histories(trained),
        **_sizes(dataset),
        **closed,
        **complexities(network, students, dataset, trained.targets, observed, clean, budget),
    )


def _check(
    dataset: Dataset,
    loss: str,
    num_seeds: int,
    seed: int,
    momentum: float,
    batch_size: int | None,
    smoothing: Sequence[float],
) -> None:
    check_choice("loss", loss, ("mse", "cross_entropy"))
    check_size("num_seeds", num_seeds, 1)
    check_seed("seed", seed)
    check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
    if batch_size is not None:
        check_size("batch_size", batch_size, 1, len(dataset.train_labels))
    if not len(dataset.test_labels):
        raise ValueError("the dataset has no test points; accuracies need some (test_size).")
    if not len(smoothing):
        raise ValueError("smoothing is empty, expected at least one weight, such as (0.0,).")


def _rates(
    largest: float, n: int, batch: int, loss: str, learning_rate: float | None
) -> tuple[float, float]:
    """The learning rate, and by what a step's time is multiplied to be that of all points."""
    # Of the summed squared loss on a batch; softmax has at most half the curvature.
    curvature, seen = largest * batch / n, batch / n
    if loss == "cross_entropy":
        curvature, seen = curvature / (2 * batch), 1 / n
    return learning_rate or 1 / (3 * curvature), seen


def _histories(trained: distillation.TeacherStudentResult) -> dict[str, Any]:
    assert trained.smoothed is not None
    return {
        "teacher": dataclasses.replace(trained.teacher, outputs=None, test_outputs=None),
        "students": trained.students,
        "smoothed": trained.smoothed,
        "times": trained.teacher.time,
        "checkpoints": trained.checkpoints,
        "temperatures": trained.temperatures,
        "smoothing": trained.smoothing,
    }


def _sizes(dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "num_points": len(dataset.train_labels),
        "num_test": len(dataset.test_labels),
        "num_classes": dataset.num_classes,
    }


def _draws(
    noisy: NoisyLabels | Sequence[NoisyLabels], num_seeds: int, dataset: Dataset
) -> list[NoisyLabels]:
    if isinstance(noisy, NoisyLabels):
        check_noisy(noisy, dataset)
        return [noisy] * num_seeds
    draws: list[Any] = list(noisy) if isinstance(noisy, Sequence) else [noisy]
    for one in draws:
        check_noisy(one, dataset)
    if len(draws) != num_seeds:
        raise ValueError(
            f"noisy holds {len(draws)} draws of the labels, expected one, or one for each of "
            f"num_seeds = {num_seeds} seeds."
        )
    return draws


def _coded(dataset: Dataset, draws: list[NoisyLabels], loss: str) -> tuple[Array, Array]:
    """Clean targets (n, C) and observed ones of every seed (G, n, C), in the loss's coding."""
    coded = [coded_targets(dataset, one, "centered_one_hot") for one in draws]
    # Both codings differ by a constant only.
    shift = 1.0 / dataset.num_classes if loss == "cross_entropy" else 0.0
    return coded[0].clean + shift, jnp.stack([one.observed for one in coded]) + shift


def _initial(
    network: kernels.Architecture, dataset: Dataset, num_seeds: int, seed: int
) -> tuple[Any, Any]:
    """Initial parameters of teachers and of students, each with an axis over seeds."""
    shape = (-1, *dataset.train_inputs.shape[1:])
    keys = jax.random.split(jax.random.key(seed), (2, num_seeds))
    both = jax.jit(jax.vmap(jax.vmap(lambda key: network.init_fn(key, shape)[1])))(keys)
    teachers, students = (jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in (0, 1))
    return teachers, students
