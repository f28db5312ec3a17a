"""Dense eigensolvers: which one a size gets, and what happens when one fails."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from precision_table import allowed

import ntk_air as na
from ntk_air.spectral import _dense

N = 30
VALUES = np.linspace(2, 1, N)


@pytest.fixture
def matrix():
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))
    return ((q * VALUES) @ q.T).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "platform", "wide", "names"),
    [
        (2, "cpu", False, ("jax",)),
        # 1 + 6n + 2n² = 2 147 418 109, below 2³¹: the last size that 32 bits count.
        (32_766, "cpu", False, ("jax",)),
        (32_767, "cpu", True, ("numpy",)),
        (32_767, "cpu", False, ("scipy",)),
        (60_000, "cpu", True, ("numpy",)),
        # 60 000² float32 are 14 GB: no limit of 2³¹ bytes.
        (60_000, "gpu", True, ("jax", "numpy")),
        (60_000, "gpu", False, ("jax", "scipy")),
        (1_000, "gpu", False, ("jax", "numpy")),
        (1_000, "tpu", True, ("jax", "numpy")),
    ],
)
def test_the_solver_is_chosen_by_size_place_and_what_is_installed(size, platform, wide, names):
    assert _dense.dense_solvers(size, platform, wide_numpy=wide) == names


def test_the_limit_is_that_of_the_workspace_of_lapack():
    def workspace(n):
        return 1 + 6 * n + 2 * n**2

    sizes = [n for n in range(32_000, 33_000) if workspace(n) < 2**31]
    largest = max(sizes)
    assert _dense.dense_solvers(largest, "cpu", wide_numpy=True) == ("jax",)
    assert _dense.dense_solvers(largest + 1, "cpu", wide_numpy=True) == ("numpy",)


def test_numpys_lapack_counts_as_numpy_says():
    lapack = np.show_config(mode="dicts")["Build Dependencies"]["lapack"]
    said = lapack.get("openblas configuration", "") + lapack["name"]
    if "openblas" not in said.lower():
        pytest.skip("NumPy was built with another LAPACK than OpenBLAS")
    assert _dense.numpy_counts_in_64_bits() == ("USE64BITINT" in said)


@pytest.mark.parametrize("wide", [True, False])
def test_a_size_past_32_bits_is_solved_on_the_host_and_said(matrix, wide, monkeypatch):
    monkeypatch.setattr(_dense, "_TOO_LARGE_FOR_32_BITS", N)
    monkeypatch.setattr(_dense, "numpy_counts_in_64_bits", lambda: wide)

    def refused(*_, **__):
        raise AssertionError("JAX's solver was called")

    monkeypatch.setattr(jnp.linalg, "eigh", refused)
    with pytest.warns(UserWarning, match="NumPy's" if wide else "SciPy's evr driver"):
        es = na.spectral.eigendecompose(matrix)
    np.testing.assert_allclose(es.eigenvalues, VALUES, rtol=1e-5)
    assert es.method == "dense"
    assert isinstance(es.eigenvectors, jax.Array)
    assert float(es.residuals.max()) < 1e-5


def _zeros(kernel, **_):
    """CUDA's eigensolver has returned zeros without an error on a 60 000-point kernel."""
    return jnp.linspace(1, 2, N), jnp.zeros((N, N))


def _wrong(kernel, **_):
    values, vectors = np.linalg.eigh(np.asarray(kernel))
    return jnp.asarray(values[::-1].copy()), jnp.asarray(vectors)


def _nan(kernel, **_):
    """What JAX's has returned on CPUs from 32 767 points on."""
    return jnp.full(N, jnp.nan), jnp.full((N, N), jnp.nan)


def _raises(kernel, **_):
    raise jax.errors.JaxRuntimeError("INTERNAL: cuSolver invalid value error")


