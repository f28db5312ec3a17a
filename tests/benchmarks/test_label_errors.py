"""The label-error benchmark on a few digits: scores against their definitions, files, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import _label_errors_data, _label_errors_scores, label_errors


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
