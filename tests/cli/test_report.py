"""``ntk-air report``: pages of saved results."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main

CLEAN = np.array([[1.0], [-1.0], [1.0], [-1.0]], np.float32)


def trained(**options):
    params = np.zeros((2, 1), np.float32)
    if options:
        params = (
            np.broadcast_to(params, (2, 2, 1)) + np.arange(2.0, dtype=np.float32)[:, None, None]
        )
    return na.distillation.self_distill(
        lambda params, x: x @ params, params, np.eye(4, 2, dtype=np.float32), CLEAN,
        optimizer=0.1, num_steps=3, alpha=1.0, label_fn=na.distillation.sign, clean=CLEAN,
        **options,
    )  # fmt: skip


@pytest.fixture
def files(tmp_path):
    check = na.theory.Check("radius", "r <= 1", 1.0, 0.5, True)
    scaling = na.theory.Scaling("e", "n", -0.5, -0.4, np.ones((3, 1)), np.ones((3, 1)))
    rate = na.theory.Check("rate", "e ~ n", "-0.5", "-0.4", True, scaling)
    history = trained().history
    theorem = na.theory.TheoremReport(
        "A theorem", "source", (check,), (rate,), {"rows": ({"n": 1, "e": 0.5},)},
        {"plain, seed 0": history},
    )  # fmt: skip
    saved = {"theorem": theorem, "one": trained(), "two": trained(replicas=2), "history": history}
    for name, value in saved.items():
        na.save(value, tmp_path / f"{name}.ntkair")
    return tmp_path


def test_a_theorem_and_trainings(files, capsys):
    out = files / "out"
    paths = [str(files / f"{name}.ntkair") for name in ("theorem", "one", "two")]
    assert main(["report", *paths, "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [
        str(out / "theorem" / "theorem.md"), str(out / "one" / "report.html"),
        str(out / "two" / "report.html"),
    ]  # fmt: skip
    assert {p.suffix for p in (out / "theorem").iterdir()} == {".md", ".json", ".png", ".ntkair"}
    read = json.loads((out / "theorem" / "theorem.json").read_text())
    assert read["verdict"] == "confirmed"
    again = na.load(out / "theorem" / "theorem.ntkair")
    assert again.to_markdown() == na.load(paths[0]).to_markdown()
    jax.tree.map(np.testing.assert_array_equal, again, na.load(paths[0]))
    for name, rows in (("one", 1), ("two", 2)):
        page = (out / name / "report.html").read_text()
        assert page.count("<tr>") == 1 + rows
        assert "3 steps, " in page
        assert "None" not in page


def test_a_single_file_goes_into_the_folder_itself(files):
    assert main(["report", str(files / "one.ntkair"), "--out", str(files / "out")]) == 0
    assert sorted(p.name for p in (files / "out").iterdir()) == [
        "history.png", "report.html", "result.ntkair",
    ]  # fmt: skip


def test_bad_files(files, tmp_path, capsys):
    def said(*names):
        assert main(["report", *names, "--out", str(tmp_path / "new")]) == 2
        assert not (tmp_path / "new").exists()
        return capsys.readouterr().err

    assert "holds a History, expected an AIRAnalysis" in said(str(files / "history.ntkair"))
    assert "nothing.ntkair" in said(str(tmp_path / "nothing.ntkair"))
    one = str(files / "one.ntkair")
    assert "expected names that tell them apart" in said(one, one)
    (tmp_path / "text.ntkair").write_text("no result")
    assert "text.ntkair" in said(str(tmp_path / "text.ntkair"))
