"""AIR profiles: against NumPy sums, isotropy of real noise, and what bounds them."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from precision_table import allowed
from test_eigensystem import kernel_with

import ntk_air as na


def labels(n, c, rate, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, c, n)
    noisy = na.noise.symmetric(clean, rate, num_classes=c, seed=seed)
    return (
        np.asarray(na.datasets.encode(clean, c), np.float64),
        np.asarray(na.datasets.encode(noisy.labels, c), np.float64),
        noisy.retention,
    )


@pytest.mark.parametrize("rank", [None, 15])
@pytest.mark.parametrize("given", [True, False])
def test_every_field_equals_numpy_sums(given, rank, x64):
    n = 40
    matrix, q = kernel_with(np.linspace(3, 1, n))
    y, observed, kappa = labels(n, 4, 0.3)
    y = y * np.linspace(1, 2, n)[:, None]  # of unequal norm too
    q = q[:, : rank or n]
    profile = na.spectral.air_profile(
        na.spectral.eigendecompose(matrix, rank=rank),
        y,
        observed,
        retention=kappa if given else None,
    )
    kappa = kappa if given else (y * observed).sum() / (y**2).sum()
    xi = observed - kappa * y
    s = ((q.T @ y) ** 2).sum(1) / (y**2).sum()
    e = ((q.T @ xi) ** 2).sum(1) / (xi**2).sum()
    along = ((y * xi).sum(1) ** 2).sum() / (y**2).sum() * n / (n - 1)
    taken = 0.0 if given else along / ((xi**2).sum() + along)
    k = np.arange(1, len(s) + 1)
    isotropic = (k / n - taken * np.cumsum(s)) / (1 - taken)
    fields = {
        "signal_energy": s,
        "noise_energy": e,
        "cumulative_signal": np.cumsum(s),
        "cumulative_noise": np.cumsum(e),
        "index": np.mean(np.cumsum(s) - np.cumsum(e)),
        "retention": kappa,
        "isotropy_deviation": np.abs(np.cumsum(e) - isotropic).max(),
        "expected_noise": isotropic,
        "taken": taken,
    }
    assert {f.name for f in dataclasses.fields(profile)} == set(fields)
    for name, values in fields.items():
        np.testing.assert_allclose(getattr(profile, name), values, atol=1e-10, err_msg=name)
    for k in (1, 5, len(s)):
        noise = (1 - taken) * e[:k].sum() + taken * s[:k].sum()
        np.testing.assert_allclose(profile.ratio(k), s[:k].sum() / noise, rtol=1e-9)


@settings(max_examples=8, deadline=None)
@given(n=st.integers(5, 40), c=st.integers(2, 6), seed=st.integers(0, 99))
def test_energies_are_fractions(n, c, seed):
    matrix, _ = kernel_with(np.linspace(3, 1, n), seed)
    y, observed, kappa = labels(n, c, 0.4, seed)
    profile = na.spectral.air_profile(
        na.spectral.eigendecompose(matrix), y, observed, retention=kappa
    )
    for field in ("cumulative_signal", "cumulative_noise"):
        tolerance = allowed(f"spectral.air_profile: {field}", condition=1e2)
        assert float(getattr(profile, field)[-1]) == pytest.approx(1, abs=tolerance)
    assert -1 <= float(profile.index) <= 1


def test_symmetric_noise_is_isotropic_and_signal_is_not():
    data = na.datasets.load("digits").standardized().flattened(unit_norm="sqrt_d")
    kernel = na.kernels.infinite_ntk(na.kernels.fully_connected(1, 8), data.train_inputs)
    es = na.spectral.eigendecompose(kernel)
    noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
    profile = na.spectral.air_profile(
        es,
        na.datasets.encode(data.train_labels, 10),
        na.datasets.encode(noisy.labels, 10),
        retention=noisy.retention,
    )
    # The largest deviation of a uniform empirical sum over n·(C−1) terms, 5 standard errors.
    assert float(profile.isotropy_deviation) < 0.05
    assert float(profile.ratio(50)) > 10
    assert float(profile.index) > 0.4


def test_least_squares_retention_and_no_noise():
    matrix, _ = kernel_with(np.linspace(3, 1, 200))
    es = na.spectral.eigendecompose(matrix)
    y, observed, _ = labels(200, 5, 0.3)
    profile = na.spectral.air_profile(es, y, observed)
    exact = (y * observed).sum() / (y**2).sum()
    assert float(profile.retention) == pytest.approx(exact, rel=allowed("spectral.retention_of"))
    clean = na.spectral.air_profile(es, y, y)
    assert float(clean.retention) == 1.0
    assert not np.asarray(clean.noise_energy).any()


@pytest.mark.parametrize("classes", [2, 4])
def test_a_measured_retention_goes_with_its_own_expectation(classes, x64):
    """Against the mean over 4000 draws of the same noise, in NumPy."""
    n, rate, draws = 60, 0.3, 4000
    matrix, q = kernel_with(np.linspace(3, 1, n))
    rng = np.random.default_rng(0)
    labels = (q[:, 0] > 0) * 1 + (classes > 2) * 2 * (q[:, 1] > 0)
    code = np.eye(classes) - 1 / classes
    wrong = rng.random((draws, n)) < rate
    others = (labels + rng.integers(1, classes, (draws, n))) % classes
    y, seen = code[labels], code[np.where(wrong, others, labels)]
    kappa = np.einsum("nc,dnc->d", y, seen) / (y**2).sum()
    xi = seen - kappa[:, None, None] * y
    energy = np.einsum("nk,dnc->dkc", q, xi, optimize=True) ** 2
    mean = np.cumsum(energy.sum(2).mean(0)) / energy.sum((1, 2)).mean()
    es = na.spectral.eigendecompose(matrix)
    profiles = [na.spectral.air_profile(es, y, seen[d]) for d in range(30)]
    expected = np.mean([p.expected_noise for p in profiles], axis=0)
    scatter = np.cumsum(energy.sum(2), axis=1).std(0) / energy.sum((1, 2)).mean() / draws**0.5
    assert abs(mean[0] - 1 / n) > 6 * scatter[0]  # k/n is not it
    assert (np.abs(expected - mean) <= 4 * scatter + 1e-9).all()
    first = profiles[0]
    deviation = np.abs(np.asarray(first.cumulative_noise) - np.asarray(first.expected_noise)).max()
    np.testing.assert_allclose(first.isotropy_deviation, deviation, rtol=1e-12)
    given = na.spectral.air_profile(es, y, seen[0], retention=0.6)
    np.testing.assert_allclose(given.expected_noise, np.arange(1, n + 1) / n, rtol=1e-12)
    assert float(given.taken) == 0


def test_ratio_of_labels_in_one_direction_is_the_number_of_points(x64):
    """One output of ±1: E[N_k] = (k − S_k)/(n − 1), and 1/n of the noise lay along y."""
    u = np.r_[np.ones(40), -np.ones(40)][:, None]
    es = na.spectral.eigendecompose(u @ u.T + np.diag(np.linspace(1, 2, 80)))
    rng = np.random.default_rng(0)
    seen = u * np.where(rng.random((80, 1)) < 0.2, -1, 1)
    found = na.spectral.air_profile(es, u, seen)
    signal = np.asarray(found.cumulative_signal)
    exact = (np.arange(1, 81) - signal) / 79
    np.testing.assert_allclose(found.expected_noise, exact, atol=1e-12)
    flat = na.spectral.air_profile(na.spectral.eigendecompose(u @ u.T + np.eye(80)), u, seen)
    np.testing.assert_allclose(flat.ratio(1), 80, rtol=1e-9)
    none = na.spectral.air_profile(es, u, u)
    assert float(none.ratio(80)) == np.inf
    assert np.isnan(float(na.spectral.air_profile(es, 0 * u, 0 * u).ratio(3)))
    # Nothing that is kept tells nothing of how much is.
    assert float(na.spectral.air_profile(es, 0 * u, u).retention) == 1.0


def test_ratio_counts_noise_of_the_size_of_round_off_as_none(x64):
    """Round-off squared, 5e-32, in each of k r terms."""
    one = np.ones(2)
    found = na.spectral.AIRProfile(
        one, one, np.array([0.5, 1.0]), np.array([9e-32, 1.0]), one[0], one[0], one[0]
    )
    assert float(found.ratio(1)) == np.inf
    above = dataclasses.replace(found, cumulative_noise=np.array([1e-30, 1.0]))
    np.testing.assert_allclose(above.ratio(1), 0.5e30)
    np.testing.assert_allclose(found.ratio(2), 1.0)


@pytest.mark.parametrize("retention", [None, 0.6])
def test_shares_do_not_depend_on_the_scale_of_the_labels(retention):
    matrix, _ = kernel_with(np.linspace(3, 1, 30))
    es = na.spectral.eigendecompose(matrix.astype(np.float32))
    y, seen, _ = labels(30, 3, 0.3)
    plain = na.spectral.air_profile(es, y, seen, retention=retention)
    for scale in (1e-40, 1e-30, 1e-19, 1e18, 1e37):
        found = na.spectral.air_profile(es, y * scale, seen * scale, retention=retention)
        for name in ("signal_energy", "noise_energy", "cumulative_noise", "index", "retention",
                     "isotropy_deviation", "expected_noise", "taken"):  # fmt: skip
            np.testing.assert_allclose(
                getattr(found, name), getattr(plain, name), atol=2e-6, err_msg=f"{name} {scale}"
            )
        tolerance = allowed("spectral.air_profile: cumulative_noise", condition=1e2)
        tolerance = min(tolerance / float(plain.cumulative_noise[3]), 1e-4)
        np.testing.assert_allclose(found.ratio(4), plain.ratio(4), rtol=tolerance)


def test_profiles_of_older_files_load(tmp_path):
    matrix, _ = kernel_with(np.linspace(3, 1, 20))
    y, seen, _ = labels(20, 3, 0.3)
    whole = na.spectral.air_profile(na.spectral.eigendecompose(matrix), y, seen, retention=0.5)
    path = na.save(whole, tmp_path / "profile")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["manifest.json"])
    for name in ("expected_noise", "taken"):
        del manifest["tree"]["fields"][name]
    parts["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "old", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    old = na.load(tmp_path / "old")
    assert old.expected_noise is None
    np.testing.assert_allclose(old.ratio(5), whole.ratio(5), rtol=1e-6)
    line = na.plots.air_profile(old, num_points=20, ax=Figure().add_subplot()).lines[2]
    np.testing.assert_allclose(line.get_ydata(), np.arange(1, 21) / 20)


def test_project_and_bad_inputs():
    matrix, q = kernel_with(np.linspace(3, 1, 8))
    es = na.spectral.eigendecompose(matrix)
    y = np.random.default_rng(0).normal(size=(8, 2))
    coefficients = np.asarray(na.spectral.project(es, y))
    np.testing.assert_allclose(np.abs(coefficients), np.abs(q.T @ y), atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \(n, C\)"):
        na.spectral.project(es, y[:, 0])
    with pytest.raises(ValueError, match="length 8"):
        na.spectral.project(es, y[:5])
    with pytest.raises(ValueError, match="expected equal shapes"):
        na.spectral.air_profile(es, y, y[:, :1])
    profile = na.spectral.air_profile(es, y, y + 1)
    with pytest.raises(ValueError, match="k is 9"):
        profile.ratio(9)


def test_measures_against_direct_formulas(x64):
    values = np.linspace(3, 1, 30)
    matrix, _ = kernel_with(values)
    es = na.spectral.eigendecompose(matrix)
    y = np.random.default_rng(0).normal(size=(30, 3))
    hat = matrix @ np.linalg.inv(matrix + 0.7 * np.eye(30))
    np.testing.assert_allclose(na.spectral.effective_dimension(es, 0.7), np.trace(hat), rtol=1e-10)
    complexity = np.sqrt(np.trace(y.T @ np.linalg.solve(matrix, y)) * np.trace(matrix)) / 30
    np.testing.assert_allclose(na.spectral.supervision_complexity(es, y), complexity, rtol=1e-10)
    gram = y @ y.T
    alignment = (matrix * gram).sum() / np.linalg.norm(matrix) / np.linalg.norm(gram)
    np.testing.assert_allclose(
        na.spectral.kernel_target_alignment(matrix, y), alignment, rtol=1e-10
    )
    assert float(na.spectral.subspace_overlap(es, es, 5)) == pytest.approx(1)
    flipped = na.spectral.eigendecompose(-matrix + 4 * np.eye(30))
    assert float(na.spectral.subspace_overlap(es, flipped, 15)) == pytest.approx(0, abs=1e-9)
    for k in (2.5, 0, 31, None):
        with pytest.raises(ValueError, match=f"k is {k}, expected a whole number"):
            na.spectral.subspace_overlap(es, es, k)


def test_supervision_complexity_refuses_a_singular_kernel():
    matrix, _ = kernel_with([1.0, 0.5, 0.0])
    es = na.spectral.eigendecompose(matrix)
    with pytest.raises(ValueError, match="above round-off"):
        na.spectral.supervision_complexity(es, np.ones((3, 1)))


@pytest.mark.parametrize("factor", [1.0, 0.0, -1.0, 0.6])
def test_what_is_not_there_is_not_anisotropic(factor):
    """A multiple of the clean labels is no noise, whichever κ is measured."""
    x = np.random.default_rng(0).normal(size=(30, 3))
    es = na.spectral.eigendecompose(np.exp(-((x[:, None] - x) ** 2).sum(-1)))
    y = np.where(x[:, :1] > 0, 1.0, -1.0)
    profile = na.spectral.air_profile(es, y, factor * y)
    assert np.isnan(profile.isotropy_deviation)
    assert not np.asarray(profile.noise_energy).any()
    given = na.spectral.air_profile(es, y, factor * y, retention=0.6)
    assert np.isnan(given.isotropy_deviation) == (factor == 0.6)


def test_a_profile_reads_the_eigenvectors_once():
    """With many points the product with them is all that a profile costs."""
    clean, observed, _ = labels(23, 3, 0.2)
    es = na.spectral.eigendecompose(kernel_with(np.linspace(3.0, 1.0, 23))[0])

    def energy(vectors):
        seen = dataclasses.replace(es, eigenvectors=vectors)
        return na.spectral.air_profile(seen, clean, observed).noise_energy

    assert str(jax.make_jaxpr(energy)(es.eigenvectors)).count("dot_general") == 1
