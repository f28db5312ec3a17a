"""Training in closed form: all times at once, given what is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ntk_air as na
from benchmarks import _dynamics_by_hand as by_hand
from benchmarks._dynamics_by_hand import Inputs
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import decaying, scaled

_CLASSES = 10


def closed_form_outputs(settings: Settings) -> Case:
    """Outputs on the training points at 200 times."""

    def ours(inputs: Inputs) -> Run:
        filters = [na.dynamics.gradient_flow(float(t)) for t in inputs.times]
        return lambda: na.dynamics.fit(inputs.eigensystem, filters, inputs.observed)

    peers = [
        Contestant("NumPy by hand", by_hand.numpy_outputs),
        Contestant("JAX by hand, one jit", by_hand.jax_outputs),
    ]
    return _case("closed_form_outputs", settings, ours, lambda inputs, outputs: outputs, peers)


def retrieval_curves(settings: Settings) -> Case:
    """How much of the clean labels is retrieved at 200 times."""

    def ours(inputs: Inputs) -> Run:
        es, times = inputs.eigensystem, inputs.times
        curves = na.dynamics.retrieval
        return lambda: curves(es, inputs.clean, inputs.observed, times, retention=1.0).draw_signal

    def signal(inputs: Inputs, outputs: jax.Array) -> jax.Array:
        return jnp.einsum("tnc,nc->t", outputs, inputs.clean) / jnp.sum(inputs.clean**2)

    peers = [
        Contestant("NumPy by hand", by_hand.numpy_signal),
        Contestant("JAX by hand, one jit", by_hand.jax_signal),
        Contestant("NumPy by hand, every curve", by_hand.numpy_curves, value=lambda c: c[2]),
        Contestant("JAX by hand, one jit, every curve", by_hand.jax_curves, value=lambda c: c[2]),
    ]
    return _case("retrieval_curves", settings, ours, signal, peers)


def _case(
    name: str,
    settings: Settings,
    ours: Callable[[Inputs], Run],
    reduce: Callable[[Inputs, jax.Array], jax.Array],
    peers: Sequence[Contestant],
) -> Case:
    n, count = scaled(2000, settings.scale, 40), scaled(200, settings.scale, 10)

    def prepare() -> Inputs:
        kernel = na.kernels.infinite_ntk(na.kernels.fully_connected(depth=2), decaying(n, 512))
        es = na.spectral.eigendecompose(kernel)
        labels = np.random.default_rng(1).integers(0, _CLASSES, n)
        noisy = na.noise.symmetric(labels, 0.4, num_classes=_CLASSES, seed=0)
        clean, observed = (na.datasets.encode(x, _CLASSES) for x in (labels, noisy.labels))
        first, last = 0.1 / float(es.eigenvalues[0]), 10 / float(es.eigenvalues[-1])
        return Inputs(kernel, es, clean, observed, np.geomspace(first, last, count))

    def peer(inputs: Inputs) -> tuple[Any, np.ndarray]:
        import neural_tangents as nt

        predict = nt.predict.gradient_descent_mse(inputs.kernel, inputs.observed)
        times = na.dynamics.to_neural_tangents_time(jnp.asarray(inputs.times), n, _CLASSES)
        return predict, np.asarray(times)

    def together(inputs: Inputs) -> Run:
        predict, times = peer(inputs)
        return lambda: reduce(inputs, predict(times))

    def compiled(inputs: Inputs) -> Run:
        predict, times = peer(inputs)
        run = jax.jit(lambda times: reduce(inputs, predict(times)))
        return lambda: run(jnp.asarray(times))

    def one_by_one(inputs: Inputs) -> Run:
        predict, times = peer(inputs)
        return lambda: reduce(inputs, jnp.stack([predict(float(t)) for t in times]))

    return Case(
        name,
        {"n": n, "times": count, "C": _CLASSES},
        prepare,
        [
            Contestant("ntk_air", ours),
            Contestant("neural-tangents, one call", together),
            Contestant("neural-tangents, one jit", compiled),
            Contestant("neural-tangents, a call per time", one_by_one, repeats=3),
            *peers,
        ],
        notes=[
            "Eigensystem and predictor are made before; gradient_descent_mse(kernel, y) itself "
            "diagonalises the kernel, which is not timed either.",
            "By hand there is no check of the inputs, nor of what rests on eigenvalues below "
            "round-off. Every curve: signal, noise, both of the draw, and all directions, as "
            "ntk_air returns them.",
        ],
    )
