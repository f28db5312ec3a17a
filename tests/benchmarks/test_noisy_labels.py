"""The noisy-label benchmark on a few digits: the table against the histories, resumption, input."""

from __future__ import annotations

import json
import statistics

import pytest

from benchmarks import _noisy_labels_cells, _noisy_labels_published, noisy_labels
from ntk_air.distillation import DivergenceError

SMALL = ["--dataset", "digits", "--train-size", "100", "--test-size", "50", "--batch-size", "30"]
SMALL += ["--epochs", "2", "--seeds", "2", "--noise", "symmetric:0.2"]
METHODS = "cross_entropy,self_distill/alpha=exponential:2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("noisy")
    assert noisy_labels.main([*SMALL, "--methods", METHODS, "--out", str(out)]) == 0
    return out


def test_files(folder):
    assert {p.name for p in folder.iterdir()} == {
        "cells",
        "noisy-labels.json",
        "noisy-labels.md",
        "noisy-labels.png",
    }
    assert (folder / "noisy-labels.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((folder / "noisy-labels.json").read_text())["rows"]
    assert [row["settings"]["method"] for row in rows] == METHODS.split(",")
    assert all("history" not in row and row["environment"]["packages"]["jax"] for row in rows)


def test_table_shows_what_the_stored_histories_say(folder):
    table = (folder / "noisy-labels.md").read_text().splitlines()
    for path in (folder / "cells").iterdir():
        cell = json.loads(path.read_text())
        line = next(one for one in table if one.startswith(f"| {cell['settings']['method']} |"))
        history = cell["history"]
        pairs = list(zip(history["test_accuracy"], history["held_out_accuracy"], strict=True))
        columns = [
            [max(accuracy) for accuracy, _ in pairs],
            [accuracy[-1] for accuracy, _ in pairs],
            [accuracy[held.index(max(held))] for accuracy, held in pairs],
        ]
        cells = [part.strip() for part in line.split("|")[2:]]
        for shown, values in zip(cells, columns, strict=False):
            mean, sd = (float(part) for part in shown.split("±"))
            assert mean == pytest.approx(100 * statistics.mean(values), abs=0.006)
            assert sd == pytest.approx(100 * statistics.stdev(values), abs=0.006)
        gap = 100 * (statistics.mean(columns[0]) - statistics.mean(columns[1]))
        assert float(cells[3]) == pytest.approx(gap, abs=0.006)


def test_a_cell_that_is_there_is_not_computed_again(folder, monkeypatch, capsys):
    trained = []

    def train(dataset, settings, progress):
        trained.append(settings.method)
        raise ValueError("no more training")

    monkeypatch.setattr(_noisy_labels_cells, "noisy_training", train)
    before = (folder / "noisy-labels.md").read_text()
    assert noisy_labels.main([*SMALL, "--methods", METHODS, "--out", str(folder)]) == 0
    assert trained == []
    assert (folder / "noisy-labels.md").read_text() == before
    assert before.strip() in capsys.readouterr().out
    more = [*SMALL, "--methods", f"{METHODS},gce", "--out", str(folder)]
    assert noisy_labels.main(more) == 2
    assert trained == ["gce"]
    assert noisy_labels.main([*more, "--only-report"]) == 0
    assert len(list((folder / "cells").iterdir())) == 2


def test_cells_of_other_settings_are_refused(folder, capsys):
    flags = [*SMALL, "--methods", METHODS, "--out", str(folder), "--epochs", "3"]
    assert noisy_labels.main(flags) == 2
    err = capsys.readouterr().err
    assert "was measured with epochs = 2, asked for is epochs = 3" in err
    assert err.count("\n") == 1


def test_divergence_is_a_line_of_the_table(tmp_path, monkeypatch, capsys):
    def train(dataset, settings, progress):
        raise DivergenceError("the loss is not finite at step 3")

    monkeypatch.setattr(_noisy_labels_cells, "noisy_training", train)
    flags = [*SMALL, "--methods", "cross_entropy", "--out", str(tmp_path)]
    assert noisy_labels.main(flags) == 0
    assert "| cross_entropy | diverged |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "noisy-labels.json").read_text())["rows"]
    assert rows[0]["diverged"] == "the loss is not finite at step 3"


def test_published_numbers_keep_the_two_conventions_apart():
    accuracy = _noisy_labels_published.accuracy
    assert accuracy("cifar10", "uniform:0.4", "elr") == "89.15 (ResNet-34)"
    assert accuracy("cifar10", "symmetric:0.4", "elr") == "89.15 (ResNet-34, uniform:0.4)"
    assert accuracy("cifar10", "symmetric:0.2", "co_teaching") == "82.18 (9-layer CNN)"
    assert accuracy("cifar10", "asymmetric:0.4", "gce/q=0.7").startswith("76.74")
    assert accuracy("mnist", "uniform:0.4", "elr") == "–"
    assert accuracy("cifar10", "symmetric:0.4", "self_distill/alpha=agreement") == "–"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--methods", "magic"], "method is 'magic'"),
        (["--methods", "elr,elr"], "each once"),
        (["--noise", ","], "--noise is ','"),
        (["--noise", "loud"], "noise is 'loud'"),
        (["--seeds", "0"], "seeds is 0"),
        (["--test-size", "0"], "--test-size is 0"),
        (["--dataset", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(flags, said, tmp_path, capsys):
    base = [*SMALL, "--methods", "gce", "--out", str(tmp_path)]
    assert noisy_labels.main([*base, *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
