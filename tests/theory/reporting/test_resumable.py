"""Interrupted reports go on where they stopped; a cell of other settings is never read."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import types
import typing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm

import ntk_air as na
from ntk_air.theory.model._activations import find_activation
from ntk_air.theory.reporting import _digest, _records, _resumable
from ntk_air.theory.theorems import _linearization
from ntk_air.theory.theorems.l2_floor import _theorem as _l2_floor
from ntk_air.theory.theorems.noise_level_stopping import _theorem as _noise_level_stopping
from ntk_air.theory.theorems.self_distillation import _runs as _self_distillation_runs

t, d = na.theory, na.distillation
CHECKS = [name for name in t.__all__ if name.startswith("check_")]


def make(**options):
    base = {"num_points": 24, "num_clusters": 4, "dimension": 8, "radius": 0.02}
    return na.datasets.clusterable(**{**base, "noise_rate": 0.2, "seed": 1, **options})


DATA = make()


def floor(**options):
    small = {"num_points": 20, "num_clusters": 2, "dimension": 6, "width": 20, "num_steps": 30}
    small |= {"radii": (0.02, 0.01, 0.0), "seeds": 2, "controls": False}
    return t.check_l2_floor(**{**small, **options})


def linearization(data=DATA, **options):
    return t.check_linearization(data, **{"widths": (8, 16, 32), "num_steps": 5, **options})


def noise_level(**options):
    return t.check_noise_level_stopping(
        **{"sizes": (8, 12, 16), "width": 20, "network_steps": 10, "seeds": 2, **options}
    )


def self_distillation(**options):
    small = {"width": 20, "num_steps": 30, "controls": False, "seeds": 2}
    return t.check_self_distillation(DATA, **{**small, **options})


def count_calls(monkeypatch, module, name, stop_after=None):
    """Counts the calls of a cell function, and interrupts the one after ``stop_after``."""
    function, calls = getattr(module, name), []

    @functools.wraps(function)
    def counted(*arguments):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


def same_trees(one, other):
    leaves, structure = jax.tree.flatten(one)
    found, found_structure = jax.tree.flatten(other)
    assert structure == found_structure
    for a, b in zip(leaves, found, strict=True):
        assert type(a) is type(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CHECKS)
def test_every_report_takes_both(name):
    taken = inspect.signature(getattr(t, name)).parameters
    for option, default in (("checkpoint", None), ("progress", False)):
        assert taken[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert taken[option].default is default
        assert f"        {option}: " in (getattr(t, name).__doc__ or "")


@pytest.mark.parametrize(
    ("report", "module", "cell", "done", "total"),
    [
        (floor, _l2_floor, "run_seed", 4, 6),
        (noise_level, _noise_level_stopping, "run_size", 4, 9),
        (self_distillation, _self_distillation_runs, "_train", 3, 4),
    ],
)
def test_an_interrupted_report_goes_on(report, module, cell, done, total, monkeypatch, tmp_path):
    whole = report()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_calls(patch, module, cell, stop_after=done)
        report(checkpoint=tmp_path)
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len([path for path in stored if path.name.startswith(cell.strip("_"))]) == done
    calls = count_calls(monkeypatch, module, cell)
    resumed = report(checkpoint=tmp_path)
    assert len(calls) == total - done
    assert resumed.to_json() == whole.to_json()
    same_trees(resumed.histories, whole.histories)
    assert all(path.stat().st_mtime_ns == time for path, time in stored.items())
    calls.clear()
    again = report(checkpoint=str(tmp_path))
    assert calls == []
    assert again.to_json() == whole.to_json()


@pytest.mark.parametrize(
    ("report", "module", "cell", "options"),
    [
        (floor, _l2_floor, "run_seed", {"alpha": d.exponential(101.0)}),
        (floor, _l2_floor, "run_seed", {"alpha": d.inverse_time(100.0)}),
        (floor, _l2_floor, "run_seed", {"label_fn": d.tanh(2.0)}),
        (floor, _l2_floor, "run_seed", {"seeds": (2, 3)}),
        (floor, _l2_floor, "run_seed", {"width": 22}),
        (linearization, _linearization, "_cases", {"data": make(seed=2)}),
        (linearization, _linearization, "_cases", {"learning_rate": 0.1}),
        (linearization, _linearization, "_cases", {"activation": "tanh"}),
    ],
)
def test_other_settings_read_no_cell(report, module, cell, options, monkeypatch, tmp_path):
    calls = count_calls(monkeypatch, module, cell)
    report(checkpoint=tmp_path)
    first = len(calls)
    assert first >= 3
    with_cells = report(checkpoint=tmp_path, **options)
    assert len(calls) == 2 * first
    assert with_cells.to_json() == report(**options).to_json()


def test_a_cell_is_told_by_the_arrays_of_the_data_alone(monkeypatch, tmp_path):
    calls = count_calls(monkeypatch, _self_distillation_runs, "_train")
    small = {"width": 20, "num_steps": 30, "controls": False, "seeds": 1, "checkpoint": tmp_path}
    fields = ("inputs", "clean", "observed", "clusters", "centers")
    plain = types.SimpleNamespace(**{name: getattr(DATA, name) for name in fields})
    made = [t.check_self_distillation(data, **small).to_json() for data in (DATA, plain)]
    assert made[0] == made[1]
    assert len(calls) == 2
    plain.observed = DATA.clean
    t.check_self_distillation(plain, **small)
    assert len(calls) == 4


def of(*arguments):
    """A stand-in for a cell function."""


def test_digests_differ_where_contents_do(x64):
    array = np.arange(6.0).reshape(2, 3)
    different = [
        1, 1.0, True, "1", "True", None, "None", np.float64(1), np.float32(1), np.asarray(1.0),
        0.0, -0.0, float("nan"), float("inf"),
        [1, 2], (1, 2), ((1,), 2), (1, (2,)), ((1, 2), ()), ("1", "2"), ("1, 2",), (),
        array, array.T, array.ravel(), array.astype(np.float32), array.astype(">f8"),
        jnp.asarray(array), array.astype(int), -array, [array], [array, array],
        d.exponential(2.0), d.inverse_time(2.0), d.exponential(2.5), d.constant(1.0),
        d.hard, d.identity, d.tanh(1.0), d.nearest([0.0, 1.0]), d.nearest([0.0, 2.0]),
        find_activation("relu"), find_activation("tanh"),
        make(), make(seed=2), _resumable.clustered_data(make()),
    ]  # fmt: skip
    digests = [_digest.digest("of", of, (value,)) for value in different]
    assert len(set(digests)) == len(different)
    assert _digest.digest("of", of, (array.T,)) == _digest.digest("of", of, (array.T.copy(),))
    assert _digest.digest("of", of, (make(),)) == _digest.digest("of", of, (make(),))
    assert _digest.digest("of", of, (1, 2)) != _digest.digest("of", of, ((1, 2),))
    assert _digest.digest("make", make, ()) != _digest.digest("of", of, ())


def test_digests_differ_by_version_and_precision(monkeypatch):
    here = _digest.digest("of", of, (1,))
    with jax.enable_x64(True):
        assert _digest.digest("of", of, (1,)) != here
    with jax.default_matmul_precision("highest"):
        assert _digest.digest("of", of, (1,)) != here
    assert _digest.digest("of", of, (1,)) == here
    monkeypatch.setattr(_digest, "__version__", "next")
    assert _digest.digest("of", of, (1,)) != here


@pytest.mark.parametrize(
    ("report", "options", "words"),
    [
        (floor, {"label_fn": lambda f: f}, r"checkpoint cannot be used with settings.label_fn = "),
        (floor, {"label_fn": jnp.tanh}, r"settings\.label_fn = .*leave checkpoint out"),
        (floor, {"alpha": lambda s: 0.5}, r"settings\.alpha = <function"),
        (linearization, {"activation": jax.nn.silu}, r"phi = the activation 'silu'"),
        (self_distillation, {"label_fn": np.sign}, r"plan\.label_fn = <ufunc 'sign'>"),
    ],
)
def test_a_function_of_the_users_own_is_refused(report, options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        report(checkpoint=tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [
        np.asarray([of], object), {"a": 1}, {1}, functools.partial(of, 1), DATA.__class__,
        np.ma.array([1.0], mask=[True]), types.SimpleNamespace(a=1), 1j,
    ],
)  # fmt: skip
def test_contents_that_cannot_be_told_are_refused(value):
    with pytest.raises(ValueError, match=r"arguments\[1\]\[0\] = "):
        _digest.digest("of", of, (1, [value]))


def cell_functions():
    for path in sorted(Path(t.__file__).parent.rglob("*.py")):
        names = ".".join(path.relative_to(Path(na.__file__).parent).with_suffix("").parts)
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "cells.run":
                module = importlib.import_module(f"ntk_air.{names}")
                yield eval(ast.unparse(call.args[0]), vars(module))


def own_types(kind, seen):
    """The package's types in an annotation, and in those of their fields."""
    for part in typing.get_args(kind):
        own_types(part, seen)
    if isinstance(kind, type) and kind.__module__.startswith("ntk_air.") and kind not in seen:
        seen.add(kind)
        for part in typing.get_type_hints(kind).values():
            own_types(part, seen)
    return seen


