"""``ntk-air stop``: numbers equal to the library's, files, one clear line on bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main

SMALL = ["stop", "--train-size", "120", "--test-size", "60", "--noise", "symmetric:0.3"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of a run, and the axes that it drew."""
    out = tmp_path_factory.mktemp("stop") / "out"
    draw, axes = na.plots.stopping_rules, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(na.plots, "stopping_rules", lambda *a, **o: axes.append(draw(*a, **o)))
        assert main([*SMALL, "--learning-rate", "0.01", "--out", str(out)]) == 0
    return out, *axes


@pytest.mark.parametrize("purpose", ["selection", "reporting", None])
def test_labels_of_the_points_of_the_purpose_are_judged(purpose):
    """By ``stop`` and ``labels``: points kept apart for selection are in no reported number."""
    from ntk_air.cli._noisy_labels import DEFAULTS, _observed

    options = DEFAULTS | {"train_size": 100, "purpose": purpose, "noise": "symmetric:0.2"}
    data, noisy = _observed(options, 40)
    assert (len(noisy.labels), len(data.test_labels)) == (100, 40)
    kept_apart = na.datasets.selection_rows(1437)
    if purpose is not None:
        assert (kept_apart[np.asarray(data.train_rows)] == (purpose == "selection")).all()
    if purpose == "selection":
        assert not kept_apart[np.asarray(data.test_rows)].any()
        assert set(np.bincount(data.train_labels)) == {10}
        whole, _ = _observed(options | {"train_size": None}, None)
        np.testing.assert_array_equal(np.sort(whole.train_rows), np.flatnonzero(kept_apart))


def test_numbers_are_those_of_the_library(written):
    numbers = json.loads((written[0] / "stopping.json").read_text())
    dataset = na.datasets.load("digits", train_size=120, test_size=60)
    noisy = na.noise.symmetric(dataset.train_labels, 0.3, num_classes=10, seed=0)
    dataset = dataset.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    network = na.kernels.fully_connected(1, 16, num_outputs=10, weight_std=1.4, bias_std=0.1)
    kernel = np.asarray(na.kernels.infinite_ntk(network, dataset.train_inputs), np.float64)
    cross = np.asarray(
        na.kernels.infinite_ntk(network, dataset.test_inputs, dataset.train_inputs), np.float64
    )
    values, vectors = np.linalg.eigh(kernel)
    observed = np.asarray(na.datasets.encode(noisy.labels, 10), np.float64)
    for one in numbers["rules"].values():
        fitted = -np.expm1(-values * one["time"])
        np.testing.assert_allclose(one["degrees_of_freedom"], fitted.sum(), rtol=1e-3)
        outputs = cross @ (vectors * (fitted / values)) @ (vectors.T @ observed)
        accuracy = (outputs.argmax(1) == np.asarray(dataset.test_labels)).mean()
        assert abs(one["test_accuracy"] - accuracy) < 1.5 / 60
        assert one["test_accuracy"] <= numbers["best_test_accuracy"]
        assert one["steps"] == round(one["time"] / 0.01)
    assert numbers["noise"]["true"] == noisy.empirical_rate
    assert abs(numbers["noise"]["likelihood"] - noisy.empirical_rate) < 0.1
    assert numbers["noise"]["tail"] <= numbers["noise"]["upper"]


def test_figure_is_of_the_numbers_written(written):
    out, ax = written
    assert {p.name for p in out.iterdir()} == {"stopping.json", "stopping.png"}
    assert (out / "stopping.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((out / "stopping.json").read_text())
    *curves, accuracy, best = ax.lines
    assert [line.get_label() for line in curves[::2]] == [
        rule.replace("_", " ") for rule in numbers["rules"]
    ]
    assert set(numbers["rules"]) == set(na.dynamics.RULES)
    for line, dot, one in zip(curves[::2], curves[1::2], numbers["rules"].values(), strict=True):
        np.testing.assert_allclose(dot.get_xdata(), one["time"], rtol=1e-6)
        at = list(line.get_xdata()).index(dot.get_xdata()[0])
        assert line.get_ydata()[at] == dot.get_ydata()[0] == np.nanmin(line.get_ydata()) == 0
        # The accuracies of the table, from 0 at the least to 1 at the largest.
        drawn = accuracy.get_ydata()[at]
        hits = np.round(60 * np.array([one["test_accuracy"], numbers["best_test_accuracy"]]))
        assert drawn == pytest.approx(1 - (hits[1] - hits[0]) * _unit(accuracy), abs=1e-6)
    assert f"best {numbers['best_test_accuracy']:.1%}" in accuracy.get_label()
    assert best.get_xdata()[0] == accuracy.get_xdata()[accuracy.get_ydata().argmax()]


def _unit(line):
    """Height of one test point more."""
    heights = np.unique(line.get_ydata())
    return np.diff(heights).min()


def test_own_data_without_test_labels_and_config(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    np.savez(
        tmp_path / "own.npz",
        train_inputs=rng.normal(size=(60, 5)) + 3 * labels[:, None],
        train_labels=labels,
    )
    config = tmp_path / "c.toml"
    config.write_text(f'dataset = "{tmp_path / "own.npz"}"\nrank = 20\ndepth = 2\n')
    assert main(["stop", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "own: 60 points, 2 classes" in printed
    assert "true" not in printed
    assert "leave_one_out_error" in printed
    assert "40 directions are outside the spectrum" in printed


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--learning-rate", "-1"], "learning-rate is -1"),
        (["--learning-rate", "5e-324"], "--learning-rate is 4.94066e-324, which takes more steps"),
        (["--labels", "worst"], "has the further labels none"),
        (["--labels", "worst", "--noise", "symmetric:0.1"], "both say"),
        (["--rank", "5000"], "rank is 5000"),
        (["--memory-budget", "1000"], "fewer eigenpairs"),
        (["--noise", "loud"], "noise is 'loud'"),
    ],
)
def test_bad_input_is_one_line(flags, said, capsys):
    assert main(["stop", "--train-size", "50", *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_unknown_setting_in_the_file(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text("colour = 3\n")
    assert main(["stop", "--config", str(config)]) == 2
    assert "sets colour" in capsys.readouterr().err
