"""Result types: frozen dataclasses that are pytrees, and the one file each saves to.

The file is a zip archive of ``.npy`` arrays (what ``numpy.savez`` writes) with one JSON entry that
describes the tree. It holds no pickle and names only result types of this package, so loading a
file from a stranger runs none of their code.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import json
import math
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from ._archive import Archive, damaged, open_regular
from ._field_types import wrong_field
from ._files import publishing
from ._modules import is_a
from ._stored_arrays import ArrayReader, encode_array, timeless_entry

FORMAT = "ntk_air.result"
FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_RESULTS: dict[str, type] = {}
_T = TypeVar("_T")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the tree's structure: strings, sizes, settings."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def result(cls: type[_T]) -> type[_T]:
    """Class decorator: frozen dataclass, registered as a pytree and known to `save` and `load`."""
    frozen = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(frozen)  # pyright: ignore[reportArgumentType]
    meta = [f.name for f in fields if f.metadata.get("static")]
    data = [f.name for f in fields if not f.metadata.get("static")]
    made = frozen.__init__

    @functools.wraps(made)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        # Trees are of one structure where what is static is equal, and NaN equals only itself.
        for name in meta:
            object.__setattr__(self, name, _one_nan(getattr(self, name)))

    frozen.__init__ = init
    jax.tree_util.register_dataclass(frozen, data_fields=data, meta_fields=meta)
    _RESULTS[name_of(frozen)] = frozen
    return frozen


def _one_nan(value: Any) -> Any:
    """The value with the same object for every NaN in it."""
    if type(value) is tuple:
        return tuple(map(_one_nan, value))
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def name_of(kind: Any) -> str:
    """What a class or function of this package is called on disk: 'spectral.AIRProfile'.

    Its room and its own name, whatever file of the room it lies in: a file that moves leaves what
    is stored as it was.
    """
    return f"{kind.__module__.split('.')[1]}.{kind.__qualname__}"


def save(value: Any, path: str | os.PathLike[str]) -> Path:
    """Writes a result, or a tree of results, to one file.

    Args:
        value: an object whose type is one of this package's result types, or a dict, list or tuple
            of them, of arrays, strings and numbers. An nnx.State, such as the parameters of an nnx
            module, comes back as dicts with string keys.
        path: where to write; an existing file is replaced only once the new one is complete.

    Returns:
        The path written.

    Raises:
        TypeError: if a part of ``value`` is of a type that cannot be read back, or it is nested
            too deeply.
        ValueError: if an array has masked entries.
        OSError: if the file cannot be written.

    Warns:
        UserWarning: if a result has a field of another type than its class declares, which `load`
            refuses.

    Example:
        >>> import tempfile, pathlib, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = na.save({"rate": 0.4, "ranks": (1, 2)}, pathlib.Path(folder) / "x.ntkair")
        ...     na.load(path)
        {'rate': 0.4, 'ranks': (1, 2)}
    """
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    try:
        tree = _encode(value, arrays, "result")
        manifest = json.dumps({"format": FORMAT, "version": FORMAT_VERSION, "tree": tree}, indent=1)
    except RecursionError as error:
        raise TypeError("cannot save result: it is nested too deeply, or holds itself.") from error
    with publishing(path) as raw, zipfile.ZipFile(raw, "w") as archive:
        archive.writestr(timeless_entry(_MANIFEST), manifest)
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(timeless_entry(f"{name}.npy"), buffer.getbuffer())
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what `save` wrote; arrays come back as NumPy arrays of the same dtype.

    Safe for files from strangers: nothing in them is run, results are made only if every field is
    of the type that its class declares, and memory is taken in proportion to the file's own bytes.

    Args:
        path: of the file.

    Returns:
        The value that was saved.

    Raises:
        OSError: if the file cannot be opened and read (FileNotFoundError if there is none), or is
            no regular file.
        ValueError: if it is not one of this package's, is damaged, holds a field of another type
            than its result declares, or is of a newer format.
        TypeError: if ``path`` is no path.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     na.load(na.save({"rate": 0.4}, pathlib.Path(folder) / "x.ntkair"))
        {'rate': 0.4}
    """
    with open_regular(os.fspath(path)) as file:
        try:
            archive = Archive(file)
            return _decode(_tree_of(archive), ArrayReader(archive))
        # What damaged bytes raise in zipfile, json and NumPy is none of their documentation.
        except Exception as error:
            raise damaged(f"{path} is not a readable ntk_air result", error) from error


