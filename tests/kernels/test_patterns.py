"""Kernels of graphs: neural-tangents' aggregation, in tiles, and networks that take patterns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air import _neural_tangents

stax = _neural_tangents.load().stax
RNG = np.random.default_rng(0)
NODES = RNG.normal(size=(6, 5, 3)).astype(np.float32)
GRAPHS = (RNG.uniform(size=(6, 5, 5)) < 0.4).astype(np.float32)
NETWORK = stax.serial(
    stax.Dense(16), stax.Relu(), stax.Aggregate(aggregate_axis=1, batch_axis=0, channel_axis=2),
    stax.GlobalAvgPool(), stax.Dense(2),
)  # fmt: skip
PARAMS = NETWORK[0](jax.random.key(0), (1, 5, 3))[1]


def theirs(kind="ntk"):
    with jax.enable_x64(True):
        x, a = NODES.astype("float64"), GRAPHS.astype("float64")
        return np.asarray(NETWORK[2](x, None, kind, pattern=(a, a)))


def test_infinite_kernels_in_tiles(tmp_path):
    right = theirs()
    given = ((GRAPHS, GRAPHS), GRAPHS > 0)
    for pattern in given:
        kernel = na.kernels.infinite_ntk(NETWORK, NODES, pattern=pattern, tile_size=4)
        np.testing.assert_allclose(kernel, right, rtol=1e-5)
    pair = {"pattern": (GRAPHS[:4], GRAPHS), "tile_size": 3}
    kernel = na.kernels.infinite_ntk(NETWORK, NODES[:4], NODES, **pair)
    np.testing.assert_allclose(kernel, right[:4], rtol=1e-5)
    stored = na.kernels.infinite_ntk(
        NETWORK, NODES, pattern=GRAPHS, tile_size=2, store=tmp_path / "k", kind=("nngp", "ntk")
    )
    np.testing.assert_allclose(np.asarray(stored.ntk[:]), right, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(stored.nngp[:]), theirs("nngp"), rtol=1e-5)
    mesh = jax.make_mesh((1,), ("x",))
    kernel = na.kernels.infinite_ntk(NETWORK, NODES, pattern=GRAPHS, mesh=mesh)
    np.testing.assert_allclose(kernel, right, rtol=1e-5)
    diagonal = na.kernels.infinite_diagonal(NETWORK, NODES, pattern=GRAPHS)
    np.testing.assert_allclose(diagonal, np.diag(right), rtol=1e-5)
    assert (
        np.abs(na.kernels.infinite_ntk(NETWORK, NODES, pattern=GRAPHS[::-1]) - right).max() > 1e-2
    )


def test_networks_of_graphs(tmp_path):
    def of(params):
        return NETWORK[1](params, NODES, pattern=GRAPHS)

    jacobian = np.concatenate(
        [np.asarray(leaf).reshape(6, 2, -1) for leaf in jax.tree.leaves(jax.jacrev(of)(PARAMS))], 2
    )
    right = np.einsum("iap,jap->ij", jacobian, jacobian) / 2
    call = na.kernels.empirical_ntk
    for implementation in ("layerwise", "jacobian_contraction"):
        kernel = call(
            NETWORK[1], PARAMS, NODES, pattern=GRAPHS, implementation=implementation, tile_size=4
        )
        np.testing.assert_allclose(kernel, right, rtol=1e-5)
    cross = call(NETWORK[1], PARAMS, NODES, NODES[:3], pattern=(GRAPHS, GRAPHS[:3]))
    np.testing.assert_allclose(cross, right[:, :3], rtol=1e-5)
    stored = call(NETWORK[1], PARAMS, NODES, pattern=GRAPHS, store=tmp_path / "k", tile_size=2)
    np.testing.assert_allclose(np.asarray(stored[:]), right, rtol=1e-5)
    operator = na.kernels.NTKOperator(NETWORK[1], PARAMS, NODES, pattern=GRAPHS)
    np.testing.assert_allclose(operator @ np.eye(6), right, rtol=1e-4, atol=1e-5)

    def of_tokens(table, x, pattern):
        assert x.dtype == jnp.int32
        assert pattern.dtype == jnp.int32
        return (pattern @ table[x]).sum(1)

    tokens, graphs = RNG.integers(0, 4, (6, 5)), GRAPHS.astype(int)
    kernel = call(of_tokens, np.ones((4, 1), np.float32), tokens, pattern=graphs)
    counts = np.einsum("nij,njk->nk", graphs, np.eye(4)[tokens])
    np.testing.assert_allclose(kernel, counts @ counts.T, rtol=1e-6)


def test_refusals():
    infinite, finite = na.kernels.infinite_ntk, na.kernels.empirical_ntk
    plain = na.kernels.fully_connected()
    vectors = NODES[:, 0]
    cases = {
        "aggregates over graphs .* needs pattern=": lambda: infinite(NETWORK, NODES),
        "aggregates over graphs": lambda: na.kernels.infinite_diagonal(NETWORK, NODES),
        "pattern= is given and the architecture 'fully_connected.* makes no use of it": lambda: (
            infinite(plain, vectors, pattern=GRAPHS)
        ),
        "pattern is one array, expected a pair": lambda: infinite(
            NETWORK, NODES, NODES, pattern=GRAPHS
        ),
        "a pair of different arrays and x2 is None": lambda: infinite(
            NETWORK, NODES, pattern=(GRAPHS, 1 - GRAPHS)
        ),
        r"pattern has shape \(3, 5, 5\) for 6 points": lambda: infinite(
            NETWORK, NODES, pattern=GRAPHS[:3]
        ),
        "pattern holds 1 value": lambda: infinite(
            NETWORK, NODES, pattern=np.where(np.arange(150).reshape(6, 5, 5) == 7, np.nan, GRAPHS)
        ),
        "apply_fn does not go with pattern=": lambda: finite(
            lambda w, x: x[:, 0] @ w, np.ones((3, 1)), NODES, pattern=GRAPHS
        ),
        "apply_fn does not go with pattern=.*missing": lambda: finite(
            lambda w, x, pattern: x[:, 0] @ w, np.ones((3, 1)), NODES
        ),
        "graphs of as many nodes on both sides": lambda: finite(
            NETWORK[1], PARAMS, NODES, NODES, pattern=(GRAPHS, np.ones((6, 4, 4), np.float32))
        ),
        "the largest integer of pattern is 33554432": lambda: finite(
            NETWORK[1], PARAMS, NODES, pattern=2**25 * GRAPHS.astype(int)
        ),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
