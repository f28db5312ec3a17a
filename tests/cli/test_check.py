"""``ntk-air check``: names, options, files and exit codes, with reports that take no time."""

from __future__ import annotations

import inspect
import json

import pytest

import ntk_air as na
from ntk_air.cli._main import main


def fake(holds, assumed=True, calls=None):
    def check(*, seeds: int = 3, quick: bool = False):
        """One line about it."""
        if calls is not None:
            calls.append((list(seeds) if isinstance(seeds, range) else seeds, quick))
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
    assert calls == [([7, 8, 9], True), (3, False)]
    capsys.readouterr()
    assert main(["check", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]
    assert main(["check", "riemann"]) == 2
    assert "no theorem named riemann; there are one, two" in capsys.readouterr().err


def test_files(theorems, tmp_path, capsys):
    theorems(one=fake(False))
    assert main(["check", "--out", str(tmp_path / "new")]) == 1
    out = tmp_path / "new"
    assert {p.name for p in out.iterdir()} == {"one.md", "one.json", "one.png", "index.md"}
    assert json.loads((out / "one.json").read_text())["verdict"] == "violated"
    assert "![A theorem](one.png)" in (out / "one.md").read_text()
    assert "[A theorem](one.md) | violated" in (out / "index.md").read_text()
    (tmp_path / "file").write_text("")
    assert main(["check", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_every_theorem_takes_what_the_command_passes():
    names = [name for name in na.theory.__all__ if name.startswith("check_")]
    assert len(names) >= 7
    for name in names:
        check = getattr(na.theory, name)
        taken = inspect.signature(check).parameters
        assert isinstance(taken["seeds"].default, int), name
        assert taken["quick"].default is False, name
        assert len((inspect.getdoc(check) or "").splitlines()[0]) > 20, name
