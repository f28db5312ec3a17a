"""Kernels of functions with complex parts: J Jᵀ, whichever implementation is asked."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air._neural_tangents import load

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("neural_tangents") is None,
        reason="neural-tangents is not installed",
    ),
    pytest.mark.usefixtures("x64"),
    pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning"),
]

RNG = np.random.default_rng(0)
C56, C62 = (RNG.normal(size=s) + 1j * RNG.normal(size=s) for s in ((5, 6), (6, 2)))
X = RNG.normal(size=(3, 5))
PARAMS = {k: RNG.normal(size=s) for k, s in {"w": (5, 6), "v": (6, 2), "b": (6,), "s": ()}.items()}


def conv(h, k):
    numbers = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(h[..., None], k, (1,), "SAME", dimension_numbers=numbers)


def wave(p, x):
    return jnp.exp(1j * (x @ p["w"]))


REAL = {
    "abs of exp": lambda p, x: jnp.abs(wave(p, x) @ p["v"]),
    "real and scalar": lambda p, x: ((wave(p, x) * p["s"] + 1) @ p["v"]).real,
    "bias": lambda p, x: jnp.abs(jnp.tanh(x @ p["w"] * (1 + 0.3j)) + p["b"]) @ p["v"],
    "complex constant": lambda p, x: jnp.abs(x @ (p["w"] @ jnp.asarray(C62))),
    "complex input": lambda p, x: jnp.abs((x + 1j * x**2) @ p["w"] + p["b"]) @ p["v"],
    "einsum": lambda p, x: jnp.einsum("ni,ij,jk->nk", x, p["w"], C62).imag * p["v"][0],
    "lax.complex": lambda p, x: jnp.abs(x @ jax.lax.complex(p["w"], p["w"] ** 2)) @ p["v"],
    "fft": lambda p, x: jnp.abs(x @ jnp.fft.fft(p["w"], axis=1)) @ p["v"],
    "irfft": lambda p, x: jnp.fft.irfft(jnp.fft.rfft(x @ p["w"]) * p["b"][:4]) @ p["v"],
    "ifft": lambda p, x: jnp.fft.ifft(jnp.fft.fft(x @ p["w"]) * (p["b"] + 1j)).real @ p["v"],
    "conv": lambda p, x: jnp.abs(
        conv(x + 0j, p["w"][:3, None, :2] + 1j * p["w"][2:, None, :2])
    ).sum(1),
    "used twice": lambda p, x: jnp.abs(x @ p["w"] + 1j * (x @ p["w"] @ p["w"].T @ p["w"])),
}


def jacobian(f, params, x):
    """By parts: of a real parameter the complex one; of a complex one that of the real part."""
    leaves, tree = jax.tree.flatten(params)
    shape = jax.eval_shape(f, params, x)

    def part(take):
        full = jax.jacrev(lambda leaves: take(f(jax.tree.unflatten(tree, leaves), x)))(leaves)
        return [np.asarray(j).reshape(*shape.shape, -1) for j in full]

    real = part(jnp.real)
    if jnp.iscomplexobj(shape):
        imag = part(jnp.imag)
        parts = zip(real, imag, leaves, strict=True)
        real = [r if jnp.iscomplexobj(p) else r + 1j * i for r, i, p in parts]
    return np.concatenate(real, -1)


def assert_kernel(f, params, implementation, vmap_axes=0, x2=None):
    nt = load()
    ntk_fn = nt.empirical_ntk_fn(
        f, trace_axes=(), vmap_axes=vmap_axes, implementation=implementation
    )
    got = jax.jit(ntk_fn)(X, x2, params)
    j1 = jacobian(f, params, X)
    j2 = j1 if x2 is None else jacobian(f, params, x2)
    want = np.einsum("iap,jbp->ijab", j1, j2)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11 * np.abs(want).max())


@pytest.mark.parametrize("name", REAL)
def test_real_functions_with_complex_parts(name):
    assert_kernel(REAL[name], PARAMS, 3)


def test_eagerly_and_in_float32():
    """The equations that JAX records differ from those under `jit`."""
    nt, name = load(), "complex input"
    p = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), PARAMS)
    x = jnp.asarray(X, jnp.float32)
    kernels = [nt.empirical_ntk_fn(REAL[name], implementation=i)(x, None, p) for i in (1, 3)]
    assert kernels[1].dtype == jnp.float32
    np.testing.assert_allclose(*kernels, rtol=1e-4)


def test_automatic_choice():
    assert_kernel(REAL["complex input"], PARAMS, 0)


COMPLEX = {
    "exp": lambda p, x: wave(p, x) @ p["v"],
    "linear": lambda p, x: (x @ p["w"]) @ C62,
    "used twice": lambda p, x: jnp.conj(jnp.exp((1 + 1j) * (x @ p["w"]))) @ p["w"].T,
}


@pytest.mark.parametrize(
    ("name", "implementation"), [("exp", 1), ("exp", 2), ("linear", 3), ("used twice", 3)]
)
def test_complex_outputs(name, implementation):
    assert_kernel(COMPLEX[name], PARAMS, implementation, 0 if implementation > 1 else None, X[:2])


HOLOMORPHIC = {
    "tanh": lambda p, x: jnp.tanh(x @ p["w"] + p["b"]) @ p["v"],
    "abs": lambda p, x: jnp.abs(jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]),
    "imag of conj": lambda p, x: (jnp.conj(x @ p["w"]) @ p["v"]).imag,
}


@pytest.mark.parametrize(
    ("name", "implementation"),
    [("tanh", 1), ("tanh", 2), ("tanh", 3), ("abs", 2), ("abs", 3), ("imag of conj", 3)],
)
def test_complex_parameters_and_real_ones(name, implementation):
    params = {"w": C56, "v": PARAMS["v"], "b": PARAMS["b"]}
    assert_kernel(HOLOMORPHIC[name], params, implementation)


def test_axes_and_trees_of_complex_outputs():
    """Each output on its own, traced over the last axis or its diagonal taken."""
    nt = load()

    def f(p, x):
        y = (x @ p["v"][:5]) * (1 + 1j * x[:, :1])
        return y, {"real": y.real, "more axes": y[:, :, None] * (1 + 1j * x[:, None, :2])}

    def kernels(*axes):
        return nt.empirical_ntk_fn(f, *axes, vmap_axes=0, implementation=3)(X, X[:2], PARAMS)

    full, traced, diagonal = jax.jit(lambda: (kernels(()), kernels((-1,)), kernels((), (-1,))))()
    for k, t, d in zip(*map(jax.tree.leaves, (full, traced, diagonal)), strict=True):
        assert k.dtype == t.dtype == d.dtype
        entries = np.diagonal(k, axis1=-2, axis2=-1)
        np.testing.assert_allclose(d, entries, atol=1e-12)
        np.testing.assert_allclose(t, entries.mean(-1), atol=1e-12)
    assert jax.tree.map(lambda k: str(k.dtype), full) == (
        "complex128",
        {"real": "float64", "more axes": "complex128"},
    )
