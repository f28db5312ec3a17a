"""``ntk-air distill``: numbers equal to the library's, files, resumption, one line on bad input."""

from __future__ import annotations

import json

import jax
import numpy as np
import optax
import pytest

import ntk_air as na
from ntk_air.analysis._noisy_training import _specs as specs
from ntk_air.analysis._noisy_training._group import record_steps
from ntk_air.cli import main

SMALL = ["distill", "--train-size", "100", "--test-size", "50", "--batch-size", "30"]
SMALL += ["--epochs", "2", "--noise", "symmetric:0.3", "--alpha", "exponential:3"]


def numbers_in(folder):
    return json.loads((folder / "distill.json").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("distill") / "out"
    assert main([*SMALL, "--seeds", "2", "--seed", "3", "--out", str(out)]) == 0
    return out


def test_histories_are_those_of_the_library_one_seed_at_a_time(written):
    history = numbers_in(written)["history"]
    dataset = na.datasets.load("digits", train_size=100, test_size=50, seed=3)
    flat = dataset.standardized()
    module = na.networks.create("mlp", num_outputs=10)
    for i, seed in enumerate((3, 4)):
        noisy = na.noise.symmetric(dataset.train_labels, 0.3, num_classes=10, seed=seed)
        result = na.distillation.self_distill(
            module,
            module.init(jax.random.key(seed), flat.train_inputs[:1]),
            flat.train_inputs[:90],
            na.datasets.encode(noisy.labels[:90], 10, coding="one_hot"),
            clean=na.datasets.encode(noisy.clean[:90], 10, coding="one_hot"),
            test=(flat.test_inputs, flat.test_labels),
            optimizer=optax.adam, learning_rate=1e-3, num_steps=6, batch_size=30, key=seed,
            alpha=na.distillation.exponential(3), loss="cross_entropy",
            record_every=history["step"],
        )  # fmt: skip
        for name in ("loss", "l2_to_clean", "test_accuracy", "alpha", "error_to_observed"):
            np.testing.assert_allclose(
                history[name][i], getattr(result.history, name), atol=2e-5, err_msg=name
            )


def test_held_out_accuracy_by_a_forward_pass_in_numpy(written):
    history = numbers_in(written)["history"]
    result = na.load(written / "result.ntkair")
    dataset = na.datasets.load("digits", train_size=100, test_size=50, seed=3)
    raw = np.asarray(dataset.train_inputs, np.float64).reshape(100, -1)
    centred = raw - raw.mean(0)
    points = (centred / centred.std())[90:]
    for i, seed in enumerate((3, 4)):
        layers = {
            k: jax.tree.map(lambda x, i=i: x[i], v) for k, v in result.params["params"].items()
        }
        x = points
        for name in ("hidden_0", "hidden_1", "readout"):
            x = x @ layers[name]["kernel"] + layers[name]["bias"]
            x = x if name == "readout" else np.maximum(x, 0)
        noisy = na.noise.symmetric(dataset.train_labels, 0.3, num_classes=10, seed=seed)
        right = (x.argmax(1) == np.asarray(noisy.labels)[90:]).mean()
        assert history["held_out_accuracy"][i][-1] == pytest.approx(right, abs=1e-6)


def test_summaries_by_going_through_the_records(written, capsys):
    numbers = numbers_in(written)
    history = numbers["history"]
    best, last, stopped, steps = [], [], [], []
    for accuracy, held in zip(history["test_accuracy"], history["held_out_accuracy"], strict=True):
        stop = held.index(max(held))
        best.append(max(accuracy))
        last.append(accuracy[-1])
        stopped.append(accuracy[stop])
        steps.append(history["step"][stop])
    for key, values in (("best", best), ("final", last), ("stopped", stopped)):
        found = numbers[key]["test_accuracy"]
        assert found["each"] == values
        assert found["mean"] == pytest.approx(sum(values) / 2, abs=1e-6)
        assert found["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-6)
    assert numbers["stopped"]["step"]["each"] == steps
    assert (numbers["num_points"], numbers["num_held_out"]) == (90, 10)


def test_files_and_figure(written):
    assert {p.name for p in written.iterdir()} == {"distill.json", "history.png", "result.ntkair"}
    assert (written / "history.png").read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_goes_on_to_the_same_numbers_and_refuses_another_run(tmp_path, capsys):
    outs = [tmp_path / "a", tmp_path / "b"]
    flags = [*SMALL, "--checkpoint", str(tmp_path / "c"), "--one-by-one", "--seeds", "2"]
    for out in outs:
        assert main([*flags, "--out", str(out)]) == 0
    first, again = map(numbers_in, outs)
    assert first == again
    assert main([*flags, "--learning-rate", "0.5"]) == 2
    err = capsys.readouterr().err
    assert "another run" in err
    assert err.count("\n") == 1


def test_one_by_one_equals_together(written, tmp_path):
    assert (
        main([*SMALL, "--seeds", "2", "--seed", "3", "--one-by-one", "--out", str(tmp_path)]) == 0
    )
    first, second = numbers_in(written)["history"], numbers_in(tmp_path)["history"]
    for name in ("loss", "test_accuracy", "held_out_accuracy"):
        np.testing.assert_allclose(first[name], second[name], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("method", ["co_teaching", "forward_correction/percentile=90"])
def test_methods_that_need_more_than_the_call(method, tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text(f'method = "{method}"\nseeds = 2\nbatch_size = 30\nepochs = 1\n')
    sizes = ["--train-size", "100", "--test-size", "50"]
    assert main(["distill", "--config", str(config), *sizes]) == 0
    printed = capsys.readouterr().out
    assert method in printed
    assert "at stopping" in printed
    assert "±" in printed


def test_records_are_dense_at_first_and_hold_both_ends():
    assert record_steps(2, 6) == [0, 1, 2, 3, 6]
    steps = record_steps(100, 800)
    assert steps[:6] == [0, 2, 4, 6, 8, 16]
    assert steps[-1] == 800
    assert len(steps) < 50


@pytest.mark.parametrize(
    ("spec", "at_zero", "at_ten"),
    [
        ("0.3", 0.3, 0.3),
        ("constant:0.25", 0.25, 0.25),
        ("exponential:10", 1.0, np.exp(-1)),
        ("inverse_time:5", 1.0, 1 / 3),
        ("linear:1:0:20", 1.0, 0.5),
        ("cosine", 1.0, 0.5),
        ("cosine:10", 1.0, 0.0),
    ],
)
def test_schedules_by_name(spec, at_zero, at_ten):
    schedule = na.distillation.alpha.parse(spec, 20)
    assert float(schedule(0)) == pytest.approx(at_zero)
    assert float(schedule(10)) == pytest.approx(at_ten, abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "rates"),
    [
        ("constant", [0.2] * 4),
        ("cosine", [0.2, 0.1 * (1 + np.cos(np.pi / 4)), 0.1, 0.1 * (1 + np.cos(3 * np.pi / 4))]),
        ("steps:0.1:0.5:0.75", [0.2, 0.2, 0.02, 0.002]),
    ],
)
def test_learning_rates_by_name(spec, rates):
    found = specs.parse_schedule(spec, 0.2, 4)
    found = [found(step) for step in range(4)] if callable(found) else [found] * 4
    np.testing.assert_allclose(found, rates, rtol=1e-5)


@pytest.mark.parametrize("name", specs.OPTIMIZERS)
def test_weight_decay_by_hand(name):
    """On a gradient of zero: added to it, or for adam taken off the parameters."""
    transformation = specs.optimizer(name, 0.25)(0.1)
    params = jax.numpy.array([2.0])
    update, _ = transformation.update(0 * params, transformation.init(params), params)
    np.testing.assert_allclose(update, [-0.1 * 0.25 * 2.0], rtol=1e-6)


def test_schedule_and_decay_reach_the_training(tmp_path):
    """A rate that falls to nothing at once leaves the network where it was."""
    tail = ["--schedule", "steps:0.000001:0.17", "--optimizer", "momentum", "--out", str(tmp_path)]
    assert main([*SMALL, *tail, "--weight-decay", "0.1"]) == 0
    history = numbers_in(tmp_path)["history"]
    assert history["step"] == [0, 1, 2, 3, 6]
    assert history["distance_from_init"][0][1] > 1e-4
    assert history["loss"][0][1] != history["loss"][0][0]
    np.testing.assert_allclose(
        history["distance_from_init"][0][2:], history["distance_from_init"][0][1], rtol=1e-3
    )


def test_epochs_of_methods_follow_the_length_of_training():
    """GCE truncates from a third of the training on, as published (40 of 120 epochs)."""
    data = na.datasets.load("digits", train_size=80, test_size=20)
    options = {"epochs": 6, "batch_size": 36, "network": "mlp"}
    loss = {
        method: na.analysis.noisy_training(
            data, na.analysis.NoisySettings(method=method, **options)
        ).history.distance_from_init[0]
        for method in ("gce", "gce/threshold=0.5", "gce/threshold=0.5/start_epoch=2")
    }
    np.testing.assert_array_equal(
        loss["gce/threshold=0.5"], loss["gce/threshold=0.5/start_epoch=2"]
    )
    same = np.asarray(loss["gce"]) == np.asarray(loss["gce/threshold=0.5"])
    assert same.any()
    assert not same[-1]


def test_a_transition_is_estimated_once(tmp_path, monkeypatch):
    data = na.datasets.load("digits", train_size=80, test_size=20)
    settings = na.analysis.NoisySettings(method="forward_correction", epochs=5, batch_size=24)
    first = na.analysis.noisy_training(data, settings, checkpoint=tmp_path)
    monkeypatch.setattr(
        "ntk_air.distillation.baselines._forward_correction.estimate_transition",
        lambda *a, **k: pytest.fail("again"),
    )
    again = na.analysis.noisy_training(data, settings, checkpoint=tmp_path)
    np.testing.assert_array_equal(first.history.loss, again.history.loss)
    other = na.analysis.NoisySettings(method="forward_correction", epochs=5, batch_size=24, seed=1)
    with pytest.raises(pytest.fail.Exception, match="again"):
        na.analysis.noisy_training(data, other, checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "magic"], "method is 'magic', expected one of self_distill"),
        (["--method", "early_stopping"], "a column here"),
        (["--method", "gce/p=0.5"], "gce takes q=VALUE"),
        (["--method", "gce/q=much"], "q of gce is 'much'"),
        (["--method", "gce", "--alpha", "0.5"], "alpha is of self_distill"),
        (["--method", "self_distill/alpha=0.5", "--alpha", "0.2"], "both say alpha"),
        (["--method", "distance_to_initialization"], "no default strength"),
        (["--alpha", "exponential"], "alpha is 'exponential'"),
        (["--alpha", "1.5"], "alpha"),
        (["--alpha", "exponential:-3"], "time_constant"),
        (["--label-fn", "soft"], "label_fn is 'soft'"),
        (["--loss", "hinge"], "loss"),
        (["--network", "vgg"], "network"),
        (["--optimizer", "lion"], "optimizer"),
        (["--precision", "int8"], "precision is 'int8'"),
        (["--augment", "crop_flip", "--network", "mlp", "--dataset", "nowhere"], "nowhere"),
        (["--noise", "loud"], "noise is 'loud'"),
        (["--validation", "1.0"], "validation"),
        (["--validation", "0.001"], "holds out 0 of 50"),
        (["--seeds", "0"], "seeds"),
        (["--epochs", "0"], "epochs"),
        (["--batch-size", "64"], "batch_size is 64"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--schedule", "warm"], "schedule is 'warm', expected constant, cosine, or steps"),
        (["--schedule", "steps:0.1"], "schedule is 'steps:0.1'"),
        (["--schedule", "steps:0.1:0.9:0.5"], "schedule is 'steps:0.1:0.9:0.5'"),
        (["--weight-decay", "-1"], "weight_decay is -1"),
    ],
)
def test_bad_input_is_one_line(flags, said, capsys):
    base = ["distill", "--train-size", "50", "--test-size", "10", "--batch-size", "25"]
    assert main([*base, *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_unknown_setting_in_the_file(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text("colour = 3\n")
    assert main(["distill", "--config", str(config)]) == 2
    assert "sets colour" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("out = 3", "sets out to 3, expected text"),
        ("checkpoint = true", "sets checkpoint to True, expected text"),
        ("classes = 3", "classes is 3, expected names"),
        ('one_by_one = "no"', "sets one_by_one to 'no', expected true or false"),
        ("learning_rate = true", "sets learning_rate to True, expected a number"),
        ('precision = "float8"', "precision is 'float8', expected bfloat16"),
    ],
)
def test_settings_of_another_type_are_one_line(line, message, tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text(f"{line}\nepochs = 1\ntrain_size = 60\nbatch_size = 30\n")
    assert main(["distill", "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
