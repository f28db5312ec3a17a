"""Tables and folders of images on the command line, beside the same call of the package."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from ntk_air.cli import main

pytest.importorskip("pyarrow")

N = 60
RNG = np.random.default_rng(0)
CLASS = np.arange(N) % 2
COLUMNS = {
    "length": 1000 * (CLASS + 0.1 * RNG.normal(size=N)),
    "width": 0.001 * RNG.normal(size=N),
    "town": RNG.choice(["Riga", "Oslo"], N),
    "kind": np.array(["even", "odd"])[CLASS],
    "second": np.array(["even", "odd"])[np.where(np.arange(N) < 6, 1 - CLASS, CLASS)],
    "name": [f"row {i}" for i in range(N)],
}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "own.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*COLUMNS.values(), strict=True))
    return path


def test_labels_of_a_table_are_judged(table, tmp_path, capsys):
    out = tmp_path / "suspected.csv"
    words = f"--dataset {table} --label kind --labels second --identifier name --out {out}"
    assert main(["labels", *words.split()]) == 0
    said = capsys.readouterr().out
    assert "truth (human:second): 10.0% wrong" in said
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # What the points are called, whatever order they were drawn in.
    assert {row["index"] for row in rows} == {f"row {i}" for i in range(6)}
    assert {row["observed_name"] for row in rows} == {"even", "odd"}


def test_settings_of_a_file_are_those_of_the_flags(table, tmp_path, capsys):
    path = tmp_path / "own.toml"
    own = f'dataset = "{table}"\nlabel = "kind"\n'
    # Names are read before fractions: with `name` dropped, the fraction is what is left to refuse.
    for text, said in (
        ('drop = ["second", "name"]\ntest = 2\n', "test is 2.0, expected a number in (0, 1)"),
        ('drop = "second, name"\ntest = "2"\n', "test is 2.0, expected a number in (0, 1)"),
        ('drop = ["second"]\n', "'name' (60 different)"),
        ("drop = 3\n", "drop is 3, expected names, as in a,b, or a list of them"),
        ('image_size = "4"\n', "sets image_size to '4', expected a whole number"),
        ("channels = 2\n", "channels"),
    ):
        path.write_text(own + text, encoding="utf-8")
        assert main(["stop", "--config", str(path)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_a_kernel_of_resized_images(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    for i in range(6):
        place = tmp_path / "images" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (8 + i, 9, 3), dtype=np.uint8)
        image.fromarray(pixels).save(place / f"{i}.png")
    words = f"--dataset {tmp_path}/images --image-size 4 --channels 1 --test 0.34"
    store = f"--store {tmp_path}/store --json"
    assert main(["kernel", *words.split(), *store.split()]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["shape"] == [4, 4]
    assert "2 of its 6 images" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "label is missing, expected a column of own: length, width, town"),
        ("--label sort", "label is 'sort'"),
        ("--label kind", "'name' (60 different)"),
        ("--label width --drop name", "--label width is a column of numbers to predict"),
        ("--label kind --drop name,nothing", "drop is 'nothing'"),
        ("--label kind --drop name --test 2", "test is 2.0, expected a number in (0, 1)"),
        ("--label kind --drop name --image-size 8", "image_size has no effect"),
        ("--label kind --drop name --test gone.csv", "gone.csv"),
        ("--label kind --drop name --labels third", "extra_labels is 'third'"),
    ],
)
def test_bad_tables_are_one_line_and_exit_code_2(table, capsys, words, said):
    assert main(["labels", "--dataset", str(table), *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
