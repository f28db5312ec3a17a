"""A teacher stopped at several times, and a student trained on each of its soft targets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from .._checks import (
    check_bool,
    check_choice,
    check_finite,
    check_in_range,
    check_same_length,
    check_size,
)
from .._classes import classes_given
from .._numerics import in_precision
from .._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from . import _student_arguments as arguments
from . import _students
from ._label_fn import bind, coding_of, hard, identity
from ._teacher_student_result import Packing, TeacherStudentResult
from .training._history import Reference
from .training._network import as_network, is_slow_in_loops
from .training._options import training_call
from .training._problem import LoopSettings, TrainingProblem
from .training._records import check_test, record_steps
from .training._replicas import first

_RECORDS = 20


@training_call
@in_precision
def teacher_student(
    apply_fn: ApplyFn,
    teacher_params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "*G n C"],
    *,
    optimizer: float | optax.GradientTransformation | Callable[[Any], optax.GradientTransformation],
    teacher_steps: int,
    student_steps: int,
    learning_rate: float | None = None,
    checkpoints: Sequence[int] | None = None,
    temperatures: Sequence[float] | None = None,
    alpha: float = 0.0,
    smoothing: Sequence[float] = (),
    student_params: PyTree | None = None,
    student_apply_fn: ApplyFn | None = None,
    num_seeds: int | None = None,
    loss: str = "mse",
    reduction: str | None = None,
    batch_size: int | None = None,
    subtract_initial: bool = False,
    clean: Float[ArrayLike, "n C"] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    record_every: int | Sequence[int] | None = None,
    record_outputs: bool = False,
    keep_params: bool = False,
    students_at_once: int | None = None,
    key: Array | int | None = None,
    precision: str | None = None,
) -> TeacherStudentResult:
    """Trains a teacher on the observed labels and a student on its outputs at every checkpoint.

    All students, over checkpoints, temperatures and seeds, are trained together. In the kernel
    regime with squared loss, from outputs 0, a student trained to time t2 on a teacher
    stopped at t1 has the outputs of `ntk_air.dynamics.teacher_student(t1, t2)`.

    The loss of a student is alpha x loss(f, observed) + (1 - alpha) x loss(f, soft). For "mse",
    soft are the teacher's outputs, or their softmax at a temperature in the coding of the observed
    targets. For "cross_entropy" it is T^2 x cross-entropy between softmax(teacher / T) and
    softmax(f / T): the student's outputs are divided by T too, and the factor keeps the gradients
    of all temperatures equally large.

    Args:
        apply_fn: ``(params, inputs) -> outputs (n, C)``, pure.
        teacher_params: initial parameters of the teacher, any pytree of float arrays.
        inputs: training inputs, the first axis over the n points.
        observed: encoded observed targets (n, C), or one draw of them for every seed (G, n, C).
            Of targets that code no classes, ``label_to_clean`` is ``l2_to_clean``.
        optimizer: of teacher and students; a number is gradient descent with that learning rate, a
            function such as ``optax.adam`` is called with ``learning_rate``, a finished optax
            transformation is used as it is.
        teacher_steps: steps the teacher may take.
        student_steps: steps of every student.
        learning_rate: for an optimiser function; with a finished transformation it only sets the
            ``time`` of the histories (learning_rate x step), which is NaN without it.
        checkpoints: (S,) increasing steps of the teacher in 0..teacher_steps; None is about a
            dozen, spaced by a factor.
        temperatures: (K,) of the soft targets; None is the outputs themselves for "mse" and 1 for
            "cross_entropy".
        alpha: weight of the observed labels in the students' loss; 0 is distillation alone.
        smoothing: (E,) weights e in [0, 1): beside the students, as many trained the same way on
            (1 - e) observed + e uniform. 0 is training on the observed labels. With centred
            targets and "mse" this only scales them.
        student_params: initial parameters of the students; None is those of the teacher.
        student_apply_fn: the students' network; None is that of the teacher.
        num_seeds: G: all leaves of both parameters have a leading axis of that length, and
            everything is done for each seed.
        loss: "mse", half the squared distance summed over outputs, or "cross_entropy", which needs
            one-hot targets.
        reduction: "sum" or "mean" over the points of a batch; None is "sum" for "mse" and "mean"
            for "cross_entropy".
        batch_size: points per step; None takes all of them. Every epoch visits each point exactly
            once, in an order that the students of a seed share.
        subtract_initial: train and measure every network minus its own initial outputs, so that
            f_0 = 0 as in the kernel regime (arXiv:1812.07956, section 1).
        clean: clean targets (n, C) in the same coding; without them what needs them is NaN.
        test: ``(inputs, labels (m,) or encoded targets (m, C))`` for the test accuracy.
        record_every: record the students each so many steps (None: about 20 records), or at the
            steps of an increasing sequence; always before the first and after the last step.
        record_outputs: keep the students' outputs at every record, (G, S, K, R, n, C).
        keep_params: keep the students' final parameters.
        students_at_once: networks of a seed in memory at a time; None is all of all seeds.
        key: a JAX key or a seed for the order of the points; needed with ``batch_size`` only.
        precision: ``"float64"`` casts inputs, targets and parameters and computes in float64
            whatever JAX's default is; ``"float32"`` likewise.

    Returns:
        A `TeacherStudentResult`.

    Raises:
        ValueError: on shapes that do not fit, labels that are not encoded, or numbers out of range.
        DivergenceError: if the loss at a record is NaN or infinite; it names the step.
        TypeError: if ``label_fn`` is no function.

    Source: Hinton, Vinyals, Dean (arXiv:1503.02531); the teacher's stopping time: Dong, Hou, Lu,
        Zhang (arXiv:1910.01255).

    Example:
        >>> import jax.numpy as jnp, optax, ntk_air as na
        >>> x, observed = jnp.eye(2), jnp.array([[1.0], [-1.0]])
        >>> result = na.distillation.teacher_student(
        ...     lambda w, x: x @ w, jnp.zeros((2, 1)), x, observed,
        ...     optimizer=optax.sgd, learning_rate=0.5, teacher_steps=1, student_steps=1)
        >>> print(result.teacher.loss, result.students.loss.shape)
        [0.25] (1, 1, 2)
    """
    check_choice("loss", loss, ("mse", "cross_entropy"))
    reduction = reduction or ("sum" if loss == "mse" else "mean")
    check_choice("reduction", reduction, ("sum", "mean"))
    check_in_range("alpha", alpha, 0.0, 1.0)
    stops = arguments.checkpoint_steps(checkpoints, teacher_steps)
    levels = arguments.temperature_levels(temperatures, loss)
    uniform = arguments.smoothing_levels(smoothing)
    student_steps = check_size("student_steps", student_steps, 1)
    if record_every is None:
        record_every = max(1, student_steps // _RECORDS)
    records = record_steps(record_every, student_steps)
    if students_at_once is not None:
        check_size("students_at_once", students_at_once, 1)
    switches = {"subtract_initial": subtract_initial, "record_outputs": record_outputs}
    for name, switch in (switches | {"keep_params": keep_params}).items():
        check_bool(name, switch)
    make, rate = arguments.optimizer_and_rate(optimizer, learning_rate)
    teacher_params, student_params = _parameters(
        teacher_params, student_params, student_apply_fn, num_seeds
    )
    drawn = arguments.observed_over_seeds(observed, clean, loss, num_seeds)
    check_same_length("inputs", inputs, "observed", drawn[0])
    check_finite("inputs", inputs)
    inputs = jnp.asarray(inputs)
    shape = drawn.shape[1:]
    teacher, student = (apply_fn, teacher_params), (student_apply_fn or apply_fn, student_params)
    networks = {"teacher": teacher, "student": student}
    dtype = _teacher_dtype(networks, inputs, shape)
    keys = arguments.order_keys(key, batch_size, len(inputs), len(drawn))
    test_inputs, wanted = (None, None) if test is None else _test_part(test, networks, shape[1])
    traced = not hasattr(make, "update") and rate.values is not None
    teach = functools.partial(
        _students.Student,
        labels=identity if coding_of(drawn[0]) is None else bind(hard, drawn[0]),
        loss=loss,
        reduction=reduction,
    )
    problem = TrainingProblem(
        inputs=inputs,
        observed=jnp.asarray(drawn, dtype),
        reference=Reference(None if clean is None else jnp.asarray(clean, dtype), wanted),
        test_inputs=test_inputs,
        initial_params=teacher_params,
        initial_state=None,
        learning_rate=jnp.asarray(rate.values, dtype) if traced else None,
        method=teach(_students.plain_lesson(jnp.asarray(drawn, dtype))),
        key=keys[0],
    )
    train = functools.partial(_students.train, at_once=students_at_once)
    settings = functools.partial(_settings, inputs, make, batch_size, subtract_initial)
    _, taught = train(settings(teacher, True), problem, stops)
    lessons = _students.soft_lessons(
        taught["outputs"][:, 0], problem.observed, levels, alpha, uniform
    )
    problem = problem._replace(initial_params=student_params, method=teach(lessons), key=keys[1])
    params, columns = train(settings(student, record_outputs), problem, records)
    pack = Packing(rate, num_seeds is None, stops, records, levels, uniform)
    return pack.result(taught, columns, lessons.target, params if keep_params else None)


def _parameters(
    teacher: PyTree, student: PyTree | None, student_apply_fn: ApplyFn | None, seeds: int | None
) -> tuple[PyTree, PyTree]:
    """Both initial parameters, with a leading axis over seeds."""
    teacher = arguments.over_seeds("teacher_params", teacher, seeds)
    if student is None:
        if student_apply_fn is not None:
            raise ValueError(
                "student_apply_fn was given without student_params; pass the parameters that this "
                "network starts from."
            )
        return teacher, teacher
    student = arguments.over_seeds("student_params", student, seeds)
    if student_apply_fn is None:
        arguments.check_same_structure(student, teacher)
    return teacher, student


def _teacher_dtype(
    networks: dict[str, tuple[ApplyFn, PyTree]], inputs: Array, shape: tuple[int, ...]
) -> Any:
    """The dtype of the teacher's outputs; both networks are seen to have outputs of the shape."""
    found = {
        who: arguments.output_dtype(who, apply, params, inputs, shape)
        for who, (apply, params) in networks.items()
    }
    return found["teacher"]


def _test_part(
    test: tuple[ArrayLike, ArrayLike],
    networks: dict[str, tuple[ApplyFn, PyTree]],
    num_outputs: int,
) -> tuple[Array, Array]:
    inputs, labels = check_test(test)
    inputs = jnp.asarray(inputs)
    _teacher_dtype(networks, inputs, (len(inputs), num_outputs))
    return inputs, classes_given(labels, len(inputs), num_outputs)


def _settings(
    inputs: Array,
    optimizer: Any,
    batch_size: int | None,
    subtract_initial: bool,
    function_and_params: tuple[ApplyFn, PyTree],
    keep_outputs: bool,
) -> LoopSettings:
    """What is compiled in of the networks' training."""
    apply_fn, params = function_and_params
    network = as_network(apply_fn, params).network
    return LoopSettings(
        network=network,
        optimizer=optimizer,
        batch_size=batch_size,
        augment=None,
        keep_outputs=keep_outputs,
        mesh=None,
        replicated=_students.REPLICATED,
        subtract_initial=subtract_initial,
        from_host=is_slow_in_loops(network, (first(params), None), inputs),
    )