BROKEN = [_zeros, _wrong, _nan, _raises]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_solver_that_fails_on_an_accelerator_gives_way_to_the_hosts(matrix, broken, monkeypatch):
    monkeypatch.setattr(jnp.linalg, "eigh", broken)
    monkeypatch.setattr(_dense, "platform_of", lambda kernel: "gpu")
    with pytest.warns(UserWarning, match=r"failed on the gpu \(.*using NumPy's, on the host"):
        es = na.spectral.eigendecompose(matrix, rank=20)
    tolerance = allowed("spectral.eigendecompose: eigenvalues", method="dense")
    np.testing.assert_allclose(es.eigenvalues, VALUES[:20], atol=tolerance * VALUES[0], rtol=0)
    np.testing.assert_allclose(es.eigenvalues, VALUES[:20], rtol=1e-5)
    direct = np.linalg.norm(matrix @ es.eigenvectors - es.eigenvalues * es.eigenvectors, axis=0)
    assert direct.max() < 1e-5


# On the GPU NumPy's solver fails as well; `_wrong` is made from that one.
@pytest.mark.parametrize(
    ("broken", "platform"),
    [*((b, "cpu") for b in BROKEN), *((b, "gpu") for b in BROKEN if b is not _wrong)],
)
def test_a_failure_that_nothing_repairs_is_an_error(matrix, broken, platform, monkeypatch):
    monkeypatch.setattr(jnp.linalg, "eigh", broken)
    monkeypatch.setattr(_dense, "platform_of", lambda kernel: platform)
    if platform == "gpu":
        values, vectors = np.linalg.eigh(matrix)
        monkeypatch.setattr(np.linalg, "eigh", lambda _: (values, np.zeros_like(vectors)))
        with (
            pytest.warns(UserWarning, match="on the host"),
            pytest.raises(RuntimeError, match="dense eigensolver failed"),
        ):
            na.spectral.eigendecompose(matrix)
    else:
        with pytest.raises(RuntimeError, match="dense eigensolver failed"):
            na.spectral.eigendecompose(matrix)


def test_the_32_bit_fallback_has_the_eigenpairs_of_a_hard_spectrum(monkeypatch, x64):
    """Clusters and a wide range, where relatively robust representations are at their weakest."""
    values = np.sort(np.concatenate([np.geomspace(1e3, 1e-6, 80), np.ones(40), np.zeros(30)]))
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(150, 150)))
    kernel = (q * values) @ q.T
    kernel = (kernel + kernel.T) / 2
    monkeypatch.setattr(_dense, "_TOO_LARGE_FOR_32_BITS", 150)
    monkeypatch.setattr(_dense, "numpy_counts_in_64_bits", lambda: False)
    with pytest.warns(UserWarning, match="SciPy"):
        es = na.spectral.eigendecompose(kernel)
    np.testing.assert_allclose(es.eigenvalues, values[::-1], atol=1e-10)
    gram = np.asarray(es.eigenvectors.T @ es.eigenvectors)
    np.testing.assert_allclose(gram, np.eye(150), atol=1e-10)
    assert scipy.linalg.norm(kernel @ es.eigenvectors - es.eigenvalues * es.eigenvectors) < 1e-9


class _Product:
    """A kernel of which only products are known."""

    def __init__(self, kernel):
        self.kernel, self.shape, self.dtype = kernel, kernel.shape, kernel.dtype

    def __matmul__(self, vectors):
        return self.kernel @ vectors


@pytest.mark.parametrize("as_kernel", [jnp.asarray, _Product], ids=["array", "product"])
def test_residual_norms_are_those_of_numpy(as_kernel, x64):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(7, 7))
    kernel = kernel @ kernel.T
    values, vectors = np.linalg.eigh(kernel)
    values, vectors = values[:3] + np.array([0.0, 0.5, 0.0]), vectors[:, :3] * [1.0, 1.0, -2.0]
    vectors[:, 2] += 0.1
    found = na.spectral.residual_norms(as_kernel(kernel), jnp.asarray(values), jnp.asarray(vectors))
    expected = np.linalg.norm(kernel @ vectors - vectors * values, axis=0)
    assert expected[1] == pytest.approx(0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
