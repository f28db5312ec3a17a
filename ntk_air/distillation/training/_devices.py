"""Networks trained together, mapped over replicas, and networks or points over devices."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from ..._typing import Array
from ._problem import NETWORKS, POINTS, LoopSettings, TrainingProblem


def mapped(settings: LoopSettings, function: Any, *axes: Any, out_axes: Any) -> Any:
    """``function(settings, problem, ...)`` of one network, or mapped over all that are replicated.

    Axes are those of `jax.vmap`, or functions to them from the fields that are replicated.
    """
    run = functools.partial(function, settings)

    def at(axis: Any, fields: tuple[str, ...]) -> Any:
        return axis(fields) if callable(axis) else axis

    in_axes, found_axes = (), None
    for fields in reversed(settings.replicated):
        in_axes = tuple(at(axis, fields) for axis in (_problem_axes, *axes))
        found_axes = at(out_axes, fields)
        run = jax.vmap(run, in_axes=in_axes, out_axes=found_axes)
    if not spreads_networks(settings):
        return run
    # Networks do not meet: every device runs the loop of its own, without communication.
    return jax.shard_map(
        run,
        mesh=settings.mesh,
        in_specs=_specs(in_axes),
        out_specs=_specs(found_axes),
        check_vma=False,
    )


def spreads_networks(settings: LoopSettings) -> bool:
    """Whether every device of a mesh trains networks of its own."""
    return settings.mesh is not None and settings.mesh.axis_names == (NETWORKS,)


def placed(settings: LoopSettings, problem: TrainingProblem) -> TrainingProblem:
    """The problem on the devices of the mesh, what differs between networks where they are."""
    mesh = settings.mesh
    if mesh is None:
        return problem
    apart = settings.replicated[0] if spreads_networks(settings) else ()

    def place(name: str) -> Any:
        spec = PartitionSpec(NETWORKS) if name in apart else PartitionSpec()
        return jax.device_put(getattr(problem, name), NamedSharding(mesh, spec))

    return TrainingProblem(**{name: place(name) for name in TrainingProblem._fields})


def _problem_axes(replicated: tuple[str, ...]) -> TrainingProblem:
    return TrainingProblem(*(0 if name in replicated else None for name in TrainingProblem._fields))  # pyright: ignore[reportArgumentType]


def _specs(axes: Any) -> Any:
    """Axes as `jax.vmap` takes them, as the specs of `jax.shard_map`."""
    spec = {0: PartitionSpec(NETWORKS), None: PartitionSpec()}
    return jax.tree.map(spec.__getitem__, axes, is_leaf=lambda axis: axis is None)


def spread(settings: LoopSettings, inputs: Array) -> Array:
    """Points spread over the devices of the mesh, where they divide evenly."""
    mesh = settings.mesh
    if mesh is None or spreads_networks(settings) or len(inputs) % mesh.size:
        return inputs
    spec = PartitionSpec(POINTS)
    return jax.lax.with_sharding_constraint(inputs, NamedSharding(mesh, spec))
