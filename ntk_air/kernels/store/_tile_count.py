"""How far a kernel store is."""

from __future__ import annotations

import os
from pathlib import Path

from ._format import MANIFEST, read_manifest
from ._seals import sealed_tiles


def count_tiles(path: str | os.PathLike[str]) -> tuple[int, int]:
    """How many tiles of a kernel store are there, and how many belong there.

    The content of the tiles is not looked at: `open_kernel` does that where they are read.

    Args:
        path: the folder given as ``store=`` to `infinite_ntk` or `empirical_ntk`, which may be at
            work on it; it need not exist.

    Returns:
        The two numbers; (0, 0) where no store was begun.

    Raises:
        ValueError: if what the folder holds is not a kernel store.

    Example:
        >>> import tempfile, numpy as np, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     network = na.kernels.fully_connected()
        ...     _ = na.kernels.infinite_ntk(network, np.eye(4), store=folder, tile_size=2)
        ...     na.kernels.count_tiles(folder), na.kernels.count_tiles("not there")
        ((3, 3), (0, 0))
    """
    path = Path(path)
    if not (path / MANIFEST).exists():
        return 0, 0
    _, layout = read_manifest(path)
    return len(sealed_tiles(path, layout)), layout.num_tiles
