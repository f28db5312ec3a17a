"""Kernels are finite wherever they go."""

from __future__ import annotations

import numpy as np

from ..._checks import is_finite, is_traced
from ..._typing import Array
from ._ring import ShardedKernel, gather
from ._tiles import Layout


def refuse_unless_finite(kernel: Array | ShardedKernel, layout: Layout) -> None:
    """Raises ValueError that says how many rows of the kernel are not, and which most of all.

    A traced kernel passes unseen.
    """
    if is_traced(kernel):
        return
    if is_finite(kernel.padded if isinstance(kernel, ShardedKernel) else kernel):
        return
    finite = np.isfinite(np.asarray(gather(kernel)))
    good = finite.reshape(-1, *finite.shape[-2:]).sum(axis=(0, 2))
    complete = finite.size // len(good)
    # A bad point spoils its row, and one entry of every other row.
    worst = int(np.argmin(good))
    raise ValueError(
        f"the kernel is NaN or infinite at {int((good < complete).sum())} of {len(good)} rows, "
        f"most of all at point {worst // layout.block} of x1: the network or its derivative is "
        "not finite there, or overflows; expected finite ones."
    )
