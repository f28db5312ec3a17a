"""The teacher's stopping time: closed forms and complexities against NumPy, and what is seen."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import ntk_air as na
from ntk_air.analysis import teacher_student, teacher_student_summary

SEEDS = 3


@pytest.fixture(scope="module")
def dataset():
    digits = na.datasets.load("digits", train_size=150)
    return digits.standardized(per_image=True).flattened(unit_norm="sqrt_d")


def noise(dataset, rate):
    labels = dataset.train_labels
    return [na.noise.symmetric(labels, rate, num_classes=10, seed=g) for g in range(SEEDS)]


@pytest.fixture(scope="module")
def study(dataset):
    return teacher_student(
        dataset, noise(dataset, 0.4), num_seeds=SEEDS, width=32, teacher_steps=400,
        student_steps=200, checkpoints=[1, 4, 16, 64, 400], batch_size=50, smoothing=(0.0, 0.2),
    )  # fmt: skip


def test_with_noise_the_best_teacher_stops_in_between(study):
    numbers = teacher_student_summary(study)
    best = numbers["students"][0]["maximum"]
    assert best["inside"]
    assert 0 < best["index"] < 4
    # A student of the converged teacher sees the observed labels, as training on them does.
    last = np.asarray(study.students.test_accuracy)[:, -1, 0, -1].mean()
    smoothed = np.asarray(study.smoothed.test_accuracy)[..., -1].mean(axis=0)
    assert np.all(best["value"]["mean"] > smoothed + 0.05)
    assert last == pytest.approx(smoothed[0], abs=0.08)


def test_complexity_by_numpy(dataset, study):
    """Under the first student's NTK, from the derivatives of one hidden layer by hand."""
    network = na.kernels.fully_connected(1, 32, num_outputs=10, weight_std=1.4, bias_std=0.1)
    key = jax.random.split(jax.random.key(0), (2, SEEDS))[1, 0]
    leaves = jax.tree.leaves(jax.jit(lambda key: network.init_fn(key, (-1, 64))[1])(key))
    weights = [np.asarray(leaf, np.float64) for leaf in leaves if leaf.ndim == 2]
    first, last = (w for w in weights if w.shape[0] > 1)
    bias = next(np.asarray(leaf, np.float64).ravel() for leaf in leaves if leaf.size == 32)
    x = np.asarray(dataset.train_inputs, np.float64)
    hidden = 1.4 / np.sqrt(64) * x @ first + 0.1 * bias
    active = np.maximum(hidden, 0)
    kernel = 1.4**2 / 32 * active @ active.T + 0.1**2
    for column in last.T:
        slope = 1.4 / np.sqrt(32) * (hidden > 0) * column
        kernel += slope @ slope.T * (1.4**2 / 64 * x @ x.T + 0.1**2) / 10
    for labels, found in (
        (noise(dataset, 0.4)[0].labels, study.observed_complexity[0]),
        (dataset.train_labels, study.clean_complexity[0]),
    ):
        y = np.eye(10)[np.asarray(labels)] - 0.1
        quadratic = np.trace(y.T @ np.linalg.solve(kernel, y))
        expected = np.sqrt(quadratic * np.trace(kernel)) / len(x)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_complexity_grows_with_the_teachers_time(study):
    complexity = np.asarray(study.complexity)[..., 0]
    assert complexity.shape == (SEEDS, 5)
    assert np.all(np.diff(complexity, axis=1) > 0)
    assert np.all(complexity[:, -1] < study.observed_complexity)
    assert np.all(study.clean_complexity < study.observed_complexity)


