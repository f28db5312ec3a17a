"""Where a kernel goes: into one array, over the devices of a mesh, or onto disk."""

from __future__ import annotations

from typing import Protocol

import jax

from ..._checks import is_traced
from ..._typing import Array
from ..store._reader import StoredKernel
from ._disk import assemble_on_disk
from ._memory import assemble_in_memory
from ._mesh import assemble_on_mesh
from ._request import RequestOptions, Task
from ._ring import ShardedKernel
from ._tiles import KernelProgram, Layout

Kernel = Array | ShardedKernel | StoredKernel


class Executor(Protocol):
    """What takes a kernel to its destination; it refuses one that is not finite everywhere."""

    def __call__(
        self, program: KernelProgram, task: Task, layout: Layout, options: RequestOptions
    ) -> Kernel:
        """Computes the kernel."""
        ...


def compute(program: KernelProgram, task: Task, layout: Layout, options: RequestOptions) -> Kernel:
    """Computes a kernel to where the options say.

    Raises:
        ValueError: a kernel that is not finite everywhere; no tile that is not is stored. A traced
            one that is to go elsewhere than into memory.
    """
    elsewhere = "store" if options.store is not None else "mesh" if options.ring else None
    if elsewhere is None:
        return assemble_in_memory(program, task, layout, options)
    message = (
        f"{elsewhere} cannot be written to while jit, grad or vmap traces the kernel, whose values "
        f"are not known then; leave {elsewhere} out, or call this outside of the trace."
    )
    if is_traced(task.operands, task.points1, task.points2):
        raise ValueError(message)
    executor: Executor = assemble_on_disk if elsewhere == "store" else assemble_on_mesh
    try:
        return executor(program, task, layout, options)
    except jax.errors.TracerArrayConversionError as error:  # the network closes over a traced value
        raise ValueError(message) from error
