"""Repairs for several devices and several processes: `pmap`, and what travels by pickle."""

from __future__ import annotations

import copyreg
import sys
from typing import Any

from ntk_air._neural_tangents import _pickling, _placement
from ntk_air._neural_tangents._patcher import Patcher, Repair


def parallel_map(patch: Patcher) -> None:
    """`jax.pmap` no longer moves its arguments to its devices (since JAX 0.8)."""
    batching = patch.module("batching")
    patch.value(batching, "pmap", _placement.pmap)


def pickles(patch: Patcher) -> None:
    """A process that unpickles a function or a kernel must repair neural-tangents first.

    A worker of joblib, dask or ray imports what a pickle refers to, hence
    neural-tangents, which without the repairs fails on today's JAX.
    """
    kernel: Any = patch.get(patch.module("utils.kernel"), "Kernel")
    copyreg.pickle(kernel, _pickling.reduce_kernel)
    prefix = patch.root.__name__ + "."
    for name, module in list(sys.modules.items()):
        if name.startswith(prefix) and "__package__" in vars(module):
            package = patch.get(module, "__package__")
            patch.value(module, "__package__", _pickling.PackageName(package))


REPAIRS: list[Repair] = [parallel_map, pickles]
