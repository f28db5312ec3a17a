"""Networks and kernels of one's own on the command line."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main

MODULE = """
import jax.numpy as jnp
import numpy as np

def make(num_outputs, input_shape):
    size = int(np.prod(input_shape))
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(size, num_outputs)))}
    return (lambda p, x: x.reshape(len(x), -1) @ p["w"]), params

def needs(depth):
    return depth

def rbf(a, b):
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    return jnp.exp(-0.05 * jnp.sum((a[:, None] - b[None]) ** 2, axis=-1))

number = 3
"""
FEW = ["--dataset", "digits", "--train-size", "40"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a module, which is gone from the interpreter afterwards."""
    (tmp_path / "mine_of_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_of_test", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def run(capsys, *arguments):
    code = main([*arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_factory_is_given_what_it_asks_for(capsys):
    arguments = [*FEW, "--test-size", "10", "--noise", "symmetric:0.2", "--steps", "3"]
    code, out, _ = run(capsys, "air", *arguments, "--network", "mine_of_test:make")
    numbers = json.loads(out)
    assert code == 0
    assert numbers["kernel"] == "finite"
    assert [one["parameters"] for one in numbers["by_layer"]] == [640]
    data = na.datasets.load("digits", train_size=40)
    x = np.asarray(data.train_inputs, np.float64).reshape(40, -1)
    assert numbers["eigenvalues"][0] == pytest.approx(np.linalg.eigvalsh(x @ x.T)[-1], rel=1e-4)
    assert numbers["retrieval"]["largest_deviation"] < 1e-3


def test_kernels_of_ones_own(capsys, folder):
    arguments = [*FEW, "--noise", "symmetric:0.2"]
    code, out, _ = run(
        capsys, "labels", *arguments, "--kernel", "mine_of_test:rbf", "--out", "a.csv"
    )
    assert code == 0, out
    data = na.datasets.load("digits", train_size=40, judged=True)
    x = np.asarray(data.train_inputs).reshape(40, -1)
    np.save("k.npy", np.exp(-0.05 * np.square(x[:, None] - x[None]).sum(axis=-1)))
    code, out, _ = run(capsys, "labels", *arguments, "--kernel", "k.npy", "--out", "b.csv")
    assert code == 0, out
    rows = [list(csv.DictReader((folder / name).open())) for name in ("a.csv", "b.csv")]
    assert [r["index"] for r in rows[0]] == [r["index"] for r in rows[1]]


def test_an_earlier_name_of_the_option(capsys):
    arguments = [*FEW, "--test-size", "0", "--steps", "0", "--architecture", "fc"]
    code, _, err = run(capsys, "air", *arguments)
    assert code == 0
    assert "--architecture is called --network now" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--network", "mine_of_test:missing"], "mine_of_test has no missing"),
        (["--network", "mine_of_test:"], "mine_of_test has no name after the colon"),
        (["--network", "not_there:make"], "cannot import not_there"),
        (["--network", "mine_of_test:number"], "is a int, expected a function that returns"),
        (["--network", "mine_of_test:needs"], "takes depth, expected a function without"),
        (["--network", "smal_cnn"], "network is 'smal_cnn', expected one of"),
        (["--kernel", "missing.npy"], "--kernel missing.npy is not an array of NumPy"),
        (["--kernel", "rbf"], "kernel is 'rbf', expected one of"),
        (["--kernel", "mine_of_test:number"], "kernel is a int, expected"),
        (["--kernel", "mine_of_test:rbf", "--width", "3"], "width has no effect beside a kernel"),
    ],
)
def test_what_is_refused_in_one_line(capsys, arguments, said):
    code, out, err = run(capsys, "air", *FEW, *arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
