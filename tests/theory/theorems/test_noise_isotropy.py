"""The isotropy test: size on isotropic noise, power on noise that depends on the class."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_air as na
from ntk_air.theory.theorems import _noise_energies as energies

t = na.theory
rng = np.random.default_rng(0)
LABELS = np.repeat(np.arange(10), 10)
INPUTS = rng.normal(size=(10, 12))[LABELS] + 0.5 * rng.normal(size=(100, 12))


def run(labels=LABELS, inputs=INPUTS, **options):
    small = {"width": 60, "num_draws": 60, "num_groups": 5, "seeds": 1, "contrast": None}
    return t.check_noise_isotropy(inputs, labels, **(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def few(classes, per_class):
    rows = np.flatnonzero(np.isin(LABELS, range(classes)) & (np.arange(100) % 10 < per_class))
    return LABELS[rows], INPUTS[rows]


def test_symmetric_noise_is_isotropic():
    report = run()
    assert report.verdict == "confirmed", report.to_markdown()
    assert find(report, "labels are anisotropic").measured > 10
    shares = [row["zero-mean noise"] for row in report.tables["directions"]]
    assert np.mean(shares) == pytest.approx(1)


def test_noise_that_depends_on_the_class_is_reported_and_fails():
    report = run(model="asymmetric:0.4", num_draws=120)
    assert report.verdict == "not applicable"
    assert not find(report, "equal variances").holds
    assert not find(report, "errors prefer no class").holds
    assert not find(report, "isotropic noise").holds
    assert find(report, "energy follows the variances").holds
    row = report.tables["noise"][0]
    assert row["deviation of observed - kappa clean"] > row["deviation of zero-mean part"] > 0.1


def test_a_first_direction_that_knows_no_labels_is_no_violation():
    """Groups of one direction: the first may be about anything, labels lie in those behind it."""
    inputs = np.random.default_rng(0).normal(size=(40, 5))
    labels = (inputs[:, 0] > 0).astype(int)
    groups = {"num_groups": 40, "width": 40, "num_draws": 100}
    for seed in range(3):
        report = run(labels, inputs, **groups, seeds=[seed])
        assert report.verdict == "confirmed", report.to_markdown()
    assert report.tables["directions"][0]["clean"] < 0.5


@pytest.mark.parametrize(("classes", "rate"), [(2, 0.05), (3, 0.4)])
def test_size_of_the_whole_check(classes, rate):
    """False alarms over many seeds, of few skewed draws: at most twice the level."""
    labels, inputs = few(classes, 10)
    level, runs = 0.05, 120
    verdicts = [
        run(labels, inputs, model=f"symmetric:{rate}", significance=level, seeds=[s]).verdict
        for s in range(runs)
    ]
    assert set(verdicts) <= {"confirmed", "violated"}
    # Level 0.05 rejects 12 of 120, twice the level, in one of a hundred such counts.
    assert verdicts.count("violated") <= 2 * level * runs


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.95, 0.05, 0.0], [0.0, 0.95, 0.05], [0.05, 0.0, 0.95]],
        [[0.9, 0.05, 0.05], [0.0, 1.0, 0.0], [0.1, 0.0, 0.9]],
    ],
)
def test_power_against_noise_that_depends_on_the_class(matrix):
    labels, inputs = few(3, 10)
    reports = [run(labels, inputs, model=matrix, num_draws=200, seeds=[s]) for s in range(10)]
    assert sum(not find(report, "isotropic noise").holds for report in reports) >= 9
    assert all(report.verdict == "not applicable" for report in reports)


def test_mutation_flips_that_are_not_independent(monkeypatch):
    """Noise that moves neighbours together has other energies than its rates say."""
    plain = na.noise.apply

    def paired(spec, labels, **options):
        drawn = plain(spec, labels, **options)
        moved = np.asarray(drawn.labels).copy()
        moved[1::2] = (moved[1::2] - np.asarray(labels)[1::2] + moved[::2]) % 10
        same = np.asarray(labels)[1::2] == np.asarray(labels)[::2]
        moved[1::2][same] = moved[::2][same]
        return drawn.__class__(
            labels=moved, clean=drawn.clean, flipped=drawn.flipped, transition=drawn.transition,
            rate=drawn.rate, num_classes=drawn.num_classes, model=drawn.model,
        )  # fmt: skip

    monkeypatch.setattr(energies.noise, "apply", paired)
    report = run(num_draws=200)
    assert report.verdict == "violated"
    assert not find(report, "energy follows the variances").holds


def test_mean_and_covariance_of_energies_against_enumeration():
    """Every one of the 3^4 outcomes of four points, weighted by its probability."""
    matrix = np.array([[0.7, 0.2, 0.1], [0.0, 0.6, 0.4], [0.3, 0.3, 0.4]])
    clean, code = np.array([0, 1, 2, 1]), np.eye(3) - 1 / 3
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    mean = matrix @ code
    values, weights = [], []
    for outcome in np.ndindex(3, 3, 3, 3):
        weights.append(np.prod(matrix[clean, outcome]))
        xi = code[list(outcome)] - mean[clean]
        each = np.sum((basis.T @ xi) ** 2, axis=1)
        values.append([each[:2].mean(), each[2:].mean()])
    values, weights = np.array(values), np.array(weights)
    expected = weights @ values
    covariance = (weights[:, None] * (values - expected)).T @ (values - expected)
    rows = tuple(tuple(row) for row in matrix)
    draws = energies.draw_energies(rows, basis, clean, 8, 2, 0)
    np.testing.assert_allclose(draws.expected, expected, rtol=1e-6)
    np.testing.assert_allclose(draws.covariance, covariance, rtol=1e-5)


def test_chi_square_of_a_mean_that_cannot_vary():
    covariance = np.diag([1.0, 4.0, 0.0])
    assert energies.chi_square(np.array([1.0, 2.0, 0.0]), covariance, 1.0)[:2] == (2.0, 2)
    assert energies.chi_square(np.array([1.0, 2.0, 0.1]), covariance, 1.0)[2] == 0.0
    assert energies.chi_square(np.zeros(3), np.zeros((3, 3)), 0.0) == (0.0, 0, 1.0)


def test_without_noise_nothing_is_claimed():
    report = run(model="none")
    assert report.verdict == "not applicable"
    assert not find(report, "there is noise").holds


def test_labels_that_do_not_follow_the_inputs_are_no_violation():
    report = run(np.random.default_rng(5).permutation(LABELS))
    assert report.verdict == "not applicable"
    assert not find(report, "labels follow the inputs").holds
    assert not find(report, "labels are anisotropic").holds
    assert find(report, "isotropic noise").holds


def test_mutation_of_the_order_of_directions(monkeypatch):
    from ntk_air.theory.theorems import _noise_isotropy

    plain = _noise_isotropy._basis
    monkeypatch.setattr(_noise_isotropy, "_basis", lambda *of: plain(*of)[:, ::-1])
    report = run()
    assert report.verdict == "violated"
    assert find(report, "labels are anisotropic").holds
    assert not find(report, "labels lie in the leading directions").holds


def test_transition_matrices_and_checkpoints(tmp_path):
    matrix = np.array([[0.8, 0.2], [0.2, 0.8]])
    labels, inputs = few(2, 10)
    first = run(labels, inputs, model=matrix, checkpoint=tmp_path)
    assert first.tables["noise"][0]["noise"] == "transition"
    assert run(labels, inputs, model=matrix, checkpoint=tmp_path).to_json() == first.to_json()
    assert run(labels, inputs, model=matrix).to_json() == first.to_json()
    assert first.verdict == "confirmed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 101}, "a group needs a direction"),
        ({"num_draws": 5}, "num_draws"),
        ({"model": "red:0.2"}, "noise is 'red:0.2'"),
        ({"model": [0.5, 0.5]}, "transition matrix"),
        ({"model": np.eye(3)}, "labels"),
        ({"width": 3}, "expected an even number"),
        ({"significance": 1.0}, "significance"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


@pytest.mark.parametrize("value", [1.0, 0.1, 0.0, np.nan])
def test_inputs_that_are_all_the_same(value):
    with pytest.raises(ValueError, match="equal to the mean of the points or not finite"):
        run(inputs=np.full((100, 5), value))


def test_inputs_without_labels():
    with pytest.raises(ValueError, match="together"):
        t.check_noise_isotropy(INPUTS)


def test_confirmed_on_the_default_data_quickly():
    report = na.theory.check_noise_isotropy(quick=True)
    assert report.verdict == "confirmed", report.to_markdown()
    report.raise_if_violated()
