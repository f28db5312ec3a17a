"""Block Lanczos beyond the size of its basis: restarts, copies, low rank, operators, devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from precision_table import allowed
from processes import run

import ntk_air as na
from ntk_air.spectral import _block_krylov, _lanczos
from ntk_air.spectral._block_krylov import BasisShape, BlockKrylov, basis_shape


def kernel_with(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues, and its eigenvectors."""
    n = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    matrix = (q * np.asarray(eigenvalues)) @ q.T
    return (matrix + matrix.T) / 2, q


class Operator:
    """NumPy on the host, and a record of what was asked of it."""

    def __init__(self, matrix, takes_blocks=True):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype
        self.takes_blocks, self.widths = takes_blocks, []

    def __matmul__(self, v):
        v = np.asarray(v)
        if v.ndim == 2 and not self.takes_blocks:
            raise TypeError("vectors only")
        self.widths.append(v.shape[1] if v.ndim == 2 else 1)
        return self.matrix @ v

    def diagonal(self):
        return np.diagonal(self.matrix)


def solve(kernel, rank, **options):
    es = na.spectral.eigendecompose(kernel, rank=rank, method="lanczos", **options)
    assert es.eigenvalues.shape == (rank,)
    gram = np.asarray(es.eigenvectors.T @ es.eigenvectors)
    np.testing.assert_allclose(gram, np.eye(rank), atol=1e-5)
    assert (np.diff(es.eigenvalues) <= 0).all()
    return es


@pytest.fixture
def restarts(monkeypatch):
    """Number of thick restarts so far (those that keep the residual block)."""
    count = []
    original = BlockKrylov.restart

    def counting(self, rotation, projected, block):
        if block is not None:
            count.append(rotation.shape[1])
        original(self, rotation, projected, block)

    monkeypatch.setattr(BlockKrylov, "restart", counting)
    return count


@pytest.fixture
def small_basis(monkeypatch):
    """Room for two blocks beside the vectors kept."""

    def shape(rank):
        return BasisShape(8, rank + 8, rank + 24)

    for module in (_block_krylov, _lanczos):
        monkeypatch.setattr(module, "basis_shape", shape)
    return shape


SPECTRA = {
    "decaying": np.arange(1, 401.0) ** -1.5,
    "clustered": np.concatenate([1 + 1e-3 * np.linspace(1, 0, 30), np.linspace(0.8, 0, 370)]),
    "linear": np.linspace(1, 0, 400),
    "rank 3": np.concatenate([[3.0, 2.0, 1.0], np.zeros(397)]),
    "copies above the block": np.concatenate([[2.0] * 40, [1.5] * 5, np.linspace(1, 0, 355)]),
    "identity": np.ones(400),
    "indefinite": np.linspace(1, -1, 400),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("rank", [1, 8, 45])
def test_float32_equals_the_spectrum_chosen(spectrum, rank):
    values = SPECTRA[spectrum]
    matrix, _ = kernel_with(values)
    es = solve(matrix.astype(np.float32), rank)
    eps = np.finfo(np.float32).eps
    reference = np.linalg.eigvalsh(matrix.astype(np.float32).astype(np.float64))[::-1][:rank]
    np.testing.assert_allclose(es.eigenvalues, reference, atol=20 * eps * values[0])
    assert float(es.residuals.max()) <= 100 * eps * values[0]


@pytest.mark.parametrize("spectrum", ["decaying", "copies above the block", "rank 3"])
def test_float64_and_the_subspace(spectrum, x64):
    values = SPECTRA[spectrum]
    matrix, q = kernel_with(values)
    es = solve(matrix, 3)
    np.testing.assert_allclose(es.eigenvalues, values[:3], atol=1e-13 * values[0])
    assert float(es.residuals.max()) <= 100 * np.finfo(np.float64).eps * values[0]
    top = q[:, values >= values[2]]
    inside = top.T @ np.asarray(es.eigenvectors)
    np.testing.assert_allclose(np.linalg.norm(inside, axis=0), 1.0, atol=1e-9)


@pytest.mark.parametrize("diagonal", [np.ones(300), np.r_[np.ones(40), np.zeros(260)]])
def test_exactly_axis_aligned_kernels(diagonal):
    """Products are exact, so exhausted blocks are exactly zero and arbitrary ones lie in V."""
    es = solve(np.diag(diagonal).astype(np.float32), 45)
    tolerance = allowed("spectral.eigendecompose: eigenvalues", method="lanczos")
    np.testing.assert_allclose(es.eigenvalues, np.sort(diagonal)[::-1][:45], atol=tolerance, rtol=0)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (2, 1), (3, 3), (60, 59), (60, 60), (300, 299)])
