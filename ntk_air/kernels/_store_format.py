"""How a kernel lies on disk: the manifest, the tiles, and the array that keeps them.

A store is a folder. ``manifest.json`` says which kernel it holds; beside it lies a zarr v3 array
with one file per tile and a checksum in every file. A tile appears under its name only once it is
complete, so what is missing is known from the folder alone, and no log has to agree with it.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from .._checks import check_size
from .._version import __version__

FORMAT = "ntk_air.kernel_store"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
# Tiles read ahead, or being written, at once: enough to keep a disk busy, and bounded in bytes.
_IN_FLIGHT_BYTES = 32 * 2**20
_IN_FLIGHT_TILES = 8
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
Tile = tuple[int, int]


@dataclass(frozen=True)
class DiskLayout:
    """How a kernel is cut into tiles on disk.

    Attributes:
        shape: entries (n1, n2) of the last two axes.
        leading: axes in front, e.g. ``(C,)``; a tile holds all of them.
        dtype: of the entries, a floating-point type.
        chunk: entries (rows, columns) of a tile, at most ``shape``; tiles at the edge are smaller.
        symmetric: only the tiles on and above the diagonal are stored.
    """

    shape: tuple[int, int]
    leading: tuple[int, ...]
    dtype: Any
    chunk: tuple[int, int]
    symmetric: bool

    def __post_init__(self) -> None:
        shape = tuple(check_size("shape", size, 1) for size in self.shape)
        chunk = tuple(check_size("chunk", size, 1) for size in self.chunk)
        chunk = tuple(map(min, chunk, shape))
        dtype = jnp.dtype(self.dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"dtype is {dtype}, expected a floating-point type for a kernel.")
        if self.symmetric and (shape[0] != shape[1] or chunk[0] != chunk[1]):
            raise ValueError(
                f"a symmetric kernel has shape {shape} and chunk {chunk}, expected both square."
            )
        for name, value in (("shape", shape), ("chunk", chunk), ("dtype", dtype)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "leading", tuple(int(size) for size in self.leading))

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along the two axes."""
        n1, n2 = map(math.ceil, np.divide(self.shape, self.chunk))
        return n1, n2

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile on disk, but for its checksum; tiles at the edge take as many."""
        return math.prod((*self.leading, *self.chunk)) * self.dtype.itemsize

    @property
    def in_flight(self) -> int:
        """How many tiles to write, or to read ahead, at once."""
        return max(1, min(_IN_FLIGHT_TILES, _IN_FLIGHT_BYTES // self.tile_bytes))

    def tiles(self) -> list[tuple[int, int]]:
        """Grid indices of the tiles that are stored, row by row."""
        pairs = itertools.product(*map(range, self.grid))
        return [(i, j) for i, j in pairs if j >= i or not self.symmetric]

    def part(self, i: int, j: int) -> tuple[slice, slice]:
        """The rows and columns of the kernel that tile (i, j) holds."""
        (n1, n2), (c1, c2) = self.shape, self.chunk
        return slice(i * c1, min((i + 1) * c1, n1)), slice(j * c2, min((j + 1) * c2, n2))


def new_manifest(job: dict[str, Any], layout: DiskLayout) -> dict[str, Any]:
    """The manifest of a new store, as JSON keeps it, with the hash of what identifies its job."""
    # The chunk follows from the memory at hand and says nothing about what is computed.
    kernel = {
        "shape": list(layout.shape),
        "leading": list(layout.leading),
        "dtype": layout.dtype.name,
        "symmetric": layout.symmetric,
    }
    identity = {"job": json.loads(json.dumps(job)), "kernel": kernel}
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "hash": _hash(identity),
        **identity,
        "chunk": list(layout.chunk),
        "written_by": {"ntk_air": __version__, "tensorstore": version("tensorstore")},
    }


def publish(path: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest unless another process has; whole or not at all."""
    foreign = [name for name in os.listdir(path) if not name.startswith(f".{MANIFEST}.")]
    # Another process may have made the store since we looked.
    if foreign and not (path / MANIFEST).exists():
        raise ValueError(
            f"{path} is not a kernel store, and it holds {len(foreign)} other file(s), such as "
            f"{min(foreign)!r}; nothing was touched: give a new or empty folder."
        )
    draft = path / f".{MANIFEST}.{uuid.uuid4().hex}"
    try:
        with open(draft, "x") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link is refused where the name is taken, so all processes follow one manifest.
            os.link(draft, path / MANIFEST)
        except FileExistsError:
            pass
        except FileNotFoundError:
            # Whoever published the manifest has cleared the drafts away.
            if not (path / MANIFEST).exists():
                raise
        except OSError:
            # No hard links here (exFAT, some network mounts). Two processes that start at once
            # and disagree on the chunk are then told apart by the array, which one of them made.
            os.replace(draft, path / MANIFEST)
    finally:
        draft.unlink(missing_ok=True)


