"""``ntk-air kernel``: to disk, resumed, refused, by several processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from processes import finish, free_port, start
from test_cli import bad

import ntk_air as na
from ntk_air._numerics import relative_error
from ntk_air.cli import main

SMALL = ["kernel", "--train-size", "60", "--tile-size", "16"]
ROOT = Path(__file__).resolve().parents[2]


def test_kernel_and_eigenpairs_load(tmp_path, capsys):
    store, out = tmp_path / "store", tmp_path / "new" / "spectrum.ntkair"
    assert main([*SMALL, "--store", str(store), "--rank", "4", "--out", str(out)]) == 0
    line = capsys.readouterr().out.strip()
    assert "\n" not in line
    assert f"{store}: ntk of fully_connected" in line
    assert "60 x 60, 10 tiles (" in line
    assert f"{out}: 4 eigenpairs" in line
    kernel = np.asarray(na.kernels.open_kernel(store))
    # The same kernel as the main job's, by hand.
    data = na.datasets.load("digits", train_size=60, test_size=0)
    x = data.standardized(per_image=True).flattened(unit_norm="sqrt_d").train_inputs
    expected = na.kernels.infinite_ntk(na.kernels.fully_connected(), x)
    assert relative_error(kernel, expected) < 1e-6
    values = np.linalg.eigvalsh(kernel)[::-1][:4]
    np.testing.assert_allclose(na.load(out).eigenvalues, values, rtol=1e-4)


def test_resumes_and_reports_in_json(tmp_path, capsys):
    store = tmp_path / "store"
    assert main([*SMALL, "--store", str(store), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["shape"], first["tiles"], first["tiles_found"]) == ([60, 60], 10, 0)
    whole = np.asarray(na.kernels.open_kernel(store))
    shutil.rmtree(store / "c" / "1")
    assert main([*SMALL, "--store", str(store)]) == 0
    assert "10 tiles, 7 of them found" in capsys.readouterr().out
    assert np.array_equal(np.asarray(na.kernels.open_kernel(store)), whole)


@pytest.mark.parametrize("architecture", ["conv", "conv-gap", "resnet"])
def test_image_networks(architecture, tmp_path, capsys):
    options = ["--architecture", architecture, "--depth", "1", "--kind", "nngp", "--bias-std", "0"]
    arguments = ["kernel", "--train-size", "10", *options, "--store", str(tmp_path / "s")]
    assert main([*arguments, "--devices", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["kind"], summary["shape"]) == ("nngp", [10, 10])
    kernel = np.asarray(na.kernels.open_kernel(tmp_path / "s"))
    assert np.array_equal(kernel, kernel.T)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--dataset", "imagenet21k"], r"imagenet21k.*digits"),
        (["--rank", "3"], "--rank and --out go together"),
        (["--out", "file"], "--rank and --out go together"),
        (["--rank", "61", "--out", "file"], "rank is 61"),
        (["--rank", "3", "--out", "."], "is a folder, expected a file"),
        (["--architecture", "myrtle", "--depth", "6"], r"depth.*6.*5, 7, 10"),
        (["--weight-std", "-1"], "weight_std is -1"),
        (["--tile-size", "0"], "tile_size is 0"),
        (["--memory-budget", "10"], r"set memory_budget to at least \d+"),
        (["--num-processes", "2"], "go together, and with --distributed"),
        (["--distributed", "--process-id", "0"], "go together, and with --distributed"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(arguments, pattern, capsys, tmp_path):
    store = tmp_path / "store"
    bad([*SMALL, "--store", str(store), *arguments], capsys, pattern)
    assert not store.exists()


def test_vectors_have_no_positions(tmp_path, capsys):
    x, y = np.random.default_rng(0).random((12, 5)).astype(np.float32), np.arange(12) % 2
    np.savez(tmp_path / "v.npz", train_inputs=x, train_labels=y, test_inputs=x, test_labels=y)
    arguments = ["kernel", "--dataset", str(tmp_path / "v.npz"), "--store", str(tmp_path / "s")]
    bad([*arguments, "--architecture", "conv"], capsys, r"takes inputs .*\(12, 5\); choose")
    assert main(arguments) == 0


def test_other_jobs_and_folders_are_left_alone(tmp_path, capsys):
    store = tmp_path / "store"
    assert main([*SMALL, "--store", str(store)]) == 0
    capsys.readouterr()
    before = sorted(p.read_bytes() for p in store.rglob("*") if p.is_file())
    bad([*SMALL, "--store", str(store), "--depth", "2"], capsys, r"another job.*job\.program")
    assert sorted(p.read_bytes() for p in store.rglob("*") if p.is_file()) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    bad([*SMALL, "--store", str(tmp_path / "mine")], capsys, r"not a kernel store.*thesis\.tex")


def test_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**6, 10**6, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    bad([*SMALL, "--store", str(tmp_path / "s")], capsys, "no room.*0 of 10 tiles.*resumes")


def test_interrupted_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(na.kernels, "infinite_ntk", interrupted)
    assert main([*SMALL, "--store", str(tmp_path / "s")]) == 130
    assert "interrupted; the same command resumes" in capsys.readouterr().err


def test_no_cluster_is_one_line(tmp_path):
    arguments = [*SMALL, "--store", str(tmp_path / "s"), "--distributed"]
    launchers = ("SLURM_", "OMPI_", "PMIX_", "JAX_COORDINATOR", "KUBERNETES_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(launchers)}
    found = subprocess.run(
        [sys.executable, "-m", "ntk_air.cli", *arguments],
        capture_output=True, text=True, check=False, env=env | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.returncode == 2
    assert re.fullmatch(r"ntk-air: no cluster was detected.*give --coordinator.*\n", found.stderr)


def run_two(arguments: list[str]) -> list[tuple[int, str, str]]:
    """(exit code, output, errors) of each of two processes."""
    place = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", 2, "--process-id"]
    program = ["-m", "ntk_air.cli", *arguments, "--distributed", *place]
    return finish(*(start([*program, index], devices=2, optimized=True) for index in (1, 0)))


def test_two_processes_equal_one(tmp_path):
    options = ["--rank", "3", "--devices", "--json"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main([*SMALL, "--store", str(alone)]) == 0
    out = ["--out", str(tmp_path / "spectrum.ntkair")]
    second, first = run_two([*SMALL, "--store", str(together), *options, *out])
    assert (first[0], second[0]) == (0, 0), (first, second)
    # Nothing but the summary on standard output, of one process.
    summary = json.loads(first[1])
    assert (summary["tiles"], summary["rank"], second[1]) == (10, 3, "")
    kernel = np.asarray(na.kernels.open_kernel(together))
    assert np.array_equal(kernel, np.asarray(na.kernels.open_kernel(alone)))
    values = np.linalg.eigvalsh(kernel)[::-1][:3]
    np.testing.assert_allclose(na.load(out[1]).eigenvalues, values, rtol=1e-4)


def test_two_processes_end_at_once_on_bad_input(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "file").write_text("")
    results = run_two([*SMALL, "--store", str(tmp_path / "s")])
    assert [code for code, *_ in results].count(2) >= 1, results
    assert any("not a kernel store" in errors for _, _, errors in results)
