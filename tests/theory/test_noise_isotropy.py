"""The isotropy test: right size on isotropic noise, power on noise that depends on the class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ntk_air as na
from ntk_air.theory._noise_isotropy import hotelling

t = na.theory
rng = np.random.default_rng(0)
LABELS = np.repeat(np.arange(10), 10)
INPUTS = rng.normal(size=(10, 12))[LABELS] + 0.5 * rng.normal(size=(100, 12))


def run(**options):
    small = {"width": 60, "num_draws": 60, "num_groups": 5, "seeds": 1, "contrast": None}
    return t.check_noise_isotropy(INPUTS, LABELS, **(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def test_symmetric_noise_is_isotropic():
    report = run()
    assert report.verdict == "confirmed", report.to_markdown()
    assert find(report, "labels are anisotropic").measured > 2
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


def test_hotelling_against_a_whitened_chi_square():
    samples = rng.normal(size=(5000, 4)) @ rng.normal(size=(4, 4))
    statistic, chance = hotelling(samples, np.zeros(4))
    white = np.linalg.inv(np.linalg.cholesky(np.cov(samples[:, :3], rowvar=False)))
    expected = 5000 * np.sum((white @ samples.mean(0)[:3]) ** 2)
    assert statistic == pytest.approx(expected)
    assert chance == pytest.approx(stats.chi2.sf(expected, 3), abs=0.01)
    assert hotelling(samples + 1.0, np.zeros(4))[1] < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 101}, "a group needs a direction"),
        ({"num_draws": 5}, "num_draws"),
        ({"model": "red:0.2"}, "noise is 'red:0.2'"),
        ({"width": 3}, "expected an even number"),
        ({"significance": 1.0}, "significance"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_inputs_without_labels():
    with pytest.raises(ValueError, match="together"):
        t.check_noise_isotropy(INPUTS)