def _hash(identity: dict[str, Any]) -> str:
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(stored: Any, asked: Any, name: str) -> list[str]:
    """Where two JSON trees differ, a line for each leaf."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        keys = sorted(stored.keys() | asked.keys())
        inner = [differences(stored.get(key), asked.get(key), f"{name}.{key}") for key in keys]
        return [line for lines in inner for line in lines]
    return [] if stored == asked else [f"{name} ({stored!r} in the store, {asked!r} now)"]


def read_manifest(path: Path) -> tuple[dict[str, Any], DiskLayout]:
    """The manifest of the store at ``path``, and the layout in it.

    Raises:
        ValueError: if there is none, or it is unreadable or of a newer format.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise KeyError(f"its format is {manifest['format']!r}")
        # What a newer version keeps there is not for this one to judge.
        if manifest["version"] <= FORMAT_VERSION:
            if manifest["hash"] != _hash({key: manifest[key] for key in ("job", "kernel")}):
                raise ValueError("its hash does not fit its content")
            return manifest, DiskLayout(**manifest["kernel"], chunk=manifest["chunk"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a kernel store: its {MANIFEST} is absent or cannot be read "
            f"({type(error).__name__}: {error}); expected a folder that store= has made."
        ) from error
    raise ValueError(
        f"{path} is a kernel store of format version {manifest['version']}, this ntk_air reads up "
        f"to {FORMAT_VERSION}: upgrade ntk_air, or give another path."
    )


def open_array(path: Path, layout: DiskLayout, *, writable: bool) -> Any:
    """The tensorstore of the tiles; a writable one is created if it is not there yet."""
    import tensorstore

    chunk = [*layout.leading, *layout.chunk]
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    if layout.leading:
        # A file per tile as ever, in which the entries of one leading index can be read alone.
        alone = [1] * len(layout.leading) + list(layout.chunk)
        inner = {"chunk_shape": alone, "codecs": codecs, "index_codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    # A tile is read once and not again soon: a cache would only cost memory.
    limits = {
        "cache_pool": {"total_bytes_limit": 0},
        "file_io_concurrency": {"limit": 4},
        "data_copy_concurrency": {"limit": 2},
    }
    spec = {
        "driver": "zarr3",
        # Synchronous: a tile that counts as done survives a power cut, and a quota or a network
        # disk that reports being full late reports it to the write. It overlaps the computation.
        "kvstore": {"driver": "file", "path": f"{path.resolve()}/", "file_io_sync": True},
        "metadata": {
            "shape": [*layout.leading, *layout.shape],
            "data_type": layout.dtype.name,
            "fill_value": "NaN",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "codecs": codecs,
        },
        # A missing tile is an error and not a tile of NaN, and a tile of NaN is not missing.
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
        "open": True,
        "create": writable,
    }
    try:
        context = tensorstore.Context(limits)
        return tensorstore.open(spec, context=context, read=True, write=writable).result()
    except ValueError as error:
        raise ValueError(
            f"the array of the kernel at {path} does not match its {MANIFEST} or is damaged "
            f"({error}); delete {path} to compute it anew, or give another path."
        ) from error


def tile_file(path: Path, layout: DiskLayout, i: int, j: int) -> Path:
    """Where tile (i, j) lies."""
    return path.joinpath("c", *("0" for _ in layout.leading), str(i), str(j))


def present_tiles(path: Path, layout: DiskLayout) -> set[Tile]:
    """The tiles that have a file; their content is not looked at."""
    found: set[Tile] = set()
    for i in range(layout.grid[0]):
        folder = tile_file(path, layout, i, 0).parent
        if folder.is_dir():
            found.update((i, int(name)) for name in os.listdir(folder) if name.isdecimal())
    return found.intersection(layout.tiles())


def ahead(
    start: Callable[[_Item], _Value], items: Iterable[_Item], count: int
) -> Iterator[tuple[_Item, _Value]]:
    """Yields (item, start(item)) in order, with ``count`` more items started ahead."""
    started: deque[tuple[_Item, _Value]] = deque()
    for item in items:
        started.append((item, start(item)))
        if len(started) > count:
            yield started.popleft()
    yield from started
