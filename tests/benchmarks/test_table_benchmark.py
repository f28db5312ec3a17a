"""The benchmark of wrong labels in a table: its file, its figures, and what it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ntk_air as na
from benchmarks import label_tables


def test_the_file_is_the_problem(tmp_path):
    numbers, words, clean, noisy = label_tables.problem(3, 400, 0.25)
    assert 0.2 < np.mean(np.asarray(noisy.labels) != clean) < 0.3
    label_tables.write_table(tmp_path / "t.csv", numbers, words, np.asarray(noisy.labels))
    columns = na.datasets.table_rows(tmp_path / "t.csv")
    assert columns["tree"] == [label_tables.CLASSES[c] for c in np.asarray(noisy.labels)]
    gaps = [i for i, x in enumerate(columns["x4"]) if x is None]
    assert gaps == np.flatnonzero(np.isnan(numbers[:, 4])).tolist()
    assert 5 < len(gaps) < 40
    assert set(columns["soil"]) == {*label_tables.WORDS, None}


def test_quality_by_hand():
    found = label_tables._quality(np.array([1, 1, 1, 0], bool), np.array([1, 0, 0, 1], bool))
    assert found == {"precision": 1 / 3, "recall": 1 / 2, "f1": pytest.approx(2 / 5)}


def test_it_writes_a_row_for_each_rank_that_fits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(label_tables, "_boosting", lambda *_: [])
    flags = ["--rows", "150", "--ranks", "999", "--purpose", "selection"]
    assert label_tables.main([*flags, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "label-tables.json").read_text())
    assert [row["rank"] for row in report["rows"]] == [150]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == report["rows"]
    _, _, _, noisy = label_tables.problem(100, 150, 0.25)
    assert report["rows"][0]["wrong"] == int(np.sum(np.asarray(noisy.flipped)))
    assert report["rows"][0]["f1"] > 0.5
    assert report["environment"]["date"]