def test_ranks_up_to_the_whole_space(n, rank):
    matrix, _ = kernel_with(np.geomspace(1, 1e-2, n))
    es = solve(Operator(matrix.astype(np.float32)), rank)
    np.testing.assert_allclose(es.eigenvalues, np.geomspace(1, 1e-2, n)[:rank], atol=3e-6)


def test_a_small_basis_restarts_and_still_converges(small_basis, restarts):
    values = SPECTRA["linear"]
    matrix, _ = kernel_with(values)
    es = solve(matrix.astype(np.float32), 10)
    assert len(restarts) > 4
    np.testing.assert_allclose(es.eigenvalues, values[:10], atol=3e-6)
    # Krylov-Schur converges like the unrestarted method does; without the coupling it does not.
    assert len(restarts) < 80


def test_the_basis_stays_within_its_documented_size(restarts):
    for rank in (1, 7, 50, 127, 128, 200, 1000):
        block, keep, capacity = basis_shape(rank)
        assert capacity + block <= 2 * rank + 8 * block
        assert (capacity - keep) % block == 0
        assert rank + 6 * block <= capacity
    matrix, _ = kernel_with(np.linspace(1, 0, 700))
    operator = Operator(matrix.astype(np.float32))
    space = BlockKrylov(lambda v: jnp.asarray(operator @ v), 700, jnp.float32, 5, jax.random.key(0))
    held = space._vectors.shape
    while not space.is_full:
        space.step()
    assert held == space._vectors.shape == (700, sum(basis_shape(5)[::2]))
    solve(operator, 5)
    # Far more products than columns: nothing grew with the steps.
    assert len(restarts) > 0
    assert sum(operator.widths) > 2 * held[1]
    assert max(operator.widths) == basis_shape(5).block


def test_pairs_are_measured_in_blocks_as_wide_as_an_operator_takes():
    matrix, _ = kernel_with(np.arange(1, 401.0) ** -1.5)
    operator = Operator(matrix.astype(np.float32))
    solve(operator, 42)
    block = basis_shape(42).block
    assert set(operator.widths) == {block, 32}
    assert [block, 32, block, block] in [
        operator.widths[i : i + 4] for i in range(len(operator.widths))
    ]


@pytest.mark.parametrize("values", [np.r_[[3.0, 2.0, 1.0], np.zeros(297)], np.ones(300)])
def test_blocks_stay_orthonormal_while_the_space_is_exhausted(values):
    kernel = jnp.asarray(kernel_with(values)[0], jnp.float32)
    space = BlockKrylov(lambda v: kernel @ v, 300, jnp.float32, 40, jax.random.key(1))
    while not space.is_full:
        space.step()
    basis = np.asarray(space._vectors, np.float64)[:, : space.size + space.shape.block]
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=3e-6)


def test_vector_only_operators_fall_back_to_columns():
    matrix, _ = kernel_with(SPECTRA["decaying"])
    vectors = Operator(matrix.astype(np.float32), takes_blocks=False)
    blocks = Operator(matrix.astype(np.float32))
    np.testing.assert_allclose(
        solve(vectors, 8).eigenvalues, solve(blocks, 8).eigenvalues, atol=1e-6
    )
    assert set(vectors.widths) == {1}
    assert set(blocks.widths) == {16}


def test_products_are_not_traced_and_need_no_dtype():
    class Bare:
        shape = (200, 200)
        scale = np.linspace(1, 0.1, 200, dtype=np.float32)[:, None] ** 2

        def __matmul__(self, v):
            assert not isinstance(v, jax.core.Tracer)
            return self.scale * np.asarray(v).reshape(200, -1)

        def diagonal(self):
            return self.scale[:, 0]

    np.testing.assert_allclose(solve(Bare(), 4).eigenvalues, Bare.scale[:4, 0], atol=1e-5)


