"""Import neural-tangents repaired, whoever imports it.

A finder on ``sys.meta_path`` hands out neural-tangents' own module specifications
with their loaders wrapped: the wrapper provides the names that JAX has dropped while
a module is being executed, and applies the repairs once the package is complete, as
well as after each reload. Python's import lock for ``neural_tangents`` makes the
first import happen once, whatever the number of threads.
"""

from __future__ import annotations

import importlib
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ntk_air._neural_tangents._errors import NOT_INSTALLED

PACKAGE = "neural_tangents"

# Taken inside Python's import lock of PACKAGE, never around an import of PACKAGE:
# the other order could deadlock with a thread that is importing it directly.
# Both outlive a reload of this file.
_lock = globals().get("_lock") or threading.RLock()
_working: ModuleType | None = globals().get("_working")


class _RepairingLoader:
    """Executes a module of neural-tangents with stand-ins in place."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        if _is_working():
            self._execute_again(module)
        elif module.__name__ == PACKAGE:
            self._execute_first(module)
        else:  # on behalf of the package, which is repaired when it is complete
            self._execute(module)

    def _execute_first(self, module: ModuleType) -> None:
        with _lock:
            _purge(keep_root=True)
            try:
                self._execute(module)
                _repair(module)
            except BaseException:
                _purge(keep_root=True)
                raise

    def _execute_again(self, module: ModuleType) -> None:
        """Reload a module of the working package; if that fails, leave it as it was."""
        before = dict(vars(module))
        try:
            self._execute(module)
            with _lock:
                _repair(sys.modules[PACKAGE], again=True)
        except BaseException:
            vars(module).update(before)
            for name in set(vars(module)) - set(before):
                del vars(module)[name]
            raise

    def _execute(self, module: ModuleType) -> None:
        from ntk_air._neural_tangents._standins import standins

        with standins():
            self._loader.exec_module(module)


class _Finder:
    """Meta path finder for ``neural_tangents`` and its submodules only."""

    ntk_air_finder = True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != PACKAGE and not name.startswith(PACKAGE + "."):
            return None
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if find_spec is None or getattr(finder, "ntk_air_finder", False):
                continue
            spec = find_spec(name, path, target)
            if spec is not None:
                # A namespace leftover (an empty directory) has no loader to wrap.
                if spec.loader is not None and spec.origin is not None:
                    spec.loader = _RepairingLoader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


def install() -> None:
    """Make every later ``import neural_tangents`` give the working module.

    Idempotent and cheap: imports neither JAX nor neural-tangents. A half-imported
    neural-tangents left by an earlier failure is forgotten, so that the next import
    starts afresh; a complete one is repaired in place.

    Raises:
        IncompatibleJaxError: a complete neural-tangents is already imported and a
            repair does not fit it.
    """
    with _lock:
        if not any(getattr(finder, "ntk_air_finder", False) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
        _settle()


def load() -> ModuleType:
    """Return the working ``neural_tangents`` module, importing it on the first call.

    Returns:
        The module; the same object on each call.

    Raises:
        ImportError: neural-tangents or one of the packages it needs is not installed.
        IncompatibleJaxError: a repair does not fit the installed versions.
    """
    if _working is not None and _is_working():
        return _working
    install()
    try:
        module = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name in (PACKAGE, "frozendict", "scipy"):
            raise ImportError(NOT_INSTALLED.format(reason=error), name=error.name) from error
        raise
    if module.__spec__ is None or module.__spec__.origin is None:
        raise ImportError(NOT_INSTALLED.format(reason="found only an empty directory"))
    with _lock:
        _repair(module)
    return module


def _settle() -> None:
    """Deal with what an import before `install` has left in ``sys.modules``."""
    module = sys.modules.get(PACKAGE)
    if module is None:
        _purge()
    elif getattr(module.__spec__, "_initializing", False):
        return  # some thread is importing it right now, through the hook or on its own
    elif _is_complete(module):
        _repair(module)
    else:
        _purge()


def _is_complete(module: ModuleType) -> bool:
    """Whether the last name that neural-tangents' ``__init__`` binds is there."""
    return "Kernel" in vars(module)


def _purge(*, keep_root: bool = False) -> None:
    for name in list(sys.modules):
        if name.startswith(PACKAGE + ".") or (name == PACKAGE and not keep_root):
            del sys.modules[name]


def _is_working() -> bool:
    return _working is not None and sys.modules.get(PACKAGE) is _working


def _repair(module: ModuleType, *, again: bool = False) -> None:
    global _working
    if _working is module and not again:
        return
    from ntk_air._neural_tangents._repairs import apply_repairs

    apply_repairs(module)
    _working = module
