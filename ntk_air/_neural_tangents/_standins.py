"""What must exist while neural-tangents is being imported, and only then."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

EXPERIMENTAL = "neural_tangents.experimental"
# What `experimental` offers; any other name is a probe, of pickle or a debugger say.
_EXPERIMENTAL_NAMES = ("empirical_ntk_fn_tf", "empirical_tf", "get_apply_fn_and_params")

# Held for the moment of lending or taking back, never during an import.
_lock = threading.Lock()
_borrowers = 0
_lent: list[tuple[dict[str, Any], str]] = []


@contextlib.contextmanager
def standins() -> Iterator[None]:
    """Provide the names that JAX has dropped, and take them back on exit.

    Only what is missing is provided: on a JAX that still has a name, that name is
    left alone. The last of several threads that are inside takes the names back.
    """
    global _borrowers
    import jax.core
    import jax.extend.core
    import jax.interpreters.ad  # noqa: F401

    with contextlib.suppress(ImportError):
        importlib.import_module("jax.util")
    with _lock:
        for place, name, value in _dropped():
            place[name] = value
            _lent.append((place, name))
        if EXPERIMENTAL not in sys.modules:
            sys.modules[EXPERIMENTAL] = LazyExperimental()
        _borrowers += 1
    try:
        yield
    finally:
        with _lock:
            _borrowers -= 1
            while _lent and not _borrowers:
                place, name = _lent.pop()
                place.pop(name, None)


def _dropped() -> Iterator[tuple[Any, str, Any]]:
    """Dictionary, key and value of each name of JAX's that neural-tangents imports in vain.

    `jax.core` lost the jaxpr types to `jax.extend.core` (deprecated in 0.4.36).
    `jax.interpreters.ad.zeros_like_p` is gone (since 0.4.24 or so); it is only the key
    of a rule for an equation that no jaxpr contains any more: any hashable object serves.
    `jax.util`, with its strict `map` and `zip`, is gone (deprecated in 0.6).
    """
    import jax

    wanted = {
        "core": {
            name: getattr(jax.extend.core, name)
            for name in ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
            if hasattr(jax.extend.core, name)
        },
        "interpreters.ad": {"zeros_like_p": object()},
        "util": {"safe_map": safe_map, "safe_zip": safe_zip},
    }
    for path, names in wanted.items():
        module = sys.modules.get(f"jax.{path}")
        if module is None:
            module = ModuleType(f"jax.{path}")
            yield sys.modules, module.__name__, module
        for name, value in names.items():
            if not hasattr(module, name):
                yield vars(module), name, value


def safe_zip(*sequences: Any) -> list[tuple[Any, ...]]:
    """`zip` into a list, refusing sequences of different lengths."""
    return list(zip(*sequences, strict=True))


def safe_map(function: Any, *sequences: Any) -> list[Any]:
    """`map` into a list, refusing sequences of different lengths."""
    return [function(*items) for items in safe_zip(*sequences)]


class LazyExperimental(ModuleType):
    """Stands for `neural_tangents.experimental` until one of its names is asked for."""

    def __init__(self) -> None:
        """Take the place of the module, with its specification, without executing it."""
        super().__init__(EXPERIMENTAL)
        root = sys.modules.get("neural_tangents")
        for folder in getattr(root, "__path__", ()):
            path = Path(folder) / "experimental" / "__init__.py"
            if path.exists():
                spec = importlib.util.spec_from_file_location(EXPERIMENTAL, path)
                vars(self).update(
                    __spec__=spec,
                    __package__=EXPERIMENTAL,
                    __path__=[str(path.parent)],
                    __file__=str(path),
                )

    def __getattr__(self, name: str) -> Any:
        # Any module may be probed for any name, by `pickle` for instance: the answer
        # is AttributeError, and free, unless the name is one of those it stands for.
        if name not in _EXPERIMENTAL_NAMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self._resolve(), name)

    def _resolve(self) -> ModuleType:
        spec = self.__spec__
        if spec is None or spec.loader is None:
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
        root = sys.modules.get("neural_tangents")
        if root is not None:
            vars(root)["experimental"] = module
        return module
