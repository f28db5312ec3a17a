"""Bad input of every command is one line and exit code 2; no setting is taken and ignored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import _main, main

COMMANDS = ("air", "distill", "check", "kernel", "stop", "labels", "report")
# What a command cannot do without.
NEEDED = {"kernel": ["--store", "s"], "report": ["f", "--out", "o"]}


def refused(arguments, capsys):
    """The one line that a person sees."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    assert code == 2, printed
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("ntk-air: ")
    assert printed.err.rstrip("\n").isprintable()
    return printed.err


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_flags_and_wrong_types(command, capsys):
    said = refused([command, *NEEDED.get(command, []), "--colour"], capsys)
    assert "unrecognized arguments: --colour" in said
    for flag in ("--seed", "--train-size"):
        if command != "report" and not (command == "check" and flag == "--train-size"):
            assert f"{flag}: invalid int value: 'x\\x1b'" in refused(
                [command, flag, "x\x1b"], capsys
            )


@pytest.mark.parametrize("command", ["air", "distill", "stop", "labels"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("colour = 3", "sets colour"),
        ("dataset = 3", "sets dataset to 3, expected text in quotes"),
        ("seed = 1.0", "sets seed to 1.0, expected a whole number"),
        ('train_size = "8"', "sets train_size to '8', expected a whole number"),
        ("train_size = [8]", "sets train_size to [8], expected a whole number"),
        ("train-size = true", "sets train_size to True, expected a whole number"),
        ("[noise]\nrate = 0.4", "sets noise to {'rate': 0.4}, expected text"),
        ("classes = [true, 1]", "classes is [True, 1], expected names"),
        ("classes = {a = 1}", "classes is {'a': 1}, expected names"),
        ("config = 'c.toml'", "sets config"),
        ("run = 'x'", "sets run"),
        ("a = " + "[" * 50_000, "not a TOML file"),
        ("a = 1\na = 2", "not a TOML file"),
        ("seed = -1", "seed is -1"),
        ("root = 'x'", "root is 'x'"),
    ],
)
def test_settings_of_a_file(command, line, said, tmp_path, capsys):
    (tmp_path / "c.toml").write_text(line)
    assert said in refused([command, "--config", str(tmp_path / "c.toml")], capsys)


def test_a_file_is_held_to_the_choices_of_its_flag(tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text("network = 3\n")
    assert "expected text in quotes" in refused(["air", "--config", str(path)], capsys)
    path.write_text("network = 'cnn'\n")
    assert "network is 'cnn', expected one of" in refused(["air", "--config", str(path)], capsys)
    path.write_bytes(b"\xff\xfe")
    assert "not a TOML file" in refused(["air", "--config", str(path)], capsys)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", tmp_path / "absent"):
        assert "cannot read" in refused(["air", "--config", str(other)], capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["air", "--steps", "0", "--momentum", "0.5"], "--momentum has no effect"),
        (["air", "--seed", "4294967296"], "seed is 4294967296, expected a whole number in 0..4294"),
        (["air", "--steps", "0", "--time-constant", "5"], "--time-constant has no effect"),
        (["distill", "--method", "gce", "--alpha", "agreement"], "--alpha has no effect on gce"),
        (["distill", "--method", "elr", "--loss", "mse"], "loss"),
        (["air", "--root", "x"], "root is 'x'"),
        (["check", "--list", "--quick"], "--list names the theorems and does nothing else"),
        (["check", "l2_floor", "--list"], "--list names the theorems and does nothing else"),
    ],
)
def test_settings_without_effect_are_refused(arguments, said, capsys):
    assert said in refused(arguments, capsys)


def test_alpha_may_be_a_number_in_a_file(tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text("alpha = 1.5\n")
    assert "alpha" in refused(["distill", "--config", str(path)], capsys)


def test_results_that_cannot_be_drawn_are_one_line(tmp_path, capsys):
    path = str(tmp_path / "r.ntkair")
    wrong = {"name": "t", "source": "s", "assumptions": 5, "conclusions": None, "tables": 3}
    with pytest.warns(UserWarning, match="ntk_air.load will refuse the file"):
        na.save(na.theory.TheoremReport(**wrong, histories=[1]), path)
    out = ["--out", str(tmp_path / "o")]
    assert "field assumptions is of type int" in refused(["report", path, *out], capsys)
    assert not (tmp_path / "o").exists()
    kept = {name: np.zeros(0) for name in na.distillation.History.__dataclass_fields__}
    history = na.distillation.History(**kept)
    na.save(na.distillation.DistillationResult(params=0, history=history), path)
    assert "its parts do not fit each other" in refused(["report", path, *out], capsys)
    assert "No such file" in refused(["report", str(tmp_path / "none"), *out], capsys)
    assert "not a regular file" in refused(["report", str(tmp_path), *out], capsys)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (OverflowError("int too large"), 2),
        (RecursionError("too deep"), 2),
        (MemoryError(), 2),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2),
        (OSError(28, "No space left on device", "out/x"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_what_ends_a_command(raised, code, monkeypatch, capsys):
    def run(arguments):
        warnings.warn("first\nsecond", stacklevel=1)
        raise raised

    monkeypatch.setattr(_main._report, "run", run)
    # A pipe that is broken is given up: standard output is then none of pytest's.
    monkeypatch.setattr(os, "dup2", lambda *a: None)
    assert main(["report", "x", "--out", "y"]) == code
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "ntk-air: first second"
    assert len(err) == (1 if code == 141 else 2)


def test_mistakes_of_the_package_are_not_hidden(monkeypatch):
    def run(arguments):
        raise KeyError("a mistake")

    monkeypatch.setattr(_main._report, "run", run)
    with pytest.raises(KeyError):
        main(["report", "x", "--out", "y"])


def test_a_pipe_that_nobody_reads_ends_quietly():
    command = [sys.executable, "-m", "ntk_air.cli", "check", "--list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_numbers_of_stop_are_json_without_nan(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 2
    np.savez(tmp_path / "d.npz", train_inputs=rng.normal(size=(12, 2)), train_labels=labels)
    out = tmp_path / "o"
    assert main(["stop", "--dataset", str(tmp_path / "d.npz"), "--out", str(out)]) == 0
    json.loads((out / "stopping.json").read_text(), parse_constant=pytest.fail)
