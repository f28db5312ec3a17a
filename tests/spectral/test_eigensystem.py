"""Eigensystems: dense against Lanczos against a spectrum chosen beforehand; failures are seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from precision_table import allowed

import ntk_air as na
from ntk_air.spectral import _eigensystem


def kernel_with(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues, and its eigenvectors."""
    n = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return (q * np.asarray(eigenvalues)) @ q.T, q


class Operator:
    """What the spectral room needs of an operator, and no more."""

    def __init__(self, matrix):
        self.matrix = jnp.asarray(matrix)
        self.shape = matrix.shape
        self.dtype = self.matrix.dtype

    def __matmul__(self, v):
        return self.matrix @ v

    def diagonal(self):
        return jnp.diagonal(self.matrix)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("as_operator", [False, True])
def test_chosen_spectrum_is_recovered(method, as_operator, x64):
    values = np.geomspace(10, 1e-3, 60)
    matrix, q = kernel_with(values)
    if as_operator and method == "dense":
        with pytest.raises(ValueError, match="needs the kernel as an array"):
            na.spectral.eigendecompose(Operator(matrix), rank=7, method=method)
        return
    es = na.spectral.eigendecompose(
        Operator(matrix) if as_operator else matrix, rank=7, method=method
    )
    assert es.method == method
    np.testing.assert_allclose(es.eigenvalues, values[:7], rtol=1e-10)
    projector = es.eigenvectors @ es.eigenvectors.T
    np.testing.assert_allclose(projector, q[:, :7] @ q[:, :7].T, atol=1e-8)
    np.testing.assert_allclose(es.trace, values.sum(), rtol=1e-12)
    direct = np.linalg.norm(matrix @ es.eigenvectors - es.eigenvalues * es.eigenvectors, axis=0)
    np.testing.assert_allclose(es.residuals, direct, atol=1e-12)


@pytest.mark.parametrize("values", [[3.0] * 5 + [2.0] * 4 + [0.5] * 31, [1.0] * 40])
def test_lanczos_finds_every_copy_of_an_equal_eigenvalue(values):
    matrix, _ = kernel_with(values)
    es = na.spectral.eigendecompose(matrix.astype(np.float32), rank=9, method="lanczos")
    tolerance = allowed("spectral.eigendecompose: eigenvalues", method="lanczos")
    np.testing.assert_allclose(es.eigenvalues, values[:9], atol=tolerance * values[0], rtol=0)
    np.testing.assert_allclose(es.eigenvalues, values[:9], rtol=1e-4)
    gram = np.asarray(es.eigenvectors.T @ es.eigenvectors)
    overlap = allowed("spectral.subspace_overlap: with itself")
    np.testing.assert_allclose(gram, np.eye(9), atol=overlap)


def test_lanczos_equals_dense_on_a_real_kernel():
    data = na.datasets.load("digits", train_size=500).flattened()
    kernel = na.kernels.infinite_ntk(na.kernels.fully_connected(2, 8), data.train_inputs)
    dense = na.spectral.eigendecompose(kernel, rank=20, method="dense")
    lanczos = na.spectral.eigendecompose(kernel, rank=20, method="lanczos")
    top = float(dense.eigenvalues[0])
    tolerance = allowed("spectral.eigendecompose: eigenvalues")
    assert np.abs(dense.eigenvalues - lanczos.eigenvalues).max() < tolerance * top
    overlap = float(na.spectral.subspace_overlap(dense, lanczos, 20))
    assert overlap > 1 - allowed("spectral.subspace_overlap: with itself")
    assert float(lanczos.residuals.max()) < 1e-4 * top


def test_trusted_rank_counts_what_stands_above_round_off():
    matrix, _ = kernel_with([1.0, 1e-2, 1e-4, 1e-9, 1e-12])
    es = na.spectral.eigendecompose(matrix.astype(np.float32))
    assert es.trusted_rank == 3


def test_auto_takes_lanczos_only_where_it_pays():
    matrix, _ = kernel_with(np.linspace(2, 1, 50))
    assert na.spectral.eigendecompose(matrix, rank=2).method == "dense"
    big = np.diag(np.geomspace(1, 1e-6, 1200)).astype(np.float32)
    assert na.spectral.eigendecompose(big, rank=3).method == "lanczos"


def test_zeros_from_lanczos_are_caught(monkeypatch):
    def broken(kernel, rank, **_):
        return jnp.ones(rank), jnp.zeros((30, rank)), jnp.zeros(rank)

    monkeypatch.setattr(_eigensystem, "lanczos_eigh", broken)
    with pytest.raises(RuntimeError, match="lanczos eigensolver failed"):
        na.spectral.eigendecompose(np.eye(30), rank=3, method="lanczos")


@pytest.mark.parametrize("at", [(0, 299), (200, 130), (299, 298)])
@pytest.mark.parametrize("bad", ["asymmetric", "nan"])
def test_one_bad_entry_is_found_wherever_it_is(at, bad):
    matrix = np.eye(300, dtype=np.float32)
    matrix[at] = 1e-3 if bad == "asymmetric" else np.nan
    with pytest.raises(ValueError, match="not symmetric" if bad == "asymmetric" else "NaN"):
        na.spectral.eigendecompose(matrix, rank=3)


@pytest.mark.parametrize(
    ("kernel", "options", "match"),
    [
        (np.zeros((3, 4)), {}, "expected a square matrix"),
        (np.zeros((3, 3)), {}, "zero everywhere"),
        (np.zeros((0, 0)), {}, "at least one point"),
        (np.full((3, 3), np.inf), {}, "NaN or infinite"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), {}, "not symmetric"),
        (np.eye(3), {"rank": 4}, "rank is 4"),
        (np.eye(3), {"rank": 0}, "rank is 0"),
        (np.eye(3), {"method": "power"}, "method is 'power'"),
        (np.eye(3), {"method": "dense", "tolerance": 1e-6}, "no effect on method='dense'"),
        (np.eye(3), {"method": "dense", "key": jax.random.key(1)}, "no effect on method='dense'"),
        (Operator(np.eye(3)), {}, "operator needs rank="),
    ],
)
def test_bad_inputs(kernel, options, match):
    with pytest.raises(ValueError, match=match):
        na.spectral.eigendecompose(kernel, **options)


def test_eigensystem_is_a_pytree_and_survives_a_file(tmp_path):
    matrix, _ = kernel_with(np.linspace(2, 1, 6))
    es = na.spectral.eigendecompose(matrix)
    doubled = jax.jit(lambda e: jax.tree.map(lambda a: 2 * a, e))(es)
    np.testing.assert_allclose(doubled.eigenvalues, 2 * es.eigenvalues)
    back = na.load(na.save(es, tmp_path / "es.na"))
    assert back.trusted_rank == es.trusted_rank
    assert back.method == es.method
    np.testing.assert_array_equal(back.eigenvectors, es.eigenvectors)
