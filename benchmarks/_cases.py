"""What is benchmarked: cases of kernels and their spectra, each beside other ways to do it."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

import ntk_air as na
from benchmarks._harness import Case, Contestant, Run

_IMPLEMENTATIONS = ("STRUCTURED_DERIVATIVES", "JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS")
_TORCH = importlib.util.find_spec("torch") is not None


def _scaled(size: int, scale: float, least: int) -> int:
    return max(least, round(size * scale))


def _inputs(n: int, *shape: int) -> jax.Array:
    values = np.random.default_rng(0).standard_normal((n, *shape), dtype=np.float32)
    return jnp.asarray(values)


def infinite_fc(scale: float) -> Case:
    """Infinite-width NTK of a deep fully connected network, beside the matrix product it needs."""
    # A multiple of 20, so that equal batches exist.
    n, d = 20 * _scaled(100, scale, 2), 3072
    return Case(
        "infinite_fc",
        {"n": n, "d": d, "depth": 5},
        lambda: _inputs(n, d),
        [
            Contestant("ntk_air", lambda x: lambda: na.kernels.infinite_ntk(_deep(), x)),
            Contestant("neural-tangents batch", _nt_batch),
            Contestant("neural-tangents one jit", _nt_one_jit),
            Contestant("X Xᵀ alone", _gemm, value=None),
        ],
        notes=["Every contestant contains X Xᵀ, ntk_air only the tiles on and above the diagonal."],
        rates={"X Xᵀ alone": 2.0 * n * n * d},
    )


def _deep() -> na.kernels.Architecture:
    return na.kernels.fully_connected(depth=5)


def _nt_batch(x: jax.Array) -> Run:
    import neural_tangents as nt

    # As large as our own tiles, as far as it divides n.
    largest = 512 if jax.default_backend() == "cpu" else 2048
    size = max(b for b in range(1, min(largest, len(x)) + 1) if len(x) % b == 0)
    kernel_fn = nt.batch(_deep().kernel_fn, batch_size=size, device_count=0)
    return lambda: kernel_fn(x, None, "ntk")


def _nt_one_jit(x: jax.Array) -> Run:
    kernel_fn = jax.jit(lambda x: _deep().kernel_fn(x, None, "ntk"))
    return lambda: kernel_fn(x)


def _gemm(x: jax.Array) -> Run:
    product = jax.jit(lambda x: x @ x.T)
    return lambda: product(x)


def finite_mlp(scale: float) -> Case:
    """Trace NTK of a finite fully connected network."""
    n, widths = _scaled(96, scale, 4), (784, 512, 512, 512, 10)

    def prepare() -> tuple[Callable, Any, jax.Array]:
        network = na.kernels.fully_connected(3, widths[1], num_outputs=widths[-1])
        _, params = network.init_fn(jax.random.PRNGKey(0), (1, widths[0]))
        return network.apply_fn, params, _inputs(n, widths[0])

    contestants = _finite_contestants(slow=_IMPLEMENTATIONS[1:])
    notes = []
    if _TORCH:
        contestants.append(Contestant("torch.func Jacobian", _torch_mlp, repeats=1))
    else:
        notes.append("torch not installed: skipped")
    sizes = {"n": n, "widths": "-".join(map(str, widths))}
    return Case("finite_mlp", sizes, prepare, contestants, notes)


def finite_cnn(scale: float) -> Case:
    """Trace NTK of a small convolutional network with strides."""
    n = _scaled(32, scale, 4)

    def prepare() -> tuple[Callable, Any, jax.Array]:
        init_fn, apply_fn = _small_cnn()
        _, params = init_fn(jax.random.PRNGKey(0), (1, 32, 32, 3))
        return apply_fn, params, _inputs(n, 32, 32, 3)

    sizes = {"n": n, "image": "32x32x3", "channels": "32-64-64", "outputs": 10}
    return Case("finite_cnn", sizes, prepare, _finite_contestants(slow=()))


@functools.cache
def _small_cnn() -> tuple[Callable, Callable]:
    from neural_tangents import stax

    layers = []
    for channels in (32, 64, 64):
        layers += [stax.Conv(channels, (3, 3), strides=(2, 2), padding="SAME"), stax.Relu()]
    init_fn, apply_fn, _ = stax.serial(*layers, stax.Flatten(), stax.Dense(10))
    return init_fn, apply_fn


def _finite_contestants(slow: tuple[str, ...]) -> list[Contestant]:
    """Ours, and neural-tangents' implementations called directly; the slow ones timed once."""
    contestants = [Contestant("ntk_air auto", _ours_finite)]
    for name in _IMPLEMENTATIONS:
        label = "neural-tangents " + name.lower()
        build = functools.partial(_nt_finite, name)
        contestants.append(Contestant(label, build, repeats=1 if name in slow else None))
    return contestants


