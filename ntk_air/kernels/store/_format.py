"""How a kernel lies on disk: the manifest, the tiles, and the array that keeps them.

A store is a folder. ``manifest.json`` says which kernel it holds; beside it lies a zarr v3 array
with one file per tile and a checksum in every file, and a seal for every tile (see `_seals`) that
binds its entries to their place and the job. A tile counts once both are there, so what is missing
is known from the folder alone, and no log has to agree with it.

Format version 2 has seals. Stores of version 1 can be read, with a warning; a call that fills one
turns it into version 2 and computes its tiles again, since nothing says where they belong.
"""

from __future__ import annotations

import json
import os
import re
import stat
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from ..._archive import damaged, open_regular
from ..._checks import check_size
from ..._digest import digest_of_text
from ..._version import __version__
from ._layout import DiskLayout, Tile

FORMAT = "ntk_air.kernel_store"
FORMAT_VERSION = 2
SEALED_SINCE = 2
MANIFEST = "manifest.json"
# A job is described in a few hundred bytes, an array likewise.
_LARGEST_DESCRIPTION = 2**20
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


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
    return digest_of_text(json.dumps(identity, sort_keys=True))


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
        manifest = json.loads(_described(path / MANIFEST))
        if manifest["format"] != FORMAT:
            raise KeyError(f"its format is {manifest['format']!r}")
        found = check_size("its version", manifest["version"], 1)
        # What a newer version keeps there is not for this one to judge.
        if found <= FORMAT_VERSION:
            if manifest["hash"] != _hash({key: manifest[key] for key in ("job", "kernel")}):
                raise ValueError("its hash does not fit its content")
            return manifest, DiskLayout(**manifest["kernel"], chunk=manifest["chunk"])
    # Of JSON that is damaged or nested without end, and of values of any type in any place.
    except Exception as error:
        raise ValueError(
            f"{path} is not a kernel store: its {MANIFEST} is absent or cannot be read "
            f"({type(error).__name__}: {error}); expected a folder that store= has made."
        ) from error
    raise ValueError(
        f"{path} is a kernel store of format version {found}, this ntk_air reads up "
        f"to {FORMAT_VERSION}: upgrade ntk_air, or give another path."
    )


def _described(path: Path) -> bytes:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST_DESCRIPTION:
            raise ValueError(f"{path.name} is longer than {_LARGEST_DESCRIPTION} bytes")
        return file.read(size)


def with_seals(path: Path, manifest: dict[str, Any]) -> None:
    """Raises the version of a store from before there were seals; its tiles count no more."""
    draft = path / f".{MANIFEST}.{uuid.uuid4().hex}"
    draft.write_text(json.dumps(manifest | {"version": FORMAT_VERSION}, indent=1))
    os.replace(draft, path / MANIFEST)


def open_array(path: Path, layout: DiskLayout, *, writable: bool) -> Any:
    """The tensorstore of the tiles; a writable one is created if it is not there yet."""
    import tensorstore

    where = f"the array of the kernel at {path} does not match its {MANIFEST} or is damaged"
    advice = f"delete {path} to compute it anew, or give another path."
    described = path / "zarr.json"
    if not writable or described.exists():
        try:
            json.loads(_described(described))  # what is nested without end would end tensorstore
        except Exception as error:
            raise ValueError(f"{damaged(where, error)}; {advice}") from error
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
        raise ValueError(f"{damaged(where, error)}; {advice}") from error


def tile_file(path: Path, layout: DiskLayout, i: int, j: int) -> Path:
    """Where tile (i, j) lies."""
    return path.joinpath("c", *("0" for _ in layout.leading), str(i), str(j))


def present_tiles(path: Path, layout: DiskLayout) -> set[Tile]:
    """The tiles that have a file; their content is not looked at.

    What the folder holds is listed, not what the layout says that it could hold.
    """
    top = tile_file(path, layout, 0, 0).parent.parent
    rows = {i: top / str(i) for i in _numbers(top) if i < layout.grid[0]}
    pairs = ((i, j) for i, folder in rows.items() for j in _numbers(folder))
    return {pair for pair in pairs if layout.has(*pair)}


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    # As tensorstore writes them: no zeros in front, and no digits of other scripts.
    return [int(name) for name in os.listdir(folder) if re.fullmatch(r"0|[1-9][0-9]{0,8}", name)]


def check_tile_files(path: Path, layout: DiskLayout, tiles: Iterable[Tile]) -> None:
    """Raises ValueError unless the files of the tiles have the size that the layout says."""
    for tile in tiles:
        found = os.stat(tile_file(path, layout, *tile))
        if not stat.S_ISREG(found.st_mode) or found.st_size != layout.file_bytes:
            raise ValueError(
                f"tile {tile} of the kernel at {path} is damaged: its file holds {found.st_size} "
                f"bytes, expected {layout.file_bytes}; repeat the call that made the store, and it "
                "repairs that tile."
            )


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