def test_what_cells_return_has_a_name_on_disk_whatever_file_it_lies_in():
    functions = {*cell_functions()}
    assert len(functions) >= 15
    kinds = set()
    for function in functions:
        own_types(typing.get_type_hints(function).get("return"), kinds)
    assert len(kinds) >= 15
    for kind in kinds:
        name = f"{kind.__module__.split('.')[1]}.{kind.__name__}"
        assert _records.record_type(name) is kind
    with pytest.raises(TypeError, match=r"two records called theory\.LinearizationCase"):
        _records.record(
            type("LinearizationCase", (tuple,), {"__module__": "ntk_air.theory.elsewhere"})
        )


def test_values_come_back_as_they_were(tmp_path):
    with jax.enable_x64(True):
        double = jnp.linspace(0.0, 1.0, 3)
    value = {
        "case": _linearization.LinearizationCase(
            8, 0, 1.0, 2.0, np.float64(0.1), np.inf, -0.0, 3.0, 4.0
        ),
        "data": DATA,
        "arrays": [double, jnp.float32(2.0), np.asfortranarray(np.eye(2)), np.arange(3, dtype="b")],
        "others": (None, True, float("nan"), "text", np.bool_(True), np.float32(0.1), (), {}),
    }  # fmt: skip

    def build(seed):
        return value

    with _resumable.Cells("a report", 1, tmp_path, False) as cells:
        assert cells.run(build, 1) is value
        found = cells.run(build, 1)
    assert found is not value
    same_trees(found, value)
    assert found["arrays"][0].dtype == np.float64
    assert found["arrays"][2].flags.f_contiguous
    assert type(found["case"]) is _linearization.LinearizationCase
    assert np.signbit(found["case"].distance)