def _tree_of(archive: Archive) -> Any:
    manifest = json.loads(archive.read(_MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise ValueError(f"its manifest names format {found!r}")
    version = manifest["version"]
    if type(version) is not int or version < 1:
        raise ValueError(f"its format version is {version!r}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"it is of format version {version}, this ntk_air reads up to "
            f"{FORMAT_VERSION}: upgrade ntk_air"
        )
    return manifest["tree"]


def _encode(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no NaN or infinity; this repr round-trips every float, NumPy's scalars too.
        return {"float": float.__repr__(value)}
    if np.ma.is_masked(value):
        raise ValueError(
            f"cannot save {name}: it has masked values, and what lies under the mask would be read "
            "back; fill them in."
        )
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return encode_array(np.asarray(value), arrays, name)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(v, arrays, f"{name}.{i}") for i, v in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"dict": {k: _encode(v, arrays, f"{name}.{k}") for k, v in value.items()}}
    if _RESULTS.get(name_of(type(value)) if "." in type(value).__module__ else "") is type(value):
        held = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # pyright: ignore[reportArgumentType]
        if wrong := wrong_field(type(value), held):
            warnings.warn(
                f"{name} is a {name_of(type(value))}, and {wrong}: ntk_air.load will refuse "
                "the file; make the field what its class declares.",
                stacklevel=2,
            )
        fields = {key: _encode(item, arrays, f"{name}.{key}") for key, item in held.items()}
        return {"result": name_of(type(value)), "fields": fields}
    if is_a(value, "flax.nnx", "State"):
        return _encode(_plain_state(value), arrays, name)
    raise TypeError(
        f"cannot save {name} of type {type(value).__name__}; expected results of ntk_air, arrays, "
        "numbers, strings, or dicts (with string keys), lists and tuples of these."
    )


def _plain_state(state: Any) -> Any:
    """An nnx.State as dicts with string keys; random keys as their numbers."""
    from flax import nnx

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {str(key): plain(value) for key, value in node.items()}
        is_key = jax.numpy.issubdtype(node.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(node) if is_key else node

    return plain(nnx.to_pure_dict(state))


def _decode(node: Any, read: Callable[[Any, Any], np.ndarray]) -> Any:
    if node is None or type(node) in (bool, int, str):
        return node
    match node:
        case {"float": str(text), **more} if not more:
            return float(text)
        case {"array": name, "dtype": dtype, **more} if not more:
            return read(name, dtype)
        case {"list": list(items), **more} if not more:
            return [_decode(item, read) for item in items]
        case {"tuple": list(items), **more} if not more:
            return tuple(_decode(item, read) for item in items)
        case {"dict": dict(items), **more} if not more:
            return {key: _decode(item, read) for key, item in items.items()}
        case {"result": str(name), "fields": dict(items), **more} if not more:
            kind = result_type(name)
            fields = {key: _decode(item, read) for key, item in items.items()}
            if wrong := wrong_field(kind, fields):
                raise ValueError(f"it holds a {name}, and {wrong}")
            return kind(**fields)
    raise ValueError(f"its manifest holds {_short(node)} where a value belongs")


def _short(node: Any) -> str:
    return (
        f"{{{', '.join(sorted(map(repr, node)))[:60]}}}"
        if isinstance(node, dict)
        else repr(type(node).__name__)
    )


def result_type(name: str) -> type:
    """The result type called so on disk.

    Raises:
        ValueError: if there is none.
    """
    room = name.split(".")[0]
    if name not in _RESULTS and room.isidentifier() and not room.startswith("_"):
        try:
            importlib.import_module(f"ntk_air.{room}")
        except ModuleNotFoundError as error:
            raise ValueError(f"it holds a {name!r}, which this ntk_air does not know") from error
    if name not in _RESULTS:
        raise ValueError(f"it holds a {name!r}, which this ntk_air does not know")
    return _RESULTS[name]
