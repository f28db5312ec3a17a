"""``ntk-air labels``: the list against the truth, both formats, own data, bad input."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main

NOISY = ["labels", "--train-size", "300", "--noise", "symmetric:0.3"]


def listed(printed):
    lines = printed.splitlines()
    return lines[1 + next(i for i, line in enumerate(lines) if line.split()[:1] == ["index"]) :]


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_suspected_labels_are_wrong_ones_in_order(tmp_path, capsys):
    out = tmp_path / "suspected.csv"
    assert main([*NOISY, "--out", str(out)]) == 0
    assert "average precision" in capsys.readouterr().out
    rows = rows_of(out)
    dataset = na.datasets.load("digits", train_size=300, test_size=0)
    noisy = na.noise.symmetric(dataset.train_labels, 0.3, num_classes=10, seed=0)
    place = {int(row): i for i, row in enumerate(dataset.train_rows)}
    points = [place[int(row["index"])] for row in rows]
    assert len(set(points)) == len(points)
    assert np.asarray(noisy.flipped)[points].mean() > 0.9
    suggested = np.array([int(row["suggested"]) for row in rows])
    assert (suggested == np.asarray(noisy.clean)[points]).mean() > 0.85
    observed = np.array([int(row["observed"]) for row in rows])
    np.testing.assert_array_equal(observed, np.asarray(noisy.labels)[points])
    assert all(row["suspected"] == "True" and row["observed"] != row["suggested"] for row in rows)
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)


def test_parquet_holds_the_same_and_all_lists_every_point(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main([*NOISY, "--all", "--out", str(tmp_path / "a.parquet")]) == 0
    assert main([*NOISY, "--all", "--out", str(tmp_path / "a.csv")]) == 0
    table = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    rows = rows_of(tmp_path / "a.csv")
    assert len(rows) == 300
    assert list(table) == list(rows[0])
    assert [str(value) for value in table["index"]] == [row["index"] for row in rows]
    np.testing.assert_allclose(table["score"], [float(row["score"]) for row in rows])


def test_own_data_finds_the_planted_label_without_a_truth(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    inputs = rng.normal(size=(80, 5)) + 3 * labels[:, None]
    labels[7] = 1 - labels[7]
    np.savez(tmp_path / "own.npz", train_inputs=inputs, train_labels=labels)
    assert main(["labels", "--dataset", str(tmp_path / "own.npz")]) == 0
    printed = capsys.readouterr().out
    assert "truth" not in printed
    assert listed(printed)[0].split()[0] == "7"
    assert "wrong labels: about " in printed
    assert len(printed.split("from right (rows) to given class:")[1].split("index")[0].split()) == 8
    assert main(["labels", "--dataset", str(tmp_path / "own.npz"), "--all"]) == 0
    rows = listed(capsys.readouterr().out)
    assert sorted(int(row.split()[0]) for row in rows) == list(range(80))


@pytest.mark.data
def test_recorded_labels_of_a_subset_of_classes(data_root, tmp_path, capsys):
    flags = ["--dataset", "cifar10", "--root", str(data_root), "--classes", "cat,truck"]
    out = tmp_path / "s.csv"
    assert (
        main(["labels", *flags, "--train-size", "100", "--labels", "worst", "--out", str(out)]) == 0
    )
    printed = capsys.readouterr().out
    assert "truth (human:worst)" in printed
    assert {row["observed_name"] for row in rows_of(out)} <= {"cat", "truck"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--out", "suspected.txt"], "ends in .csv, .parquet or .html"),
        (["--rule", "guess"], "rule is 'guess'"),
        (["--noise-rate", "0.95"], "noise_rate is 0.95"),
        (["--dataset", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(flags, said, capsys):
    assert main(["labels", "--train-size", "50", *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_parquet_without_pyarrow_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert main(["labels", "--out", str(tmp_path / "a.parquet")]) == 2
    assert "needs pyarrow" in capsys.readouterr().err


def write_plots(path, labels):
    """A table of two clusters, its rows called by a column."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["plot", "height", "soil", "tree"])
        rng = np.random.default_rng(0)
        for i, label in enumerate(labels):
            height = rng.normal() + 8 * (i % 2)
            writer.writerow([f"=p{i:02}", f"{height:.3f}", ["clay", "<b>loam"][i % 2], label])


def test_a_person_corrects_what_the_command_found(tmp_path, capsys):
    labels = ["ash" if i % 2 == 0 else "elm & co" for i in range(60)]
    labels[9], labels[20] = labels[20], labels[9]
    write_plots(tmp_path / "plots.csv", labels)
    data = ["labels", "--dataset", str(tmp_path / "plots.csv"), "--label", "tree"]
    data += ["--identifier", "plot"]
    out = tmp_path / "suspects.html"
    assert main([*data, "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert "src=" not in page
    for wanted in ("=p09", "=p20", "elm &amp; co", "<dt>soil</dt><dd>&lt;b&gt;loam</dd>"):
        assert wanted in page
    rows = rows_of(tmp_path / "suspects.csv")
    assert [row["index"] for row in rows if row["index"] in ("'=p09", "'=p20")]
    assert {row["corrected"] for row in rows} == {""}
    with open(tmp_path / "mine.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        for row in rows:
            if row["index"] in ("'=p09", "'=p20"):
                row["corrected"] = row["suggested_name"]
            writer.writerow(row)
    capsys.readouterr()
    again = [*data, "--corrections", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "b.csv")]
    assert main(again) == 0
    assert "2 labels corrected" in capsys.readouterr().err
    left = {row["index"] for row in rows_of(tmp_path / "b.csv")}
    assert not left & {"'=p09", "'=p20"}
    assert main([*data, "--out", str(tmp_path / "mine.csv")]) == 2
    assert "mine.csv holds 2 corrections, which would be lost" in capsys.readouterr().err
    assert main([*again, "--noise", "symmetric:0.1"]) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_the_page_of_images_has_a_picture_of_each(tmp_path):
    assert main([*NOISY, "--train-size", "100", "--out", str(tmp_path / "a.html")]) == 0
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    count = len(rows_of(tmp_path / "a.csv"))
    assert page.count("data:image/png;base64,") == count > 10