def test_closed_form_is_heavy_ball_in_function_space(dataset, study):
    network = na.kernels.fully_connected(1, 32, num_outputs=10, weight_std=1.4, bias_std=0.1)
    kernel = np.asarray(na.kernels.infinite_ntk(network, dataset.train_inputs), np.float64)
    cross = np.asarray(
        na.kernels.infinite_ntk(network, dataset.test_inputs, dataset.train_inputs), np.float64
    )
    share = 50 / 150
    rate = 1 / (3 * np.linalg.eigvalsh(kernel)[-1] * share)
    assert study.learning_rate == pytest.approx(rate, rel=1e-4)

    def trained(target, steps):
        """Outputs on training points and test points."""
        dual, velocity = np.zeros_like(target), np.zeros_like(target)
        for _ in range(steps):
            velocity = 0.9 * velocity + target - kernel @ dual
            dual = dual + rate * share * velocity
        return kernel @ dual, cross @ dual

    observed = np.eye(10)[np.asarray(noise(dataset, 0.4)[1].labels)] - 0.1
    for s, steps in ((1, 4), (3, 64)):
        teacher, teacher_test = trained(observed, steps)
        _, student_test = trained(teacher, 200)
        for outputs, found in (
            (teacher_test, study.predicted_teacher),
            (student_test, study.predicted),
        ):
            accuracy = np.mean(outputs.argmax(1) == np.asarray(dataset.test_labels))
            # One test point may lie on the border between two classes.
            assert found[1, s] == pytest.approx(accuracy, abs=1.01 / len(dataset.test_labels))
    np.testing.assert_allclose(
        study.times, rate * share / (1 - 0.9) * np.array([1, 4, 16, 64, 400]), rtol=1e-4
    )


def test_summary_counts_by_seed(study, tmp_path):
    numbers = teacher_student_summary(study)
    last = np.asarray(study.students.test_accuracy, np.float64)[:, :, 0, -1]
    best = last.mean(0).argmax()
    found = numbers["students"][0]["maximum"]
    assert found["index"] == best
    gap = last[:, best] - last[:, 0]
    assert found["above"]["first"]["mean"] == pytest.approx(gap.mean())
    assert found["above"]["first"]["sd"] == pytest.approx(np.std(gap, ddof=1))
    monotone = dataclasses.replace(
        study, students=dataclasses.replace(
            study.students, test_accuracy=np.sort(np.asarray(study.students.test_accuracy), axis=1)
        ),
    )  # fmt: skip
    assert not teacher_student_summary(monotone)["students"][0]["maximum"]["inside"]
    chosen = np.abs(np.log(np.asarray(study.times)) - np.log(study.stopping_time[0])).argmin()
    stopped = numbers["predicted"]["teacher_test_accuracy_at_stopping_time"]
    assert len(study.stopping_time) == SEEDS
    assert np.asarray(study.teacher.test_accuracy)[0, chosen] <= 1
    assert 0 <= stopped["mean"] <= 1
    loaded = na.load(na.save(study, tmp_path / "study.zip"))
    assert teacher_student_summary(loaded) == numbers


def test_cross_entropy_without_noise(dataset):
    study = teacher_student(
        dataset, noise(dataset, 0.0)[0], loss="cross_entropy", num_seeds=2, width=32,
        teacher_steps=150, checkpoints=[1, 20, 150], temperatures=(1.0, 4.0), smoothing=(0.1,),
        batch_size=None,
    )  # fmt: skip
    assert study.predicted is None
    assert study.noise_rate.tolist() == [0, 0]
    last = np.asarray(study.students.test_accuracy)[..., -1].mean(axis=0)
    assert np.all(last[-1] > last[0] + 0.1), "without noise the longest teacher is no worse"
    numbers = teacher_student_summary(study)
    assert [one["temperature"] for one in numbers["students"]] == [1.0, 4.0]
    assert "predicted" not in numbers


def test_bad_input(dataset):
    draws = noise(dataset, 0.4)
    with pytest.raises(ValueError, match="noisy holds 3 draws"):
        teacher_student(dataset, draws, num_seeds=2)
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        teacher_student(dataset, draws[0], loss="hinge")
    with pytest.raises(ValueError, match="momentum is 1"):
        teacher_student(dataset, draws[0], momentum=1.0)
    with pytest.raises(ValueError, match="num_seeds is 0"):
        teacher_student(dataset, draws[0], num_seeds=0)
    with pytest.raises(ValueError, match="the budget is 1000 bytes"):
        teacher_student(dataset, draws[0], memory_budget=1000)
    with pytest.raises(ValueError, match="smoothing is empty, expected at least one weight"):
        teacher_student(dataset, draws[0], smoothing=())
    with pytest.raises(ValueError, match="batch_size is 151"):
        teacher_student(dataset, draws[0], batch_size=151)
    empty = dataclasses.replace(
        dataset, test_inputs=dataset.test_inputs[:0], test_labels=dataset.test_labels[:0]
    )
    with pytest.raises(ValueError, match="no test points"):
        teacher_student(empty, draws[0])
