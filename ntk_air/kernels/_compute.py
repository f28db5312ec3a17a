"""Where a kernel goes: into one array, over the devices of a mesh, or onto disk."""

from __future__ import annotations

from .._typing import Array
from ._disk import assemble_on_disk
from ._mesh import assemble_on_mesh
from ._ring import ShardedKernel
from ._stored import StoredKernel
from ._task import Options, Task
from ._tiles import Layout, Program, assemble

Kernel = Array | ShardedKernel | StoredKernel


def compute(program: Program, task: Task, layout: Layout, options: Options) -> Kernel:
    """Computes a kernel to where the options say."""
    points = task.points1, task.points2
    if options.store is not None:
        return assemble_on_disk(program, task, layout, options)
    if options.ring is not None:
        return assemble_on_mesh(
            program, task.operands, *points, layout, options.ring, progress=options.progress
        )
    return assemble(program, task.operands, *points, layout, progress=options.progress)
