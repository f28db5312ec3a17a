"""Several devices: batches of arrays that already live on them, `shard_map`, explicit meshes."""

import importlib.util
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run

from ntk_air._neural_tangents import load

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)

SETUP = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from ntk_air._neural_tangents import load
nt = load()
init_fn, f, kernel_fn = nt.stax.serial(nt.stax.Dense(8), nt.stax.Sin(), nt.stax.Dense(2))
x = jax.random.normal(jax.random.key(0), (4, 3))
_, params = init_fn(jax.random.key(1), x.shape)
def assert_close(got, want):
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
"""


def test_batches_of_arrays_that_live_on_several_devices():
    code = """
    devices = jax.devices()
    meshes = [Mesh(np.array(d), ("d",)) for d in (devices[:2], devices[::-1])]
    put = lambda tree, mesh, spec: jax.device_put(tree, NamedSharding(mesh, spec))
    ntk_fn = nt.empirical_ntk_fn(f, implementation=1)
    want, infinite = ntk_fn(x, None, params), kernel_fn(x, None, "ntk")
    batched = [nt.batch(ntk_fn, b, device_count=n) for b, n in ((1, 2), (0, 4))]
    for mesh in meshes:
        for place in (lambda t: t, lambda t: put(t, mesh, P()), lambda t: put(t, mesh, P("d")),
                      lambda t: jax.device_put(t, devices[1])):
            for function in batched:
                assert_close(function(place(x), None, put(params, mesh, P())), want)
                assert_close(function(place(x), place(x), params), want)
            got = nt.batch(kernel_fn, 2, 2)(place(x), None, "ntk")
            assert_close(got, infinite)
    kernel = put(kernel_fn(x, None), meshes[0], P())
    layer = nt.stax.serial(nt.stax.Erf(), nt.stax.Dense(1))[2]
    got = nt.batch(layer, 1, 2)(kernel, get="ntk")
    assert_close(got, layer(kernel_fn(x, None), get="ntk"))
    """
    run(["-c", SETUP + textwrap.dedent(code)], devices=4)


def test_inside_shard_map_each_device_has_the_kernel_of_its_part():
    code = """
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    def functions():
        for i in (1, 2):
            yield nt.empirical_ntk_fn(f, vmap_axes=0, implementation=i)
        yield nt.empirical_ntk_fn(lambda p, x: f(p, x) * (1 + 1j * x[:, :1]), implementation=3)
        yield lambda x, _, p: nt.empirical_ntk_vp_fn(f, x, None, p)(x[:, :2])
        yield lambda x, _, p: kernel_fn(x, None, "ntk")
        def flow(x, _, p):
            k = x @ x.T + jnp.eye(len(x))
            return nt.predict.gradient_descent_mse(k, x[:, :2])(2.0, 0.0, 0.0, k)
        yield flow
    for number, function in enumerate(functions()):
        for checked in (True, False)[: 1 + (number == 0)]:
            mapped = jax.shard_map(
                lambda x, p: jax.tree.map(lambda a: a[None], function(x, None, p)),
                mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"), check_vma=checked,
            )
            halves = [function(part, None, params) for part in (x[:2], x[2:])]
            want = jax.tree.map(lambda *a: jnp.stack(a), *halves)
            assert_close(jax.jit(mapped)(x, params), want)
    """
    run(["-c", SETUP + textwrap.dedent(code)], devices=2)


def test_explicit_meshes():
    code = """
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    put = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))
    for i in (1, 3):
        ntk_fn = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=i)
        want = ntk_fn(x, None, params)
        with jax.set_mesh(mesh):
            assert_close(jax.jit(ntk_fn)(put(x, P()), None, put(params, P())), want)
            rows = jax.jit(ntk_fn)(put(x, P("d")), put(x, P()), put(params, P()))
            assert_close(rows, want)
    want = kernel_fn(x, None, "ntk")
    with jax.set_mesh(mesh):
        assert_close(jax.jit(lambda x: kernel_fn(x, None, "ntk"))(put(x, P())), want)
    """
    run(["-c", SETUP + textwrap.dedent(code)], devices=2)


def test_ensemble_of_a_batched_kernel():
    """The cache in a batched kernel's closure has keys that cannot be sorted."""
    nt = load()
    kernel_fn = nt.stax.serial(nt.stax.Dense(8), nt.stax.Erf(), nt.stax.Dense(1))[2]
    x, x_test, y = (jnp.asarray(np.random.default_rng(0).normal(size=(n, 4))) for n in (4, 8, 4))
    plain = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=1e-2)
    batched = nt.predict.gradient_descent_mse_ensemble(
        nt.batch(kernel_fn, 2, 0), x, y, diag_reg=1e-2
    )
    for get in ("ntk", "nngp", ("ntk", "nngp")):
        for x_test_ in (None, x_test):
            got, want = (p(t=1.0, x_test=x_test_, get=get) for p in (batched, plain))
            for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


class Exotic:
    """An object that must not be asked for anything."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __call__(self):
        raise RuntimeError


def test_any_object_may_be_in_the_closure_of_a_kernel_function():
    nt = load()
    kernel_fn = nt.stax.serial(nt.stax.Dense(8), nt.stax.Erf(), nt.stax.Dense(1))[2]
    exotic, unsortable, loop = Exotic(), {1: 0, "a": 0, None: 0, (1, "b"): Exotic()}, []
    loop.append(loop)

    def wrapped(x1, x2=None, get=None):
        if get == "never":
            return exotic, unsortable, loop, unfilled
        return kernel_fn(x1, x2, get)

    if exotic is None:
        unfilled = 1
    x = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
    predict_fn = nt.predict.gradient_descent_mse_ensemble(wrapped, x, x[:, :1], diag_reg=1e-2)
    want = predict_fn(1.0, x, "ntk")
    np.testing.assert_allclose(jax.jit(lambda t: predict_fn(t, x, "ntk"))(1.0), want, rtol=1e-4)
    np.testing.assert_allclose(predict_fn(1.0, x, "ntk"), want)
