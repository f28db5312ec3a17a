"""What must exist while neural-tangents is being imported, and only then."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

EXPERIMENTAL = "neural_tangents.experimental"


@contextlib.contextmanager
def standins() -> Iterator[None]:
    """Provide the names that JAX has dropped, and take them back on exit.

    Only what is missing is provided: on a JAX that still has a name, that name is
    left alone.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_core_names())
        stack.enter_context(_zeros_like_primitive())
        stack.enter_context(_util_module())
        stack.enter_context(_experimental_module())
        yield


@contextlib.contextmanager
def _lend(module: ModuleType, names: dict[str, Any]) -> Iterator[None]:
    """Bind the missing ones of `names` on `module` for the duration."""
    missing = {name: value for name, value in names.items() if not hasattr(module, name)}
    vars(module).update(missing)
    try:
        yield
    finally:
        for name in missing:
            vars(module).pop(name, None)


def _core_names() -> contextlib.AbstractContextManager[None]:
    """`jax.core` lost the jaxpr types to `jax.extend.core` (deprecated in 0.4.36)."""
    import jax.core
    import jax.extend.core

    wanted = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    return _lend(
        jax.core,
        {n: getattr(jax.extend.core, n) for n in wanted if hasattr(jax.extend.core, n)},
    )


def _zeros_like_primitive() -> contextlib.AbstractContextManager[None]:
    """`jax.interpreters.ad.zeros_like_p` is gone (since 0.4.24 or so).

    It is only the key of a rule for an equation that no jaxpr contains any more, so
    any hashable object serves.
    """
    from jax.interpreters import ad

    return _lend(ad, {"zeros_like_p": object()})


@contextlib.contextmanager
def _util_module() -> Iterator[None]:
    """`jax.util` is gone (deprecated in 0.6): strict `map` and `zip` lived there."""
    try:
        module = importlib.import_module("jax.util")
        if hasattr(module, "safe_map") and hasattr(module, "safe_zip"):
            yield
            return
    except ImportError:
        module = None
    standin = ModuleType("jax.util")
    vars(standin).update(safe_map=safe_map, safe_zip=safe_zip)
    sys.modules["jax.util"] = standin
    try:
        yield
    finally:
        if module is None:
            sys.modules.pop("jax.util", None)
        else:
            sys.modules["jax.util"] = module


def safe_zip(*sequences: Any) -> list[tuple[Any, ...]]:
    """`zip` into a list, refusing sequences of different lengths."""
    return list(zip(*sequences, strict=True))


def safe_map(function: Any, *sequences: Any) -> list[Any]:
    """`map` into a list, refusing sequences of different lengths."""
    return [function(*items) for items in safe_zip(*sequences)]


@contextlib.contextmanager
def _experimental_module() -> Iterator[None]:
    """`neural_tangents.experimental` imports TensorFlow: put it off until it is used."""
    if EXPERIMENTAL not in sys.modules:
        sys.modules[EXPERIMENTAL] = LazyExperimental(EXPERIMENTAL)
    yield


class LazyExperimental(ModuleType):
    """Stands for `neural_tangents.experimental` until one of its names is asked for."""

    def __getattr__(self, name: str) -> Any:
        # Python and debuggers probe modules for dunder names; that must stay free.
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self._resolve(), name)

    def _resolve(self) -> ModuleType:
        root = sys.modules["neural_tangents"]
        path = Path(str(root.__file__)).parent / "experimental" / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            EXPERIMENTAL, path, submodule_search_locations=[str(path.parent)]
        )
        if spec is None or spec.loader is None or not path.exists():
            raise ImportError(f"{EXPERIMENTAL} is not part of the installed neural-tangents.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[EXPERIMENTAL] = module
        try:
            with standins():
                spec.loader.exec_module(module)
        except ImportError as error:
            for key in [k for k in sys.modules if k.startswith(EXPERIMENTAL + ".")]:
                del sys.modules[key]
            sys.modules[EXPERIMENTAL] = self
            raise ImportError(
                f"{EXPERIMENTAL} needs TensorFlow and tf2jax, which neural-tangents' other parts "
                f"do not ({error}). Install both to use it: pip install tensorflow tf2jax."
            ) from error
        vars(root)["experimental"] = module
        return module
