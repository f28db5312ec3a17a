"""Histories of a teacher and all its students, packed into one result."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._results import result
from .._typing import Array
from .training._history import History, history_of
from .training._optimizer import Rate


@result
class TeacherStudentResult:
    """Students of a teacher stopped at S times, with K temperatures; and E label smoothings.

    ``G`` is the axis over seeds; it is absent where ``num_seeds`` was not given.

    Attributes:
        teacher: history of the teacher; its R records are the S checkpoints, and its ``outputs``
            are (G, S, n, C). Its other fields are (G, S), but for ``step`` and ``time``, (S,).
        students: histories of the students, fields (G, S, K, R); ``step`` and ``time`` are (R,).
        smoothed: histories of students of the same start on smoothed observed labels, (G, E, R);
            None without ``smoothing``.
        targets: (G, S, K, n, C), what the students were taught.
        checkpoints: (S,) int32, the teacher's steps.
        temperatures: (K,); NaN where the targets are the teacher's outputs themselves.
        smoothing: (E,), weights of the uniform distribution.
        student_params: final parameters of the students, leaves (G, S, K, ...); None unless asked
            for.
    """

    teacher: History
    students: History
    smoothed: History | None
    targets: Array
    checkpoints: Array
    temperatures: Array
    smoothing: Array
    student_params: Any = None


class Packing(NamedTuple):
    """How columns (G, P, ...) of many networks become named fields."""

    rate: Rate
    single: bool  # drop the axis over seeds
    stops: np.ndarray  # (S,)
    records: np.ndarray  # (R,)
    levels: np.ndarray  # (K,)
    uniform: np.ndarray  # (E,)

    def result(
        self, teacher: Any, taught: Any, targets: Array, params: Any
    ) -> TeacherStudentResult:
        """The result, of the columns of teachers (G, 1, ...) and of all others (G, P, ...)."""
        sizes = (len(self.stops), len(self.levels))
        count = sizes[0] * sizes[1]
        students, others = slice(0, count), slice(count, None)
        smoothed = None
        if len(self.uniform):
            smoothed = self.history(taught, self.records, others, (len(self.uniform),))
        return TeacherStudentResult(
            teacher=self.history(teacher, self.stops, slice(0, 1), ()),
            students=self.history(taught, self.records, students, sizes),
            smoothed=smoothed,
            targets=self.arrays(targets, students, sizes),
            checkpoints=jnp.asarray(self.stops),
            temperatures=jax.device_put(self.levels.astype(targets.dtype)),
            smoothing=jnp.asarray(self.uniform, targets.dtype),
            student_params=self.arrays(params, students, sizes),
        )

    def arrays(self, tree: Any, networks: slice, sizes: tuple[int, ...]) -> Any:
        """Takes ``networks`` of every leaf (G, P, ...), as (G, *sizes, ...)."""

        def pick(leaf: Array) -> Array:
            leaf = leaf[:, networks]
            leaf = leaf.reshape(leaf.shape[0], *sizes, *leaf.shape[2:])
            return leaf[0] if self.single else leaf

        return jax.tree.map(pick, tree)

    def history(
        self, columns: dict[str, Any], steps: np.ndarray, networks: slice, sizes: tuple[int, ...]
    ) -> History:
        """The history of ``networks``."""
        fields = self.arrays(columns, networks, sizes)
        at = jax.device_put(self.rate.times(steps).astype(columns["loss"].dtype))
        return history_of(fields | {"step": jnp.asarray(steps), "time": at})