def _ours_finite(inputs: tuple[Callable, Any, jax.Array]) -> Run:
    apply_fn, params, x = inputs
    return lambda: na.kernels.empirical_ntk(apply_fn, params, x)


def _nt_finite(implementation: str, inputs: tuple[Callable, Any, jax.Array]) -> Run:
    import neural_tangents as nt

    apply_fn, params, x = inputs
    kernel_fn = nt.empirical_ntk_fn(
        apply_fn,
        trace_axes=(-1,),
        vmap_axes=0,
        implementation=nt.NtkImplementation[implementation],
    )
    jitted = jax.jit(lambda x, params: kernel_fn(x, None, params))
    return lambda: jitted(x, params)


def _torch_mlp(inputs: tuple[Callable, Any, jax.Array]) -> Run:
    """The same network in torch: Jacobians by vmap(jacrev), contracted layer by layer."""
    import torch  # pyright: ignore[reportMissingImports]

    _, params, x = inputs
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    leaves = [torch.tensor(np.asarray(p), device=device) for p in jax.tree.leaves(params)]
    points = torch.tensor(np.asarray(x), device=device)

    def outputs(leaves: list, point: Any) -> Any:
        hidden = point
        for layer, (w, b) in enumerate(zip(leaves[::2], leaves[1::2], strict=True)):
            hidden = torch.relu(hidden) if layer else hidden
            hidden = (2.0 / len(w)) ** 0.5 * hidden @ w + 0.1 * b.flatten()
        return hidden

    jacobian = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))

    def run() -> Any:
        blocks = [j.flatten(2) for j in jacobian(leaves, points)]
        kernel = sum(torch.einsum("ncp,mcp->nm", j, j) for j in blocks) / blocks[0].shape[1]
        # The copy to the host waits for the device, as block_until_ready does.
        return kernel.cpu().numpy()

    return run


def eigendecompose(scale: float) -> Case:
    """The 50 leading eigenpairs of a kernel of points with a decaying spectrum."""
    n, rank = _scaled(2000, scale, 40), 50
    rank = min(rank, n // 8)

    def prepare() -> jax.Array:
        # Variances k^-1, as the power spectrum of images has; white inputs have none to find.
        x = _inputs(n, 512) * jnp.arange(1.0, 513.0) ** -0.5
        return na.kernels.infinite_ntk(na.kernels.fully_connected(depth=2), x)

    ours = functools.partial(na.spectral.eigendecompose, rank=rank)
    return Case(
        "eigendecompose",
        {"n": n, "rank": rank},
        prepare,
        [
            Contestant("ntk_air lanczos", lambda k: lambda: ours(k, method="lanczos"), value=_top),
            Contestant("ntk_air dense", lambda k: lambda: ours(k, method="dense"), value=_top),
            Contestant("jax.numpy eigh", _jax_eigh, value=lambda r: r[0][::-1][:rank]),
            Contestant("scipy eigsh", lambda k: _scipy(k, rank), value=lambda r: r[0][::-1]),
        ],
        notes=["The deviation is of the eigenvalues, relative to the largest."],
    )


def _top(result: na.spectral.Eigensystem) -> jax.Array:
    return result.eigenvalues


def _jax_eigh(kernel: jax.Array) -> Run:
    jitted = jax.jit(jnp.linalg.eigh)
    return lambda: jitted(kernel)


def _scipy(kernel: jax.Array, rank: int) -> Run:
    host = np.asarray(kernel)
    return lambda: scipy.sparse.linalg.eigsh(host, k=rank, which="LA")


CASES: dict[str, Callable[[float], Case]] = {
    "infinite_fc": infinite_fc,
    "finite_mlp": finite_mlp,
    "finite_cnn": finite_cnn,
    "eigendecompose": eigendecompose,
}
