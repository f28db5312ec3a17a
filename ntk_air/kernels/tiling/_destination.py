"""Where a kernel goes: into one array, over the devices of a mesh, or onto disk."""

from __future__ import annotations

from typing import Protocol

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
        ValueError: a kernel that is not finite everywhere; no tile that is not is stored.
    """
    return _executor(options)(program, task, layout, options)


def _executor(options: RequestOptions) -> Executor:
    if options.store is not None:
        return assemble_on_disk
    return assemble_in_memory if options.ring is None else assemble_on_mesh
