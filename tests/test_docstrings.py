"""Docstrings of public names: every exception that can come out of a call is listed."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import raised

import ntk_air

_ROOMS = (
    "datasets", "noise", "kernels", "networks", "spectral", "dynamics", "distillation",
    "distillation.baselines", "theory", "analysis", "plots", "reports",
)  # fmt: skip
# What a function cannot raise, whatever it calls may: with the reason.
_NEVER = {
    "check_noise_isotropy": (OSError, ImportError),  # loads the embedded digits, which need no file
    "theorem_figure": (ValueError,),  # draws only the sweeps that there are
    "training_figure": (ValueError,),  # draws only fields that there are
}


def _public(room: str) -> Iterator[tuple[str, Any, tuple[str | None, ...]]]:
    """Functions, classes and public methods of a room, with the docstrings that speak for them."""
    module = importlib.import_module(f"ntk_air.{room}")
    for name in module.__all__:
        thing = getattr(module, name)
        if not callable(thing) or not str(thing.__module__).startswith("ntk_air"):
            continue
        made = (thing.__init__.__doc__,) if isinstance(thing, type) else ()
        yield name, thing, (thing.__doc__, *made)
        for attribute, value in vars(thing).items() if isinstance(thing, type) else ():
            method = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if inspect.isfunction(method) and (
                not attribute.startswith("_") or attribute == "__call__"
            ):
                yield f"{name}.{attribute}", method, (method.__doc__, thing.__doc__)


@pytest.mark.parametrize("room", _ROOMS)
def test_every_exception_is_in_the_docstring(room):
    missing = []
    for name, thing, texts in _public(room):
        listed = (*raised.documented(*texts), *_NEVER.get(name, ()))
        for kind in sorted(raised.raised_by(thing), key=lambda kind: kind.__name__):
            if not issubclass(kind, listed or ()):
                missing.append(f"{name}: {kind.__name__}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", [n for n in ntk_air.__all__ if callable(getattr(ntk_air, n))])
def test_every_exception_of_the_package_itself(name):
    thing = getattr(ntk_air, name)
    listed = tuple(raised.documented(thing.__doc__))
    assert [k.__name__ for k in raised.raised_by(thing) if not issubclass(k, listed or ())] == []


def _raises_value_error(flag):
    if flag:
        raise ValueError("no")


def _calls_it(flag):
    with contextlib.suppress(KeyError):
        _raises_value_error(flag)


def _takes_it(flag):
    try:
        _raises_value_error(flag)
    except ValueError:
        raise RuntimeError("yes") from None


def _lets_it_through(flag):
    try:
        _raises_value_error(flag)
    except ValueError:
        raise


def _suppresses_it(flag):
    with contextlib.suppress(ValueError):
        _raises_value_error(flag)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_raises_value_error, {ValueError}),
        (_calls_it, {ValueError}),
        (_takes_it, {RuntimeError}),
        (_lets_it_through, {ValueError}),
        (_suppresses_it, set()),
    ],
)
def test_the_reader_follows_calls_and_handlers(function, expected, monkeypatch):
    monkeypatch.setattr(raised, "PACKAGE", __name__.partition(".")[0])
    assert raised.raised_by(function) == expected


def test_the_reader_reads_sections():
    text = """Does it.

    Args:
        x: OSError: not this one.

    Raises:
        ValueError: when
            TypeError: not this one.
        FileNotFoundError: or this.

    Example:
        KeyError: nor this
    """
    assert raised.documented(text) == {ValueError, FileNotFoundError}