class Broken(Operator):
    def __init__(self, product, diagonal=True):
        super().__init__(np.eye(300, dtype=np.float32))
        self.product = product
        if not diagonal:
            self.__class__ = type("NoDiagonal", (), {"__matmul__": Broken.__matmul__})

    def __matmul__(self, v):
        return self.product(np.asarray(v))


def _fails(v):
    raise OSError("disk gone")


@pytest.mark.parametrize(
    ("operator", "error", "match"),
    [
        (Broken(lambda v: v[:5]), ValueError, "returned shape"),
        (Broken(lambda v: v * np.nan), ValueError, "NaN or infinity"),
        (Broken(_fails), OSError, "disk gone"),
        (Broken(lambda v: 0 * v), RuntimeError, "eigensolver failed"),
        (Broken(lambda v: v, diagonal=False), ValueError, "needs .diagonal"),
    ],
)
def test_operators_that_fail_say_so(operator, error, match):
    with pytest.raises(error, match=match):
        na.spectral.eigendecompose(operator, rank=2)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_tolerance_is_positive(tolerance):
    with pytest.raises(ValueError, match="tolerance is"):
        na.spectral.eigendecompose(np.eye(3), tolerance=tolerance)


def test_a_tolerance_below_the_rounding_of_products_is_refused():
    matrix, _ = kernel_with(SPECTRA["decaying"])
    with pytest.raises(RuntimeError, match=r"stopped at .* eps·sqrt\(n\)"):
        solve(matrix.astype(np.float32), 5, tolerance=1e-9)


def test_a_loose_tolerance_is_honoured():
    matrix, _ = kernel_with(SPECTRA["linear"])
    tight, loose = (Operator(matrix.astype(np.float32)) for _ in range(2))
    solve(tight, 5)
    es = solve(loose, 5, tolerance=5e-2)
    assert float(es.residuals.max()) <= 5e-2
    assert sum(loose.widths) < sum(tight.widths)


def test_copies_that_the_krylov_space_cannot_hold_are_searched_for():
    """At a loose tolerance it converges before rounding brings in a copy beyond the block."""
    values = np.concatenate([[2.0] * 40, [1.0] * 40, np.zeros(320)])
    matrix, _ = kernel_with(values)
    es = solve(matrix.astype(np.float32), 20, tolerance=1e-3)
    np.testing.assert_allclose(es.eigenvalues, 2.0, atol=4e-3)


def test_giving_up_says_how_far_it_came(monkeypatch):
    monkeypatch.setattr(_lanczos, "_MAX_RESTARTS", 1)
    matrix, _ = kernel_with(np.linspace(1, 0.9, 400))
    with pytest.raises(RuntimeError, match=r"did not converge in 1 restarts: \d+ of 20 residuals"):
        solve(matrix.astype(np.float32), 20)


_SHARDED = """
import jax, jax.numpy as jnp, numpy as np, ntk_air as na
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
assert len(jax.devices()) == 4
q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(400, 400)))
kernel = ((q * np.linspace(1, 0, 400) ** 2) @ q.T).astype(np.float32)
kernel = (kernel + kernel.T) / 2
single = na.spectral.eigendecompose(kernel, rank=6, method="lanczos")
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(kind,))
    sharded = jax.device_put(kernel, NamedSharding(mesh, P("rows", None)))
    es = na.spectral.eigendecompose(sharded, rank=6, method="lanczos")
    np.testing.assert_allclose(es.eigenvalues, single.eigenvalues, atol=2e-6)
    overlap = np.asarray(single.eigenvectors).T @ np.asarray(es.eigenvectors)
    np.testing.assert_allclose(np.abs(np.diag(overlap)), 1.0, atol=1e-4)
    np.testing.assert_allclose(es.trace, single.trace, rtol=1e-5)
"""


def test_a_kernel_sharded_over_four_devices_equals_the_whole_one():
    run(["-c", _SHARDED], devices=4)
