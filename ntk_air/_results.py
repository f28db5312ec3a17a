"""Result types: frozen dataclasses that are pytrees, and the one file each saves to.

The file is a zip archive of ``.npy`` arrays (what ``numpy.savez`` writes) with one JSON entry that
describes the tree. It holds no pickle and names only result types of this package, so loading a
file from a stranger runs none of their code.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from ._modules import is_a

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
    jax.tree_util.register_dataclass(frozen, data_fields=data, meta_fields=meta)
    _RESULTS[_public_name(frozen)] = frozen
    return frozen


def _public_name(cls: type) -> str:
    """'spectral.AIRProfile' for a class defined in ntk_air/spectral/_profile.py."""
    return f"{cls.__module__.split('.')[1]}.{cls.__name__}"


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
        TypeError: if a part of ``value`` is of a type that cannot be read back.
    """
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    tree = _encode(value, arrays, "result")
    manifest = {"format": FORMAT, "version": FORMAT_VERSION, "tree": tree}
    handle, temporary = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w") as archive:
            archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", buffer.getbuffer())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what `save` wrote; arrays come back as NumPy arrays of the same dtype.

    Raises:
        ValueError: if the file is not one of this package's, is damaged, or is of a newer format.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            if manifest.get("format") != FORMAT:
                raise ValueError(f"its manifest names format {manifest.get('format')!r}")
            if manifest["version"] > FORMAT_VERSION:
                raise ValueError(
                    f"it is of format version {manifest['version']}, this ntk_air reads up to "
                    f"{FORMAT_VERSION}: upgrade ntk_air"
                )

            def read(name: str) -> np.ndarray:
                buffer = io.BytesIO(archive.read(f"{name}.npy"))
                return np.lib.format.read_array(buffer, allow_pickle=False)

            return _decode(manifest["tree"], read)
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable ntk_air result: {error}") from error


def _encode(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no NaN or infinity; repr round-trips every float exactly.
        return {"float": repr(value)}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _encode_array(np.asarray(value), arrays, name)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(v, arrays, f"{name}.{i}") for i, v in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"dict": {k: _encode(v, arrays, f"{name}.{k}") for k, v in value.items()}}
    if _RESULTS.get(_public_name(type(value)) if "." in type(value).__module__ else "") is type(
        value
    ):
        fields = {
            f.name: _encode(getattr(value, f.name), arrays, f"{name}.{f.name}")
            for f in dataclasses.fields(value)  # pyright: ignore[reportArgumentType]
        }
        return {"result": _public_name(type(value)), "fields": fields}
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


def _encode_array(array: np.ndarray, arrays: dict[str, np.ndarray], name: str) -> Any:
    if array.dtype.hasobject:
        raise TypeError(f"cannot save {name}: an array of Python objects would need pickle.")
    entry = {"array": name, "dtype": array.dtype.name}
    if array.dtype.kind == "V":  # bfloat16 and other extension types: stored as raw bytes
        array = array.view(f"u{array.dtype.itemsize}")
    arrays[name] = array
    return entry


def _decode(node: Any, read: Callable[[str], np.ndarray]) -> Any:
    if not isinstance(node, dict):
        return node
    if "float" in node:
        return float(node["float"])
    if "array" in node:
        array = read(node["array"])
        if array.dtype.name != node["dtype"] and array.dtype.kind == "u":
            return array.view(jax.numpy.dtype(node["dtype"]))
        return array
    if "list" in node:
        return [_decode(v, read) for v in node["list"]]
    if "tuple" in node:
        return tuple(_decode(v, read) for v in node["tuple"])
    if "dict" in node:
        return {k: _decode(v, read) for k, v in node["dict"].items()}
    fields = {k: _decode(v, read) for k, v in node["fields"].items()}
    return _result_type(node["result"])(**fields)


def _result_type(name: str) -> type:
    room = name.split(".")[0]
    if name not in _RESULTS and room.isidentifier() and not room.startswith("_"):
        try:
            importlib.import_module(f"ntk_air.{room}")
        except ModuleNotFoundError as error:
            raise ValueError(f"it holds a {name}, which this ntk_air does not know") from error
    if name not in _RESULTS:
        raise ValueError(f"it holds a {name}, which this ntk_air does not know")
    return _RESULTS[name]
