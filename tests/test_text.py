"""Words of files and users stay words: in Markdown, HTML, spreadsheets, JSON and on a terminal."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main

HOSTILE = (
    "<script>alert(1)</script>|[x](javascript:y)`a`\n# b\x1b[31m <img src=x onerror=z> &lt; $q"
)


def report_of(text):
    check = na.theory.Check(
        name=text, statement=text, required=text, measured=float("nan"), holds=True
    )
    tables = {text: [{text: text, "b": float("inf")}]}
    return na.theory.TheoremReport(
        name=text, source=text, assumptions=(check,), conclusions=(check,), tables=tables,
        histories={},
    )  # fmt: skip


def cells(line):
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_markdown_of_a_report_holds_words_only(tmp_path):
    loaded = na.load(na.save(report_of(HOSTILE), tmp_path / "r.ntkair"))
    path = na.reports.write_theorem_report(loaded, tmp_path / "out", "x y")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<[a-z/!?]", text, re.IGNORECASE)
    assert not re.search(r"(?<!\\)\]\((?!x%20y\.png\))", text), "a link that is not ours"
    assert "\x1b" not in text
    assert "&amp;lt;" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(cells(line)) for line in rows} == {2, 5}
    with pytest.raises(ValueError, match="expected that of a file"):
        na.reports.write_theorem_report(loaded, tmp_path / "out", "../x")


def test_comparisons_stay_as_they_are():
    text = report_of("k <= 3 and x < y, |f|").to_markdown()
    assert "k <= 3 and x < y, \\|f\\|" in text


def test_json_of_a_report_has_no_nan():
    document = json.loads(report_of("a").to_json(), parse_constant=pytest.fail)
    assert document["assumptions"][0]["measured"] is None
    assert document["tables"] == {"a": [{"a": "a", "b": None}]}


def test_page_of_a_training_is_escaped(tmp_path):
    kept = {name: np.zeros(3) for name in na.distillation.History.__dataclass_fields__}
    history = na.distillation.History(**{**kept, "outputs": None, "test_outputs": None})
    result = na.distillation.DistillationResult(params={}, history=history)
    page = na.reports.write_training_report(result, tmp_path, title=HOSTILE).read_text()
    assert "<script>" not in page
    assert "<img src=x" not in page


def test_names_of_classes_in_a_spreadsheet_and_on_a_terminal(tmp_path, capsys):
    """A class called like a formula, found in the data of a stranger."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    inputs = rng.normal(size=(40, 3)).astype(np.float32) + 4 * labels[:, None]
    names = np.array(['=HYPERLINK("http://x")', "a,\n\x1b[2Jb"])
    np.savez(tmp_path / "d.npz", train_inputs=inputs, train_labels=labels, class_names=names)
    flags = ["labels", "--dataset", str(tmp_path / "d.npz"), "--all"]
    assert main([*flags, "--out", str(tmp_path / "s.csv")]) == 0
    with open(tmp_path / "s.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert {row["observed_name"] for row in rows} == {f"'{names[0]}", names[1]}
    assert all(float(row["score"]) <= 1 for row in rows)
    assert main(flags) == 0
    assert "\x1b" not in capsys.readouterr().out
