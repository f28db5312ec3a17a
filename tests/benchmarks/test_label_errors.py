"""The label-error benchmark on a few digits: scores against their definitions, files, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import (
    _label_errors_data,
    _label_errors_report,
    _label_errors_scores,
    label_errors,
)


def test_quick_run_writes_table_figure_and_numbers(tmp_path, capsys):
    assert label_errors.main(["--quick", "--out", str(tmp_path)]) == 0
    assert "Average precision" in capsys.readouterr().out
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".md", ".png"}
    report = json.loads((tmp_path / "label-errors.json").read_text())
    assert [row["noise"] for row in report["rows"]] == ["symmetric:0.2", "symmetric:0.4"]
    for row in report["rows"]:
        assert row["detection"]["ours"] > 0.95
        assert abs(row["estimate"]["likelihood"] - row["estimate"]["true"]) < 0.06
        assert min(row["stopping"]["points_lost"].values()) >= 0
    assert bool(report["rows"][0]["detection"]["cleanlab"]) == _label_errors_scores.HAVE_CLEANLAB


def test_average_precision_and_hard_sets_by_counting():
    score, wrong = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, False])
    # The wrong ones come first and third: precision 1 and 2/3 at them.
    assert _label_errors_scores.average_precision(score, wrong) == pytest.approx((1 + 2 / 3) / 2)
    hard = _label_errors_scores._hard(np.array([True, True, False, False]), wrong)
    assert hard == {"precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_of_cleanlab_the_default_and_the_best_are_told_and_how_far_ours_is_behind():
    def rules(*f1s):
        return {
            f"rule {i}": {"precision": 0.1, "recall": 0.2, "f1": f1} for i, f1 in enumerate(f1s)
        }

    sets = {
        name: {"scores": {"a": 0.5, "b": 0.25}, "hard": rules(0.5, 0.25)}
        for name in ("ours_clean", *_label_errors_report._SETS)
    }
    sets["svc"] = {"scores": {"a": 0.5, "b": 0.9}, "hard": rules(0.5, 0.75)}
    row = {
        "dataset": "digits",
        "noise": "symmetric:0.2",
        "estimate": {"true": 0.2},
        "detection": {
            **{"ours": 0.8, "margin": 0.7, "transition": "symmetric", "hard": rules(0.6)["rule 0"]},
            **{"observed_accuracy": 0.8, "refined_accuracy": 0.9, "cleanlab": sets},
        },
    }
    groups = {("digits", "symmetric:0.2"): [row]}
    cells = _label_errors_report._ranking(groups).splitlines()[-1].split(" | ")
    assert cells[3:6] == ["0.8000", "0.7000", "0.5000 / 0.5000"]
    assert cells.count("0.5000 / 0.9000") == 1
    assert "0.1000" in cells
    cells = _label_errors_report._hard_sets(groups).splitlines()[-1].split(" | ")
    assert cells[2].endswith("0.60")
    assert [cell.rsplit(" / ")[-1] for cell in cells[3:-1]].count("0.75") == 1
    assert cells[-1] == "0.1500 |"


def test_kernel_folds_never_see_the_label_they_predict():
    one = _label_errors_data.problem("digits", 150)
    noisy = _label_errors_data.noisy_labels(one, "symmetric:0.2", 0)
    labels = np.asarray(noisy.labels)
    codes = np.eye(10, dtype=np.float32)[labels] - 0.1
    first = _label_errors_scores._kernel_folds(one, labels, codes, 1.0)
    for train, held in _label_errors_scores._folds().split(labels, labels):
        kernel = one.kernel.astype(np.float64)
        system = kernel[np.ix_(train, train)] + np.eye(len(train))
        outputs = kernel[np.ix_(held, train)] @ np.linalg.inv(system) @ codes[train]
        np.testing.assert_array_equal(first[held].argmax(1), outputs.argmax(1))


@pytest.mark.parametrize("flags", [["--datasets", "imagenet"], ["--draws", "0"]])
def test_bad_input(flags, capsys):
    assert label_errors.main(flags) == 2
    assert "expected --datasets" in capsys.readouterr().err
