"""The noisy-label benchmark on a few digits: the table against the histories, resumption, input."""

from __future__ import annotations

import json
import statistics

import numpy as np
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


@pytest.mark.parametrize("order", [[], ["--one-by-one"]])
def test_a_cell_grows_by_the_seeds_that_it_lacks(order, tmp_path, monkeypatch, capsys):
    def run(seeds, out, *more):
        flags = [*SMALL, *order, "--methods", "self_distill/alpha=exponential:2", "--out", str(out)]
        assert noisy_labels.main([*flags, "--seeds", str(seeds), *more]) == 0
        (path,) = (out / "cells").iterdir()
        return json.loads(path.read_text())

    trained = []

    def train(dataset, settings, progress):
        trained.append(range(settings.seed, settings.seed + settings.seeds))
        return noisy_training(dataset, settings, progress=progress)

    noisy_training = _noisy_labels_cells.noisy_training
    monkeypatch.setattr(_noisy_labels_cells, "noisy_training", train)
    first = run(1, tmp_path / "grown")
    reported = capsys.readouterr().out
    assert run(3, tmp_path / "grown", "--only-report") == first
    assert capsys.readouterr().out == reported
    grown = run(3, tmp_path / "grown")
    asked = [range(0, 1), range(1, 2), range(2, 3)] if order else [range(0, 1), range(1, 3)]
    assert trained == asked
    at_once = run(3, tmp_path / "at_once")
    assert grown["settings"] == at_once["settings"]
    assert grown["noise_rate"] == at_once["noise_rate"]
    for kind in ("best", "final", "stopped"):
        for name, values in at_once[kind].items():
            assert grown[kind][name]["each"][:1] == first[kind][name]["each"]
            assert grown[kind][name]["each"] == pytest.approx(values["each"], abs=2e-5)
            assert grown[kind][name]["mean"] == pytest.approx(values["mean"], abs=2e-5)
            assert grown[kind][name]["sd"] == pytest.approx(values["sd"], abs=2e-5)
    for name, rows in at_once["history"].items():
        assert np.allclose(grown["history"][name], rows, atol=2e-4), name


def test_a_table_says_which_rows_have_fewer_seeds(tmp_path, capsys):
    flags = [*SMALL, "--out", str(tmp_path)]
    assert noisy_labels.main([*flags, "--methods", "cross_entropy"]) == 0
    assert noisy_labels.main([*flags, "--methods", "gce", "--seeds", "1"]) == 0
    capsys.readouterr()
    assert noisy_labels.main([*flags, "--methods", "cross_entropy,gce", "--only-report"]) == 0
    table = capsys.readouterr().out
    assert "1 to 2 seeds from 0" in table
    assert "(rows without it: one seed)" in table
    lines = {line.split(" | ")[0]: line for line in table.splitlines()}
    assert "±" in lines["| cross_entropy"]
    assert "±" not in lines["| gce"]


def test_more_seeds_than_asked_for_are_refused(folder, capsys):
    flags = [*SMALL, "--methods", METHODS, "--out", str(folder), "--seeds", "1"]
    assert noisy_labels.main(flags) == 2
    assert "was measured with seeds = 2, asked for is seeds = 1" in capsys.readouterr().err


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
