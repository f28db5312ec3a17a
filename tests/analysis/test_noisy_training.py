"""Methods for noisy labels as a library call; numbers are tested through ``ntk-air distill``."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from processes import run

import ntk_air as na

# Two networks in one, and a first training for the second.
TWO_LOOPS = ("co_teaching", "forward_correction")
SMALL = {"epochs": 2, "batch_size": 20, "noise": "symmetric:0.3", "validation": 0.25}


@pytest.fixture(scope="module")
def digits():
    return na.datasets.load("digits", train_size=80, test_size=40, seed=3)


@pytest.fixture(scope="module")
def training(digits):
    settings = na.analysis.NoisySettings(**SMALL, method="self_distill/alpha=0.5", seeds=2)
    return na.analysis.noisy_training(digits, settings)


def test_points_noise_and_columns(training, digits):
    assert (training.num_points, training.num_held_out) == (60, 20)
    draws = [
        na.noise.apply("symmetric:0.3", digits.train_labels, num_classes=10, seed=s) for s in (0, 1)
    ]
    wrong = [
        np.mean(np.asarray(d.labels)[:60] != np.asarray(digits.train_labels)[:60]) for d in draws
    ]
    np.testing.assert_allclose(training.noise_rate, wrong, rtol=1e-6)
    assert training.history.step.tolist() == [0, 1, 2, 3, 6]
    assert training.history.test_accuracy.shape == training.held_out_accuracy.shape == (2, 5)
    np.testing.assert_allclose(training.history.alpha, 0.5)


def test_the_last_held_out_accuracy_is_that_of_the_final_parameters(training, digits):
    module = na.networks.create("mlp", num_outputs=10)
    inputs = digits.standardized().train_inputs[60:]
    for seed in (0, 1):
        labels = na.noise.apply(
            "symmetric:0.3", digits.train_labels, num_classes=10, seed=seed
        ).labels
        outputs = module.apply(training.replica(seed).params, inputs)
        accuracy = np.mean(np.asarray(outputs).argmax(1) == np.asarray(labels)[60:])
        assert training.held_out_accuracy[seed, -1] == pytest.approx(accuracy)
    summary = na.analysis.noisy_training_summary(training)
    stop = np.asarray(training.held_out_accuracy).argmax(1)
    at_stop = np.asarray(training.history.test_accuracy)[[0, 1], stop]
    np.testing.assert_allclose(summary["stopped"]["test_accuracy"]["each"], at_stop, atol=1e-6)


def test_it_can_be_saved(training, tmp_path):
    na.save(training, tmp_path / "training.ntkair")
    again = na.load(tmp_path / "training.ntkair")
    assert (again.num_points, again.num_held_out) == (60, 20)
    jax.tree.map(np.testing.assert_array_equal, again, training)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "gce", "alpha": "0.5"}, "alpha is of self_distill"),
        ({"epochs": 0}, "epochs"),
        ({"validation": 1.0}, "validation"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"network": "perceptron"}, "network"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        na.analysis.NoisySettings(**settings)


def test_seeds_share_the_devices(digits):
    """In a process of its own; the file is its program."""
    for line, method in zip(run([__file__], devices=2).splitlines(), TWO_LOOPS, strict=True):
        devices, *losses = line.split()
        assert devices == "2"
        settings = na.analysis.NoisySettings(**SMALL, method=method, seeds=2)
        here = na.analysis.noisy_training(digits, settings).history.loss[:, -1]
        np.testing.assert_allclose([float(loss) for loss in losses], here, rtol=2e-4)


def over_two_devices():
    points = na.datasets.load("digits", train_size=80, test_size=40, seed=3)
    for method in TWO_LOOPS:
        settings = na.analysis.NoisySettings(**SMALL, method=method, seeds=2)
        found = na.analysis.noisy_training(points, settings)
        leaf = jax.tree.leaves(found.params)[0]
        print(len(leaf.sharding.device_set), *found.history.loss[:, -1].tolist())


if __name__ == "__main__":
    over_two_devices()


def test_augmentation_of_points_that_are_no_images_is_refused(digits):
    settings = na.analysis.NoisySettings(**SMALL, augment="crop")
    with pytest.raises(ValueError, match=r"^augment 'crop' is for images \(n, H, W, channels\)"):
        na.analysis.noisy_training(digits.flattened(), settings)
