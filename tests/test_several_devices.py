"""Two devices and all of XLA's optimisations, of each kind once, against NumPy.

Other tests of several devices compile without most optimisations, and compare with one device.
"""

from __future__ import annotations

import sys
from pathlib import Path

from processes import run

HERE = Path(__file__).resolve().parent


def test_each_kind_equals_numpy(tmp_path):
    run([__file__, tmp_path], devices=2, optimized=True)


def finite_kernels(params, x):
    """(n, n) trace and (nC, nC) full NTK of the network below, in NumPy."""
    import numpy as np

    first, second = (np.asarray(a, np.float64) for a in params)
    hidden = np.tanh(x @ first)
    slope = (1 - hidden**2)[:, :, None] * second
    full = np.einsum("ihc,jhd,ij->icjd", slope, slope, x @ x.T)
    full += np.einsum("ij,cd->icjd", hidden @ hidden.T, np.eye(second.shape[1]))
    size = len(x) * second.shape[1]
    return np.einsum("icjc->ij", full) / second.shape[1], full.reshape(size, size)


def kernels(mesh, folder):
    import jax
    import jax.numpy as jnp
    import numpy as np
    from closed_form import relu_kernels

    import ntk_air as na
    from ntk_air._numerics import relative_error

    rng = np.random.default_rng(0)
    options = {"depth": 2, "weight_std": 1.3, "bias_std": 0.2}
    arch = na.kernels.fully_connected(width=4, **options)
    params = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((5, 6), (6, 2))]

    def network(params, inputs):
        return jnp.tanh(inputs @ params[0]) @ params[1]

    # Points that divide over the devices, and points that do not.
    for n in (8, 7):
        x = rng.normal(size=(n, 5)).astype(np.float32)
        nngp, ntk = relu_kernels(x, x, **options)
        place = {"mesh": mesh, "tile_size": 4}
        both = na.kernels.infinite_ntk(arch, x, kind=("nngp", "ntk"), **place)
        assert relative_error(na.kernels.gather(both.nngp), nngp) < 2e-6
        assert relative_error(na.kernels.gather(both.ntk), ntk) < 2e-6
        assert len(getattr(both.ntk, "padded", both.ntk).sharding.device_set) == 2
        for rank in (3, None) if n == 8 else (3,):
            pairs = na.spectral.eigendecompose(both.ntk, rank=rank)
            exact = np.linalg.eigvalsh(ntk)[::-1][:rank]
            assert np.abs(np.asarray(pairs.eigenvalues) - exact).max() < 1e-5 * exact[0]
            v = np.asarray(pairs.eigenvectors)
            assert np.abs(ntk @ v - v * exact).max() < 1e-5 * exact[0]
        trace, full = finite_kernels(params, x.astype(np.float64))
        found = na.kernels.empirical_ntk(network, params, x, **place)
        assert relative_error(na.kernels.gather(found), trace) < 2e-6
        found = na.kernels.empirical_ntk(network, params, x, outputs="full", **place)
        assert relative_error(na.kernels.gather(found), full) < 2e-6
        operator = na.kernels.NTKOperator(network, params, x, mesh=mesh)
        assert relative_error(operator @ np.eye(n, dtype=np.float32), trace) < 2e-6
        assert relative_error(operator.diagonal(), np.diag(trace)) < 2e-6
        stored = na.kernels.infinite_ntk(arch, x, store=folder / str(n), **place)
        assert relative_error(np.asarray(stored), ntk) < 2e-6
    assert len(jax.devices()) == mesh.size == 2


def training(mesh):
    import jax
    import numpy as np
    import test_against_numpy as loop

    from ntk_air import distillation as d

    inputs, start, clean, observed = loop.problem()
    expected, _ = loop.numpy_loop(
        inputs, start, clean, observed, lambda step, agree: 0.3, loop.np_hard(1 / loop.C), "mse"
    )
    other, _ = loop.numpy_loop(
        inputs, -start, clean, observed, lambda step, agree: 0.3, loop.np_hard(1 / loop.C), "mse"
    )
    options = {
        "optimizer": loop.RATE, "num_steps": loop.STEPS, "alpha": 0.3, "clean": clean,
        "record_every": 1, "record_outputs": True, "mesh": mesh,
    }  # fmt: skip
    with jax.enable_x64(True):
        # The points of one network over the devices, and two networks, one on each.
        one = d.self_distill(loop.linear_model, start, inputs, observed, **options).history
        pair = d.self_distill(
            loop.linear_model, np.stack([start, -start]), inputs, observed, replicas=2, key=[0, 1],
            **options,
        )  # fmt: skip
    loop.assert_same(one, expected)
    loop.assert_same(pair.replica(0).history, expected)
    loop.assert_same(pair.replica(1).history, other)


def main():
    import jax

    import ntk_air  # noqa: F401  before JAX computes anything

    sys.path[:0] = [str(HERE), str(HERE / "distillation" / "training")]
    mesh = jax.make_mesh((2,), ("data",))
    kernels(mesh, Path(sys.argv[1]))
    training(mesh)


if __name__ == "__main__":
    main()
