"""Where a kernel goes: into one array, over the devices of a mesh, or onto disk."""

from __future__ import annotations

import numpy as np

from ..._checks import is_finite
from ..._typing import Array, ArrayLike
from ..store._reader import StoredKernel
from ._disk import assemble_on_disk
from ._mesh import assemble_on_mesh
from ._request import RequestOptions, Task
from ._ring import ShardedKernel, gather
from ._tiles import KernelProgram, Layout, assemble

Kernel = Array | ShardedKernel | StoredKernel


def compute(program: KernelProgram, task: Task, layout: Layout, options: RequestOptions) -> Kernel:
    """Computes a kernel to where the options say.

    Raises:
        ValueError: a kernel that is not finite everywhere; no tile that is not is stored.
    """
    points = task.points1, task.points2
    if options.store is not None:
        return assemble_on_disk(program, task, layout, options)
    if options.ring is not None:
        spread = assemble_on_mesh(
            program, task.operands, *points, layout, options.ring, progress=options.progress
        )
        array = spread.padded if isinstance(spread, ShardedKernel) else spread
        if not is_finite(array):
            _refuse(_finite_entries(gather(spread)), layout)
        if hasattr(program, "warn_if_spoilt"):
            program.warn_if_spoilt(array, *points)  # pyright: ignore[reportAttributeAccessIssue]
        return spread
    kernel = assemble(program, task.operands, *points, layout, progress=options.progress)
    if not is_finite(kernel):
        _refuse(_finite_entries(kernel), layout)
    return kernel


def _finite_entries(kernel: ArrayLike) -> np.ndarray:
    return np.isfinite(np.asarray(kernel))


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
