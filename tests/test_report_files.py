"""Reports as files: which ones, and the numbers that stand in them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import ntk_air as na

_PNG = b"\x89PNG\r\n\x1a\n"


def theorem():
    check = na.theory.Check(name="close", statement="x", required=1.0, measured=0.5, holds=True)
    return na.theory.TheoremReport(
        name="A *theorem*", source="a paper", assumptions=(), conclusions=(check,), tables={},
        histories={},
    )  # fmt: skip


def trained(networks=0, **known):
    """A result of three records whose columns are given; those that are not are unknown."""
    shape = (networks, 3) if networks else (3,)
    columns = {name: np.full(shape, np.nan) for name in na.distillation.History.__annotations__}
    columns |= {"step": np.array([0, 5, 20]), "outputs": None, "test_outputs": None}
    columns |= {"loss": np.zeros(shape), "time": np.array([0.0, 1.0, 4.0])}
    columns |= {name: np.asarray(value, float) for name, value in known.items()}
    return na.distillation.DistillationResult(params={}, history=na.distillation.History(**columns))


def rows_of(page):
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", page)]


def test_a_theorem_report_is_four_files_of_the_same_report(tmp_path):
    report = theorem()
    path = na.reports.write_theorem_report(report, tmp_path / "made" / "here", "two words")
    assert path == tmp_path / "made" / "here" / "two words.md"
    assert path.read_text(encoding="utf-8") == (
        report.to_markdown() + "\n![A *theorem*](two%20words.png)\n"
    )
    assert path.with_suffix(".json").read_text(encoding="utf-8") == report.to_json()
    assert path.with_suffix(".png").read_bytes().startswith(_PNG)
    assert na.load(path.with_suffix(".ntkair")).to_json() == report.to_json()
    assert len(list(path.parent.iterdir())) == 4
    assert na.reports.write_theorem_report(report, tmp_path).name == "theorem.md"


def test_a_training_report_shows_best_and_last_records(tmp_path):
    result = trained(test_accuracy=[0.1, 0.8756, 0.5], l2_to_clean=[0.9, 0.25, 0.123456])
    path = na.reports.write_training_report(result, tmp_path / "new", title="a < b")
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "history.png", "report.html", "result.ntkair",
    ]  # fmt: skip
    page = path.read_text(encoding="utf-8")
    assert rows_of(page) == [["network", "87.6 %", "50.0 %", "0.1235", "0.1235"]]
    assert "<h1>a &lt; b</h1>" in page
    assert "20 steps, 3 records." in page
    assert (path.parent / "history.png").read_bytes().startswith(_PNG)
    saved = na.load(path.parent / "result.ntkair")
    np.testing.assert_array_equal(saved.history.test_accuracy, result.history.test_accuracy)


def test_a_training_report_of_networks_together_and_of_unknown_columns(tmp_path):
    result = trained(networks=2, test_accuracy=[[0.0, 1.0, 0.5], [0.0, 0.25, 0.75]])
    page = na.reports.write_training_report(result, tmp_path).read_text(encoding="utf-8")
    assert rows_of(page) == [
        ["network 0", "100.0 %", "50.0 %", "–", "–"],
        ["network 1", "75.0 %", "75.0 %", "–", "–"],
    ]


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: na.reports.write_theorem_report(theorem(), folder),
        lambda folder: na.reports.write_training_report(trained(), folder),
    ],
)
def test_a_file_is_no_folder_to_write_a_report_to(write, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(ValueError, match=f"cannot write to {taken}: File exists; choose another"):
        write(taken)
    assert taken.read_text() == "mine"
