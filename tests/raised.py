"""Which exceptions a function of the package can raise, read off its source and what it calls.

Names are resolved in the imported modules, so that re-exports, aliases and imports inside functions
are followed; calls of methods are followed on ``self`` and on classes that are named. What is
raised inside ``try`` counts unless a handler there takes it and does not raise it again.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

PACKAGE = "ntk_air"
_Key = tuple[str, str]


def raised_by(function: Any) -> set[type[BaseException]]:
    """Exceptions of a function or class (of making one), those of what it calls included."""
    found: set[type[BaseException]] = set()
    for key in _entries(function):
        found |= _all_of(key)
    return found


def documented(*texts: str | None) -> set[type[BaseException]]:
    """Exceptions that the ``Raises:`` sections of docstrings name."""
    found: set[type[BaseException]] = set()
    for text in texts:
        section = re.search(
            r"^Raises:\n((?:[ \t]+.*\n|\n)*)", inspect.cleandoc(text or "") + "\n", re.M
        )
        for name in re.findall(r"^    ([\w.]+):", section.group(1) if section else "", re.M):
            found.add(_exception_named(name.rsplit(".", 1)[-1]))
    return found


def _exception_named(name: str) -> type[BaseException]:
    kind = getattr(builtins, name, None)
    if kind is None:
        for module in list(sys.modules.values()):
            if module.__name__.startswith(PACKAGE) and isinstance(vars(module).get(name), type):
                kind = vars(module)[name]
                break
    assert isinstance(kind, type), f"a docstring names the exception {name}, which there is not"
    assert issubclass(kind, BaseException), f"a docstring names {name} as an exception"
    return kind


def _entries(thing: Any) -> list[_Key]:
    """Where the source of a callable is: module and qualified name of each part."""
    if isinstance(thing, type):
        parts = [
            vars(kind).get(name) for kind in thing.__mro__ for name in ("__init__", "__post_init__")
        ]
        return [key for part in parts if inspect.isfunction(part) for key in _entries(part)]
    thing = inspect.unwrap(thing) if callable(thing) else thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return [(module, name)] if str(module).startswith(PACKAGE) and name else []


def _all_of(start: _Key) -> set[type[BaseException]]:
    """A fixed point over the calls, since functions may call each other in circles."""
    _explore(start)
    changed = True
    while changed:
        changed = False
        for key in list(_CALLS):
            before = len(_RAISED[key])
            for target, handlers in _CALLS[key]:
                escaping = {e for e in _RAISED.get(target, ()) if not _caught(e, handlers)}
                _RAISED[key] |= escaping
            changed |= len(_RAISED[key]) > before
    return _RAISED.get(start, set())


_CALLS: dict[_Key, list[tuple[_Key, tuple[type[BaseException], ...]]]] = {}
_RAISED: dict[_Key, set[type[BaseException]]] = {}


def _explore(start: _Key) -> None:
    pending = [start]
    while pending:
        key = pending.pop()
        if key in _CALLS:
            continue
        node = _functions(key[0]).get(key[1])
        _CALLS[key], _RAISED[key] = [], set()
        if node is None:
            continue
        reader = _Reader(key, node)
        _CALLS[key], _RAISED[key] = reader.calls, reader.raised
        pending += [target for target, _ in reader.calls]


def _caught(kind: type[BaseException], handlers: tuple[type[BaseException], ...]) -> bool:
    return issubclass(kind, handlers) if handlers else False


@functools.cache
def _functions(module: str) -> dict[str, ast.AST]:
    """Functions and methods of a module by qualified name."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    found: dict[str, ast.AST] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + child.name] = child
                visit(child, f"{prefix}{child.name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            else:
                visit(child, prefix)

    visit(tree, "")
    return found


class _Reader:
    """What one function raises itself, and which functions of the package it calls."""

    def __init__(self, key: _Key, node: ast.AST) -> None:
        self.module = importlib.import_module(key[0])
        self.owner = self._owner(key[1])
        self.raised: set[type[BaseException]] = set()
        self.calls: list[tuple[_Key, tuple[type[BaseException], ...]]] = []
        self.local: dict[str, Any] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.ImportFrom | ast.Import):
                self._import(part)
        self._walk(getattr(node, "body", []), ())

    def _owner(self, qualified: str) -> type | None:
        thing: Any = self.module
        for name in qualified.split(".")[:-1]:
            thing = getattr(thing, name, None)
        return thing if isinstance(thing, type) else None

    def _import(self, node: ast.ImportFrom | ast.Import) -> None:
        if isinstance(node, ast.Import):
            return
        name = "." * node.level + (node.module or "")
        if node.level == 0 and not name.startswith(PACKAGE):
            return
        package = self.module.__name__
        if not hasattr(self.module, "__path__"):
            package = package.rpartition(".")[0]
        found = importlib.import_module(name, package) if node.module else _parent(name, package)
        for alias in node.names:
            value = getattr(found, alias.name, None)
            if value is None:
                value = importlib.import_module(f"{found.__name__}.{alias.name}")
            self.local[alias.asname or alias.name] = value

    def _walk(self, body: Any, handlers: tuple[type[BaseException], ...]) -> None:
        for node in body if isinstance(body, list) else [body]:
            self._visit(node, handlers)

    def _visit(self, node: ast.AST, handlers: tuple[type[BaseException], ...]) -> None:
        if isinstance(node, ast.Try | ast.TryStar):
            self._walk(node.body, handlers + tuple(self._handled(node)))
            for part in (*node.handlers, *node.orelse, *node.finalbody):
                self._walk(getattr(part, "body", part), handlers)
            return
        if isinstance(node, ast.With):
            for item in node.items:
                self._visit(item.context_expr, handlers)
            self._walk(node.body, handlers + tuple(self._suppressed(node)))
            return
        if isinstance(node, ast.Raise) and node.exc is not None:
            self._raise(node.exc, handlers)
        if isinstance(node, ast.Call):
            for key in _entries_or_none(self._resolve(node.func)):
                self.calls.append((key, handlers))
        for child in ast.iter_child_nodes(node):
            self._visit(child, handlers)

    def _raise(self, node: ast.expr, handlers: tuple[type[BaseException], ...]) -> None:
        kind = self._resolve(node.func if isinstance(node, ast.Call) else node)
        if (
            isinstance(kind, type)
            and issubclass(kind, BaseException)
            and not _caught(kind, handlers)
        ):
            self.raised.add(kind)

    def _handled(self, node: ast.Try | ast.TryStar) -> Iterator[type[BaseException]]:
        """Exceptions that end in a handler; one that raises them again takes none."""
        for handler in node.handlers:
            parts = [part for one in handler.body for part in ast.walk(one)]
            again = any(
                isinstance(part, ast.Raise)
                and (
                    part.exc is None
                    or (isinstance(part.exc, ast.Name) and part.exc.id == handler.name)
                )
                for part in parts
            )
            if not again:
                yield from self._kinds(handler.type)

    def _suppressed(self, node: ast.With) -> Iterator[type[BaseException]]:
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("suppress"):
                for argument in call.args:
                    yield from self._kinds(argument)

    def _kinds(self, node: ast.expr | None) -> Iterator[type[BaseException]]:
        if node is None:
            yield BaseException
            return
        for part in node.elts if isinstance(node, ast.Tuple) else [node]:
            kind = self._resolve(part)
            for one in kind if isinstance(kind, tuple) else (kind,):
                if isinstance(one, type) and issubclass(one, BaseException):
                    yield one

    def _resolve(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            if node.id in self.local:
                return self.local[node.id]
            return vars(self.module).get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and self.owner:
                return getattr(self.owner, node.attr, None)
            holder = self._resolve(node.value)
            if isinstance(holder, types.ModuleType | type):
                return getattr(holder, node.attr, None)
        return None


def _parent(dots: str, package: str) -> types.ModuleType:
    for _ in range(len(dots) - 1):
        package = package.rpartition(".")[0]
    return importlib.import_module(package)


def _entries_or_none(thing: Any) -> list[_Key]:
    return _entries(thing) if callable(thing) else []
