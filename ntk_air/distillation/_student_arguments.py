"""Checks and conversions of what teacher-student training takes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_in_range, check_ndim, check_size
from .._numerics import as_float
from .._seeds import one_key
from .._typing import ApplyFn, Array
from .training._batches import wide
from .training._optimizer import Rate, resolve_optimizer
from .training._records import check_pair, shape_of_outputs
from .training._replicas import first

_CHECKPOINTS = 12


def checkpoint_steps(checkpoints: Sequence[int] | None, teacher_steps: int) -> np.ndarray:
    """The teacher's steps to teach from, (S,) int32."""
    teacher_steps = check_size("teacher_steps", teacher_steps, 1)
    if checkpoints is None:
        spaced = np.geomspace(1, teacher_steps, _CHECKPOINTS)
        return np.unique(spaced.round()).astype(np.int32)
    steps = np.asarray(checkpoints)
    if steps.ndim != 1 or not np.issubdtype(steps.dtype, np.integer) or not steps.size:
        raise ValueError(
            f"checkpoints has shape {steps.shape} and dtype {steps.dtype}, expected at least one "
            "integer step, (S,)."
        )
    if np.any(np.diff(steps) <= 0):
        raise ValueError(f"checkpoints are {steps.tolist()}, expected increasing steps.")
    if steps[0] < 0 or steps[-1] > teacher_steps:
        raise ValueError(
            f"checkpoints run from {steps[0]} to {steps[-1]}, expected steps in 0..{teacher_steps} "
            f"(teacher_steps = {teacher_steps})."
        )
    return steps.astype(np.int32)


def temperature_levels(temperatures: Sequence[float] | None, loss: str) -> np.ndarray:
    """Temperatures (K,); a NaN stands for the outputs themselves."""
    if temperatures is None:
        return np.asarray([np.nan if loss == "mse" else 1.0])
    levels = np.asarray(temperatures, np.float64)
    if levels.ndim != 1 or not levels.size:
        raise ValueError(
            f"temperatures has shape {levels.shape}, expected at least one number, (K,)."
        )
    for level in levels:
        check_in_range("temperatures", level, 0.0, low_open=True, high_open=True)
    return levels


def smoothing_levels(smoothing: Sequence[float]) -> np.ndarray:
    """Weights of the uniform distribution, (E,), possibly none."""
    levels = np.asarray(smoothing, np.float64)
    if levels.ndim != 1:
        raise ValueError(f"smoothing has shape {levels.shape}, expected numbers, (E,).")
    for level in levels:
        check_in_range("smoothing", level, 0.0, 1.0, high_open=True)
    return levels


def optimizer_and_rate(optimizer: Any, learning_rate: float | None) -> tuple[Any, Rate]:
    """The optimiser and its learning rate, a number for all steps where it is known."""
    if callable(learning_rate):
        raise ValueError(
            "learning_rate is a function, expected a number; hand a schedule to a finished "
            "transformation such as optax.adam(schedule)."
        )
    return resolve_optimizer(optimizer, learning_rate, 0, None)


def over_seeds(name: str, params: Any, num_seeds: int | None) -> Any:
    """Parameters as float arrays with a leading axis over seeds, of length one without seeds."""
    params = jax.tree.map(as_float, params)
    if num_seeds is None:
        return jax.tree.map(lambda leaf: leaf[None], params)
    check_size("num_seeds", num_seeds, 1)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.shape[:1] != (num_seeds,):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} has shape {leaf.shape}, expected a leading "
                f"axis of num_seeds = {num_seeds}; stack the parameters of all seeds, for example "
                "with jax.vmap of the initialisation over keys."
            )
    return params


def check_same_structure(student: Any, teacher: Any) -> None:
    """Raises ValueError unless two parameter trees have the same structure and shapes."""
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (student, teacher)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "student_params differ from teacher_params in structure or shapes; a student of "
            "another architecture needs student_apply_fn too."
        )


def observed_over_seeds(observed: Any, clean: Any, loss: str, num_seeds: int | None) -> np.ndarray:
    """Observed targets of every seed (G, n, C)."""
    shape = np.shape(observed)
    if num_seeds is not None and len(shape) == 3:
        if shape[0] != num_seeds:
            raise ValueError(
                f"observed has shape {shape}, expected (n, C), or (G, n, C) with num_seeds = "
                f"{num_seeds} draws."
            )
        draws = np.asarray(observed)
    else:
        check_ndim("observed", observed, 2, "(n, C) encoded targets")
        draws = np.broadcast_to(np.asarray(observed)[None], (num_seeds or 1, *shape))
    for draw in draws if len(shape) == 3 else draws[:1]:
        check_pair(draw, clean, loss)
    return draws


def order_keys(key: Any, batch_size: int | None, count: int, num_seeds: int) -> Array:
    """Keys of the order of the points, (2, G): of the teachers and of the students."""
    if batch_size is not None:
        check_size("batch_size", batch_size, 1, count, "None takes all points at every step")
        if key is None:
            raise ValueError("batch_size needs a key for the order of the points; pass key=0, say.")
    # Without batches nothing is drawn.
    return jax.random.split(cast(Array, one_key(0 if key is None else key)), (2, num_seeds))


def output_dtype(
    who: str, apply_fn: ApplyFn, params: Any, inputs: Array, shape: tuple[int, ...]
) -> Any:
    """The dtype of a network's outputs; ValueError unless their shape is that of the targets."""
    outputs = shape_of_outputs(f"the {who}", apply_fn, (first(params),), inputs)
    if outputs.shape != shape:
        raise ValueError(
            f"the {who} returns outputs of shape {outputs.shape} for targets of shape {shape}; "
            "expected the same (n, C): give the network C outputs."
        )
    return wide(outputs.dtype)
