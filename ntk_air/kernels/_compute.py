"""Where a kernel goes: into one array, over the devices of a mesh, or onto disk."""

from __future__ import annotations

import numpy as np

from .._checks import all_finite
from .._typing import Array
from ._disk import assemble_on_disk
from ._mesh import assemble_on_mesh
from ._ring import ShardedKernel
from ._stored import StoredKernel
from ._task import Options, Task
from ._tiles import Layout, Program, assemble

Kernel = Array | ShardedKernel | StoredKernel


def compute(program: Program, task: Task, layout: Layout, options: Options) -> Kernel:
    """Computes a kernel to where the options say.

    Raises:
        ValueError: a kernel in memory that is not finite everywhere.
    """
    points = task.points1, task.points2
    if options.store is not None:
        return assemble_on_disk(program, task, layout, options)
    if options.ring is not None:
        return assemble_on_mesh(
            program, task.operands, *points, layout, options.ring, progress=options.progress
        )
    kernel = assemble(program, task.operands, *points, layout, progress=options.progress)
    if not bool(all_finite(kernel)):
        _refuse(np.isfinite(np.asarray(kernel)), layout)
    return kernel


def _refuse(finite: np.ndarray, layout: Layout) -> None:
    good = finite.reshape(-1, *finite.shape[-2:]).sum(axis=(0, 2))
    complete = finite.size // len(good)
    # A bad point spoils its row, and one entry of every other row.
    worst = int(np.argmin(good))
    raise ValueError(
        f"the kernel is NaN or infinite at {int((good < complete).sum())} of {len(good)} rows, "
        f"most of all at point {worst // layout.block} of x1: the network or its derivative is "
        "not finite there, or overflows; expected finite ones."
    )