def test_a_cell_under_the_name_of_another_is_refused(tmp_path):
    whole = floor(checkpoint=tmp_path)
    one, other = sorted(tmp_path.glob("run_seed-*"))[:2]
    own = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=f"{one.name} is .*it is the cell '{other.stem}'.*delete"):
        floor(checkpoint=tmp_path)
    na.save(na.load(other)["value"], one)  # as before cells said whose they are
    with pytest.warns(UserWarning, match="does not say whose it is"):
        again = floor(checkpoint=tmp_path)
    assert again.to_json() == whole.to_json()
    assert one.read_bytes() == own


def test_damage(tmp_path):
    made = linearization(checkpoint=tmp_path)
    path, *others = sorted(tmp_path.iterdir())
    whole, middle = path.read_bytes(), path.stat().st_size // 2
    flipped = bytes([whole[middle] ^ 1])
    assert len(others) == 2
    for bad in (b"", whole[:-30], whole[:middle], whole[:middle] + flipped + whole[middle + 1 :]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"{path.name} is damaged .*delete it"):
            linearization(checkpoint=tmp_path)
    for name in (
        "subprocess.Popen",
        "theory.Cells",
        "subprocess:Popen",
        "ntk_air.theory.reporting._resumable:save",
    ):
        na.save({"cell": path.stem, "value": {"type": name, "fields": {"args": "true"}}}, path)
        with pytest.raises(
            ValueError, match=rf"holds a '{name}', which this ntk_air does not know"
        ):
            linearization(checkpoint=tmp_path)
    path.unlink()
    assert linearization(checkpoint=tmp_path).to_json() == made.to_json()
    with pytest.raises(ValueError, match=r"cannot write to .*choose another folder"):
        linearization(checkpoint=path)


@pytest.mark.parametrize("report", [floor, linearization, noise_level, self_distillation])
def test_the_bar_counts_every_cell(report, monkeypatch, tmp_path):
    bars = []

    class Bar:
        def __init__(self, total, **options):
            self.total, self.count, self.open, self.options = total, 0, True, options
            bars.append(self)

        def update(self):
            self.count += 1

        def close(self):
            self.open = False

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    report(checkpoint=tmp_path)
    assert bars == []
    for stored in (tmp_path, None):
        report(checkpoint=stored, progress=True)
        (bar,) = bars
        assert bar.count == bar.total >= 3
        assert not bar.open
        assert bar.options["disable"] is None
        bars.clear()
