"""Docstrings of public names: every exception that can come out of a call is listed, and every
example gives what is printed below it."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
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


_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d*(?:e[+-]?\d+)?")


class _Printed(doctest.OutputChecker):
    """Words as printed; numbers with a point to three digits, so that rounding may differ."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        first, second = ("".join(_NUMBER.sub("#", text).split()) for text in (want, got))
        numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (want, got)]
        return first == second and bool(np.allclose(*numbers, rtol=1e-3, atol=1e-4))


def _named(room: str) -> list[tuple[str, Any]]:
    module = importlib.import_module(f"ntk_air.{room}" if room else "ntk_air")
    named = [(name, getattr(module, name)) for name in module.__all__]
    return [
        (f"{room}.{name}".lstrip("."), thing)
        for name, thing in named
        if callable(thing)
        and str(getattr(thing, "__module__", "")).startswith("ntk_air")
        and not isinstance(thing, ntk_air.distillation.LabelFn)
    ]


_NAMED = dict(pair for room in ("", *_ROOMS) for pair in _named(room))
_EXAMPLES = {
    name: found
    for name, thing in _NAMED.items()
    if (found := doctest.DocTestParser().get_examples(inspect.getdoc(thing) or ""))
}


@pytest.mark.parametrize("name", sorted(_EXAMPLES))
def test_an_example_gives_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = doctest.DocTest(_EXAMPLES[name], {}, name, None, None, None)
    said: list[str] = []
    doctest.DocTestRunner(checker=_Printed(), verbose=False).run(case, out=said.append)
    assert not said, "".join(said)
    assert any(example.want for example in _EXAMPLES[name]), "an example that shows nothing"


def _results() -> set[str]:
    """Classes that functions with an example return, and those of the fields of these."""
    classes = {n.rpartition(".")[2]: t for n, t in _NAMED.items() if isinstance(t, type)}
    made = [
        part
        for name, thing in _NAMED.items()
        if name in _EXAMPLES
        for part in (vars(thing).values() if isinstance(thing, type) else [inspect.unwrap(thing)])
    ]
    pending = [str(part.__annotations__.get("return")) for part in made if inspect.isfunction(part)]
    found: set[str] = set()
    while pending:
        new = {word for word in re.findall(r"\w+", pending.pop()) if word in classes} - found
        found |= new
        pending += [str(classes[name].__annotations__) for name in new]
    return found


def test_every_public_name_has_an_example_or_is_the_result_of_one():
    shown = _results()
    missing = [n for n in _NAMED if n not in _EXAMPLES and n.rpartition(".")[2] not in shown]
    assert missing == []


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("[0. 0.8647]\n", "[0.         0.86469996]\n", True),
        ("[[ 0. 0.]\n [ 1. -1.]]\n", "[[ 0.  0.]\n [ 1. -1.]]\n", True),
        ("0.5\n", "0.51\n", False),
        ("3\n", "4\n", False),
        ("[0.5 1.]\n", "[0.5]\n", False),
        ("'confirmed'\n", "'violated'\n", False),
    ],
)
def test_the_checker_compares_words_and_numbers(want, got, same):
    assert _Printed().check_output(want, got, 0) is same


def test_a_name_that_the_package_does_not_have():
    with pytest.raises(AttributeError, match="module 'ntk_air' has no attribute 'spectrum'"):
        ntk_air.spectrum  # noqa: B018
