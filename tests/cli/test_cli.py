"""The command line as a person uses it: files, exit codes, one clear line on bad input."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys

import jax
import jaxlib
import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main
from ntk_air.cli._options import DATASET_DEFAULTS, load_dataset

SMALL = ["air", "--train-size", "150", "--test-size", "80", "--width", "64", "--steps", "8"]


def test_report_is_whole_and_repeatable(tmp_path, capsys):
    out = tmp_path / "r"
    assert main([*SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "signal" in printed.out
    assert "report.html" in printed.out
    names = {p.name for p in out.iterdir()}
    assert names == {"report.html", "summary.json", "figures", "analysis.ntkair"}
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "viewport" in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", html)
    files = {p.read_bytes() for p in (out / "figures").iterdir()}
    assert {base64.b64decode(p) for p in pictures} == files
    first = (out / "summary.json").read_text()
    assert main([*SMALL, "--out", str(out)]) == 0
    assert (out / "summary.json").read_text() == first


def test_summary_without_out_goes_to_standard_output(capsys):
    assert main([*SMALL[:-1], "0"]) == 0
    assert json.loads(capsys.readouterr().out)["num_points"] == 150


def test_config_file_and_flags_win(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text('noise = "none"\ntrain-size = 120\ntest_size = 50\nsteps = 0\n')
    assert main(["air", "--config", str(config), "--train-size", "130"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert (numbers["num_points"], numbers["noise_rate"]) == (130, 0)


@pytest.fixture
def corrupt(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(b"PAR1 rubbish PAR1")
    return str(tmp_path)


@pytest.fixture
def poisoned(tmp_path):
    """Own data with a NaN, with lengths that differ, and with a label below zero."""
    x = np.random.default_rng(0).random((20, 4, 4, 1)).astype(np.float32)
    y = np.arange(20) % 2
    bad = x.copy()
    bad[3, 0, 0, 0] = np.nan
    for name, inputs, labels in (("nan", bad, y), ("short", x, y[:-1]), ("below", x, y - 1)):
        np.savez(
            tmp_path / f"{name}.npz",
            train_inputs=inputs, train_labels=labels, test_inputs=x, test_labels=y,
        )  # fmt: skip
    return tmp_path


def bad(arguments, capsys, pattern, out=None):
    code = main([*arguments, *(["--out", str(out)] if out else [])])
    printed = capsys.readouterr()
    assert code == 2, printed
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    assert re.search(pattern, lines[0]), lines[0]
    if out is not None:
        assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--dataset", "imagenet21k"], r"imagenet21k.*digits"),
        (["--dataset", "mnist", "--root", "/nowhere/at/all"], r"/nowhere/at/all"),
        (["--noise", "symmetric:1.5"], r"1\.5"),
        (["--noise", "symmetric:-0.1"], r"-0\.1"),
        (["--noise", "symmetric:nan"], r"nan"),
        (["--noise", "sometimes"], r"sometimes.*symmetric"),
        (["--noise", "human:worst"], r"worst"),
        (["--train-size", "999999"], r"999999"),
        (["--classes", "3,unicorn"], r"unicorn"),
        (["--memory-budget", "100000"], r"need about \d+ bytes.*memory_budget"),
        (["--width", "0"], r"width is 0"),
        (["--config", "/nowhere.toml"], r"nowhere\.toml"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(arguments, pattern, capsys, tmp_path):
    bad(["air", *arguments], capsys, pattern, tmp_path / "out")


def test_bad_files(corrupt, poisoned, capsys, tmp_path):
    out = tmp_path / "out"
    air = ["air", "--dataset"]
    bad([*air, "mnist", "--root", corrupt], capsys, r"train-00000.*parquet", out)
    bad([*air, str(poisoned / "nan.npz")], capsys, "NaN", out)
    bad([*air, str(poisoned / "short.npz")], capsys, r"20.*19|19.*20", out)
    bad([*air, str(poisoned / "below.npz")], capsys, "-1", out)
    config = tmp_path / "c.toml"
    config.write_text("colour = 3\n")
    bad(["air", "--config", str(config)], capsys, "colour")
    config.write_text("= broken")
    bad(["air", "--config", str(config)], capsys, "not a TOML file")


def test_output_that_cannot_be_written_is_found_out_first(tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    bad(["air", "--out", str(blocker / "inside")], capsys, "cannot write to")
    bad(["air", "--out", str(blocker)], capsys, "cannot write to")


def test_module_and_version_run_in_a_fresh_process():
    run = [sys.executable, "-m", "ntk_air.cli"]
    version = subprocess.run([*run, "--version"], capture_output=True, text=True, check=True)
    first, verdict = version.stdout.splitlines()
    assert first == f"ntk_air {na.__version__}, jax {jax.__version__}, jaxlib {jaxlib.__version__}"
    assert verdict.startswith("runtime: right")
    unknown = subprocess.run([*run, "fly"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    # What is tested is what is printed, not how fast: half of the time.
    environment = dict(os.environ, NTK_AIR_DATA="", JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    piped = subprocess.run(
        [*run, *SMALL], capture_output=True, text=True, check=True, env=environment
    )
    assert "\r" not in piped.stderr  # no progress bar in a pipe


def test_points_whose_annotator_named_another_class_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    annotated = np.where(np.arange(30) % 5 == 0, (labels + 1) % 3, labels)
    np.savez(
        tmp_path / "own.npz",
        train_inputs=rng.random((30, 4, 4, 1)), train_labels=labels, extra_worst=annotated,
    )  # fmt: skip
    options = DATASET_DEFAULTS | {"dataset": str(tmp_path / "own.npz"), "classes": "0,1"}
    everyone = load_dataset(options, test_size=None, seed=0)
    named = load_dataset(options, test_size=None, seed=0, noise="human:worst")
    expected = (labels < 2) & (annotated < 2)
    assert len(everyone.train_labels) == 20
    assert sorted(np.asarray(named.train_rows)) == np.flatnonzero(expected).tolist()
    assert np.asarray(named.extra_labels["worst"]).min() >= 0
