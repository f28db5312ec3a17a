"""Many networks trained together, each on soft targets of its own that do not move.

Networks of G seeds with P lessons each, by the one training loop: what a lesson says is a `Method`,
whose memory are the soft targets.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, PyTree
from ._label_fn import LabelFn, bind, coding_of, softmax
from .training import _engine
from .training._checkpoint import stack
from .training._method import Batch, Forward, Method, method, switch
from .training._problem import LoopSettings, TrainingProblem
from .training._run import run
from .training._threads import Shares, share_count

# Axes over networks, the first one first: fields of a `TrainingProblem` that have them.
REPLICATED = (
    ("method",),
    ("observed", "initial_params", "method", "key", "initial_outputs", "test_initial_outputs"),
)


class Lesson(NamedTuple):
    """What one network is taught; with leading axes over G seeds and P networks."""

    target: Array  # (n, C)
    temperature: Array  # ()
    alpha: Array  # (), weight of the observed labels


@method
class Student(Method):
    """``alpha`` x the loss on the observed labels, the rest on the soft ones of a lesson."""

    lesson: Lesson
    labels: LabelFn | Any
    loss: str = switch("mse")
    reduction: str = switch("sum")

    @property
    def label_fn(self) -> Any:
        """Labels that outputs stand for."""
        return self.labels

    def start(self, observed: Array) -> PyTree:
        """The soft targets."""
        del observed
        return self.lesson.target

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`."""
        outputs = forward(params, batch.inputs)
        return self._taught(outputs, memory, batch.observed, batch.weights), memory

    def status(
        self, step: Array, outputs: Array, observed: Array, memory: PyTree
    ) -> tuple[Array, Array]:
        """See `Method`."""
        del step
        weights = jnp.ones(len(outputs), outputs.dtype)
        return self.lesson.alpha, self._taught(outputs, memory, observed, weights)

    def _taught(self, outputs: Array, target: Array, observed: Array, weights: Array) -> Array:
        given = self.data_loss(outputs, observed, weights)
        if self.loss == "mse":
            soft = self.data_loss(outputs, target, weights)
        else:
            # Gradients through outputs / T shrink like 1/T^2; the factor keeps them as large as
            # those of the observed labels (arXiv:1503.02531, section 2).
            temperature = self.lesson.temperature
            soft = temperature**2 * self.data_loss(outputs / temperature, target, weights)
        return self.lesson.alpha * given + (1 - self.lesson.alpha) * soft


def train(
    settings: LoopSettings,
    problem: TrainingProblem,
    steps: np.ndarray,
    at_once: int | None,
) -> tuple[Any, Any]:
    """Trains G x P networks.

    Args:
        settings: with `REPLICATED` as what is replicated.
        problem: its method is a `Student` with a lesson (G, P, ...); the rest of what is replicated
            has an axis over G.
        steps: (R,) to record at, the first is 0.
        at_once: networks of a seed to train together; None is all of all seeds.

    Returns:
        Their final parameters, leaves (G, P, ...), and the columns of a `History` but for step and
        time, each (G, P, R, ...).

    Raises:
        DivergenceError: if a loss is no longer finite.
    """
    if settings.subtract_initial:
        problem = _with_initial_outputs(settings, problem)
    seeds, lessons = cast(Any, problem.method).lesson.alpha.shape
    if at_once is None:
        return _together(settings, problem, steps)
    parts = [
        [
            _together(settings, _part(problem, seed, slice(start, start + at_once)), steps)
            for start in range(0, lessons, at_once)
        ]
        for seed in range(seeds)
    ]
    return _joined([_joined(of_seed, axis=1) for of_seed in parts], axis=0)


def _with_initial_outputs(settings: LoopSettings, problem: TrainingProblem) -> TrainingProblem:
    """The problem with what every network of a seed starts from."""
    of_seeds = settings._replace(replicated=REPLICATED[1:])
    one_lesson = problem._replace(method=jax.tree.map(lambda leaf: leaf[:, 0], problem.method))
    found = _engine.with_initial_outputs(of_seeds, one_lesson)
    return found._replace(method=problem.method)


def _part(problem: TrainingProblem, seed: int, lessons: slice) -> TrainingProblem:
    """The networks of some lessons of one seed."""
    rows = slice(seed, seed + 1)
    fields = set(REPLICATED[1]) - {"method"}
    of_seed = {n: jax.tree.map(lambda leaf: leaf[rows], getattr(problem, n)) for n in fields}
    return problem._replace(
        **of_seed, method=jax.tree.map(lambda leaf: leaf[rows, lessons], problem.method)
    )


def _together(
    settings: LoopSettings, problem: TrainingProblem, steps: np.ndarray
) -> tuple[Any, Any]:
    """Trains all networks of a problem at the same time."""
    # Lessons first: the cores of a CPU have networks of any number of seeds to share.
    lessons_first = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), problem.method)
    problem = problem._replace(method=lessons_first)
    shares = Shares(settings, problem, share_count(settings, problem))
    columns: dict[str, Any] = stack(run(shares, steps, False, None, None))
    del columns["step"]
    # (R, P, G, ...)
    columns = jax.tree.map(lambda column: np.moveaxis(column, (2, 1), (0, 1)), columns)
    found, _ = _engine.variables(settings, shares.state)
    params = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), found)
    return params, jax.tree.map(jnp.asarray, columns)


def _joined(parts: list[Any], axis: int) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis), *parts)


def plain_lesson(observed: Array) -> Lesson:
    """The teachers' lesson: one network for each seed on its observed labels."""
    ones = jnp.ones((len(observed), 1), observed.dtype)
    return Lesson(observed[:, None], ones, ones)


def soft_lessons(
    outputs: Array, observed: Array, levels: np.ndarray, alpha: float, uniform: np.ndarray
) -> Lesson:
    """S x K soft targets from the teachers' outputs (G, S, n, C), then E smoothed labels."""
    coding = coding_of(observed[0])
    soft = [_soft(outputs, level, observed[0]) for level in levels]
    targets = jnp.stack(soft, axis=2).reshape(len(outputs), -1, *outputs.shape[2:])
    temperatures = np.tile(np.where(np.isnan(levels), 1.0, levels), outputs.shape[1])
    if len(uniform):
        if coding is None:
            raise ValueError(
                "smoothing needs encoded labels: +-1 for a single output, one-hot or centred "
                "one-hot rows for several (ntk_air.datasets.encode)."
            )
        weight = jnp.asarray(uniform, observed.dtype)[:, None, None]
        centre = 1.0 / observed.shape[-1] if coding == "one_hot" else 0.0
        smoothed = (1 - weight) * observed[:, None] + weight * centre
        targets = jnp.concatenate([targets, smoothed], axis=1)
    weights = np.repeat([alpha, 0.0], [len(temperatures), len(uniform)])
    temperatures = np.concatenate([temperatures, np.ones(len(uniform))])
    rows = (len(outputs), len(weights))
    return Lesson(
        targets,
        jnp.broadcast_to(jnp.asarray(temperatures, targets.dtype), rows),
        jnp.broadcast_to(jnp.asarray(weights, targets.dtype), rows),
    )


def _soft(outputs: Array, temperature: float, observed: Array) -> Array:
    """What teacher outputs (G, S, n, C) teach at a temperature."""
    if np.isnan(temperature):
        return outputs
    return bind(softmax(temperature), observed)(outputs)
