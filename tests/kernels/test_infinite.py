"""Infinite-width kernels: against the arc-cosine recursion, whole against tiled, bad inputs."""

from __future__ import annotations

import functools

import jax
import ml_dtypes  # noqa: F401  registers bfloat16 with NumPy
import numpy as np
import pytest
from closed_form import relu_kernels
from hypothesis import given, settings
from hypothesis import strategies as st

import ntk_air as na
from ntk_air._numerics import relative_error
from ntk_air.kernels._infinite import _default_tile

NETWORK = na.kernels.fully_connected(2, 8)


def points(n, d=7, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_matches_arc_cosine_recursion(depth, kind, x64):
    arch = na.kernels.fully_connected(depth, 8, weight_std=1.4, bias_std=0.1)
    x1, x2 = points(9, dtype=np.float64), points(5, seed=1, dtype=np.float64)
    nngp, ntk = relu_kernels(x1, x2, depth=depth, weight_std=1.4, bias_std=0.1)
    kernel = na.kernels.infinite_ntk(arch, x1, x2, kind=kind)
    assert relative_error(kernel, ntk if kind == "ntk" else nngp) < 1e-12


def test_products_of_many_points():
    """From sixteen points on each side a product takes its second factor transposed."""
    arch = na.kernels.fully_connected(1, 8)
    for sides in ((18, 25), (40, 15)):
        x1, x2 = points(sides[0], d=300), points(sides[1], d=300, seed=1)
        _, ntk = relu_kernels(x1, x2, depth=1, weight_std=2**0.5, bias_std=0.1)
        assert relative_error(na.kernels.infinite_ntk(arch, x1, x2), ntk) < 1e-6


def test_float32_diagonal_is_accurate():
    """Arc-cosine kernels lose half their digits there unless the diagonal is computed apart."""
    arch = na.kernels.fully_connected(5, 8)
    x = points(64, d=33)
    _, ntk = relu_kernels(x, x, depth=5, weight_std=2**0.5, bias_std=0.1)
    kernel = np.asarray(na.kernels.infinite_ntk(arch, x))
    assert np.abs(np.diag(kernel) / np.diag(ntk) - 1).max() < 1e-6


@functools.cache
def whole_kernels(dtype):
    """Both kinds, between 9 points and 7 others and among the 9, in one piece."""
    kernel_fn = jax.jit(lambda a, b: NETWORK.kernel_fn(a, b, ("nngp", "ntk")))
    with jax.enable_x64(dtype == "float64"):
        a, b = points(9).astype(dtype), points(7, seed=1).astype(dtype)
        wide = [x.astype(np.promote_types(dtype, np.float32)) for x in (a, b)]
        cross, own = kernel_fn(*wide), kernel_fn(wide[0], wide[0])
        return a, b, *(dict(zip(("nngp", "ntk"), k, strict=True)) for k in (cross, own))


@settings(max_examples=7, deadline=None)
@given(
    n1=st.sampled_from([1, 5, 9]),
    n2=st.sampled_from([3, 7]),
    tile=st.sampled_from([1, 4, 30]),
    dtype=st.sampled_from(["float32", "float64", "bfloat16"]),
    kind=st.sampled_from(["nngp", "ntk"]),
)
def test_tiled_equals_whole(n1, n2, tile, dtype, kind):
    a, b, cross, own = whole_kernels(dtype)
    tolerance = 1e-13 if dtype == "float64" else 1e-6
    with jax.enable_x64(dtype == "float64"):
        tiled = na.kernels.infinite_ntk(NETWORK, a[:n1], b[:n2], kind=kind, tile_size=tile)
        symmetric = na.kernels.infinite_ntk(NETWORK, a[:n1], kind=kind, tile_size=tile)
    assert tiled.shape == (n1, n2)
    # Half precision has too few digits for a spectrum: it is widened.
    assert tiled.dtype == symmetric.dtype == ("float64" if dtype == "float64" else "float32")
    assert relative_error(tiled, cross[kind][:n1, :n2]) < tolerance
    symmetric, expected = np.asarray(symmetric), np.asarray(own[kind])[:n1, :n1]
    assert np.array_equal(symmetric, symmetric.T)
    off = ~np.eye(n1, dtype=bool)
    assert relative_error(symmetric[off], expected[off]) < tolerance
    assert relative_error(symmetric, expected) < 1e-3
    assert np.linalg.eigvalsh(symmetric.astype(np.float64)).min() > -1e-5 * expected.max()


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_both_kinds_equal_each_alone(second, activation):
    arch = na.kernels.fully_connected(2, 8, activation=activation)
    x1, x2 = points(9), points(5, seed=1) if second else None
    both = na.kernels.infinite_ntk(arch, x1, x2, kind=("ntk", "nngp"), tile_size=4)
    assert isinstance(both, na.kernels.InfiniteKernels)
    for kind in ("nngp", "ntk"):
        alone = na.kernels.infinite_ntk(arch, x1, x2, kind=kind, tile_size=4)
        # Two programs round differently; the kernels are no mix of each other.
        assert relative_error(getattr(both, kind), alone) < 1e-6
        if not second:
            diagonal = na.kernels.infinite_diagonal(arch, x1, kind=kind)
            assert relative_error(diagonal, np.diag(alone)) < 1e-6


@pytest.mark.parametrize("kind", ["cka", ("ntk",), ("ntk", "ntk"), ("ntk", "cka"), ()])
def test_bad_kinds(kind):
    with pytest.raises(ValueError, match="kind is "):
        na.kernels.infinite_ntk(NETWORK, points(3), kind=kind)


def test_tiles_of_images_fit_the_cache():
    """Where the kernel holds all pairs of positions, a tile has few points, so as many entries."""
    x = np.zeros((1, 8, 8, 3), np.float32)
    gap = na.kernels.convolutional(2, 8, pooling="gap")
    sides = [_default_tile(gap.kernel_fn, ("ntk",), {"x": jax.numpy.asarray(x)})]
    flat = na.kernels.convolutional(2, 8)
    sides.append(_default_tile(flat.kernel_fn, ("ntk",), {"x": jax.numpy.asarray(x)}))
    entries = 2**20 if jax.default_backend() == "cpu" else 2**26
    assert 0 < sides[0] ** 2 * 8**4 <= entries
    assert sides[1] > 2 * sides[0]


@pytest.mark.parametrize("pooling", ["flatten", "gap"])
def test_convolutional_tiled_equals_whole(pooling):
    arch = na.kernels.convolutional(2, 8, pooling=pooling)
    x = np.random.default_rng(0).normal(size=(10, 6, 6, 3)).astype(np.float32)
    a, b = x[:7], x[7:]
    tiled = na.kernels.infinite_ntk(arch, a, b, tile_size=2)
    assert relative_error(tiled, arch.kernel_fn(a, b, "ntk")) < 1e-5


def test_convolution_of_image_size_is_fully_connected(x64):
    """On 1 x 1 images a convolution is a dense layer, so its kernel is the arc-cosine one."""
    arch = na.kernels.convolutional(2, 8, weight_std=1.3, bias_std=0.2, filter_size=1)
    x = points(10, d=5, dtype=np.float64)
    a, b = x[:6], x[6:]
    _, ntk = relu_kernels(a, b, depth=2, weight_std=1.3, bias_std=0.2)
    kernel = na.kernels.infinite_ntk(arch, a[:, None, None, :], b[:, None, None, :])
    assert relative_error(kernel, ntk) < 1e-12


def test_accepts_triples_and_lookalikes():
    arch = na.kernels.fully_connected(1, 8)
    x = points(5)
    expected = na.kernels.infinite_ntk(arch, x)
    triple = (arch.init_fn, arch.apply_fn, arch.kernel_fn)
    assert np.array_equal(na.kernels.infinite_ntk(triple, x), expected)

    class Lookalike:
        init_fn, apply_fn, kernel_fn = map(staticmethod, triple)

    assert np.array_equal(na.kernels.infinite_ntk(Lookalike(), x), expected)
    with pytest.raises(ValueError, match="architecture is a str"):
        na.kernels.infinite_ntk("fully_connected", x)


def test_same_arguments_give_the_same_architecture():
    assert na.kernels.fully_connected(2, 16) is na.kernels.fully_connected(2, 16)


@pytest.mark.parametrize(
    ("x1", "x2", "match"),
    [
        (points(4)[0], None, "expected at least one point"),
        (points(0), None, "expected at least one point"),
        (points(4)[:, :0], None, "expected at least one point and its features"),
        (np.full((3, 4), np.nan, np.float32), None, "NaN or infinite, the first at index"),
        (points(4, d=3), points(4, d=5), "expected the same"),
        (points(4).astype(np.complex64), None, "complex"),
    ],
)
def test_bad_inputs(x1, x2, match):
    with pytest.raises(ValueError, match=match):
        na.kernels.infinite_ntk(na.kernels.fully_connected(1, 8), x1, x2)


def test_kernel_that_does_not_fit_names_the_bytes():
    arch = na.kernels.fully_connected(1, 8)
    with pytest.raises(ValueError, match=r"needs \d+ bytes .* set memory_budget to at least"):
        na.kernels.infinite_ntk(arch, points(100), memory_budget=1000)
    with pytest.raises(ValueError, match="memory_budget is -1"):
        na.kernels.infinite_ntk(arch, points(3), memory_budget=-1)


def test_budget_shrinks_the_tiles_not_the_result():
    arch = na.kernels.fully_connected(1, 8)
    x = points(40)
    expected = na.kernels.infinite_ntk(arch, x)
    small = na.kernels.infinite_ntk(arch, x, memory_budget=40 * 40 * 4 + 2000)
    assert relative_error(small, expected) < 1e-5


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda k: k.fully_connected(-1), "depth"),
        (lambda k: k.fully_connected(1, 0), "width"),
        (lambda k: k.fully_connected(1, activation="swoosh"), "activation is 'swoosh'"),
        (lambda k: k.fully_connected(1, weight_std=0.0), "weight_std"),
        (lambda k: k.convolutional(1, pooling="max"), "pooling"),
        (lambda k: k.myrtle(6), "depth is 6"),
        (lambda k: k.infinite_ntk(k.fully_connected(1), points(3), kind="cka"), "kind"),
        (lambda k: k.infinite_ntk(k.fully_connected(1), points(3), store=3), "store is 3"),
        (lambda k: k.infinite_ntk(k.fully_connected(1), points(3), store=""), "store is ''"),
        (lambda k: k.open_kernel(3), "path is 3, expected the folder"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call(na.kernels)


def test_foreign_kernel_that_cannot_go_to_float64_says_so():
    ours = na.kernels.fully_connected(1, 8, activation="erf")
    x = points(6)
    expected = na.kernels.infinite_ntk(ours, x)
    one = jax.numpy.ones(())

    def kernel_fn(x1, x2, get):
        # A primitive does not take the two precisions together.
        return ours.kernel_fn(jax.lax.mul(x1, jax.numpy.broadcast_to(one, x1.shape)), x2, get)

    triple = (ours.init_fn, ours.apply_fn, kernel_fn)
    with pytest.warns(UserWarning, match="cannot be computed in float64"):
        kernel = na.kernels.infinite_ntk(triple, x)
    assert relative_error(kernel, expected) < 1e-6
