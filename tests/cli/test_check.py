"""``ntk-air check``: names, options, files and exit codes, with reports that take no time."""

from __future__ import annotations

import inspect
import json

import pytest

import ntk_air as na
from ntk_air.cli import main


def fake(holds, assumed=True, calls=None):
    def check(*, seeds: int = 3, quick: bool = False, checkpoint=None, progress: bool = False):
        """One line about it."""
        if calls is not None:
            chosen = list(seeds) if isinstance(seeds, range) else seeds
            calls.append((chosen, quick, checkpoint, progress))
        conclusion = na.theory.Check("close", "s", "1 +- 0.1", 2.0, holds)
        premise = na.theory.Check("small", "s", 1.0, 1, assumed)
        return na.theory.TheoremReport("A theorem", "a paper", (premise,), (conclusion,), {}, {})

    return check


@pytest.fixture
def theorems(monkeypatch):
    def install(**checks):
        names = [f"check_{name}" for name in checks]
        monkeypatch.setattr(na.theory, "__all__", [*names, "Check"])
        for name, check in zip(names, checks.values(), strict=True):
            monkeypatch.setattr(na.theory, name, check, raising=False)

    return install


@pytest.mark.parametrize(
    ("holds", "assumed", "code"),
    [(True, True, 0), (False, True, 1), (False, False, 0), (True, False, 0)],
)
def test_exit_codes(holds, assumed, code, theorems, capsys):
    theorems(fine=fake(True), tested=fake(holds, assumed))
    assert main(["check"]) == code
    said = capsys.readouterr()
    assert ("violated: tested" in said.err) == bool(code)
    assert "fine: confirmed" in said.out
    assert f"concludes, {'holds' if holds else 'FAILS'}  close  1 +- 0.1  2\n" in said.out


def test_names_quick_and_seed(theorems, capsys):
    calls = []
    theorems(one=fake(True, calls=calls), two=fake(True, calls=calls))
    assert main(["check", "two", "--quick", "--seed", "7"]) == 0
    assert main(["check", "one", "one"]) == 0
    assert calls == [([7, 8, 9], True, None, True), (3, False, None, True)]
    capsys.readouterr()
    assert main(["check", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]
    assert main(["check", "riemann"]) == 2
    assert "no theorem named riemann; there are one, two" in capsys.readouterr().err


def test_each_theorem_has_a_folder_of_the_checkpoint(theorems, tmp_path):
    calls = []
    theorems(one=fake(True, calls=calls), two=fake(True, calls=calls))
    assert main(["check", "--checkpoint", str(tmp_path / "cells")]) == 0
    assert [call[2] for call in calls] == [tmp_path / "cells" / "one", tmp_path / "cells" / "two"]


def test_a_checkpoint_is_read_again(tmp_path, capsys):
    command = ["check", "noise_level_stopping", "--quick", "--checkpoint", str(tmp_path)]

    def table_and_cells():
        assert main(command) == 0
        table = capsys.readouterr().out.rpartition("\nnoise_level_stopping: ")[0]
        return table, {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ntkair")}

    first = table_and_cells()
    assert table_and_cells() == first
    assert {path.parent for path in first[1]} == {tmp_path / "noise_level_stopping"}
    next(iter(first[1])).write_bytes(b"")
    assert main(command) == 2
    assert "is damaged" in capsys.readouterr().err


def test_files(theorems, tmp_path, capsys):
    theorems(one=fake(False))
    assert main(["check", "--out", str(tmp_path / "new")]) == 1
    out = tmp_path / "new"
    written = {"one.md", "one.json", "one.png", "one.ntkair", "index.md"}
    assert {p.name for p in out.iterdir()} == written
    assert json.loads((out / "one.json").read_text())["verdict"] == "violated"
    assert "![A theorem](one.png)" in (out / "one.md").read_text()
    assert "[A theorem](one.md) | violated" in (out / "index.md").read_text()
    (tmp_path / "file").write_text("")
    assert main(["check", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write to" in capsys.readouterr().err


CHECKS = [name for name in na.theory.__all__ if name.startswith("check_")]


def test_the_list_of_theorems_is_that_of_the_imports():
    assert len(CHECKS) >= 12
    assert CHECKS[:2] == ["check_jacobian_bimodality", "check_early_stopping"]
    assert {name for name in vars(na.theory) if name.startswith("check_")} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_every_theorem_is_a_theorem_check(name):
    check = getattr(na.theory, name)
    asked = inspect.signature(na.theory.TheoremCheck.__call__)
    taken = inspect.signature(check)
    for parameter in list(asked.parameters.values())[1:]:  # without self
        own = taken.parameters[parameter.name]
        assert own.kind is inspect.Parameter.KEYWORD_ONLY, parameter.name
        assert own.annotation == parameter.annotation, parameter.name
        assert parameter.default in (..., own.default), parameter.name
    assert isinstance(taken.parameters["seeds"].default, int)
    # The command gives nothing else.
    assert all(own.default is not inspect.Parameter.empty for own in taken.parameters.values())
    assert taken.return_annotation == asked.return_annotation == "TheoremReport"
    assert len((inspect.getdoc(check) or "").splitlines()[0]) > 20
