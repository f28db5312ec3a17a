"""One network of a width sweep: trained, and compared with every closed form."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import dynamics, kernels, spectral
from ..._checks import check_in_range
from ..._typing import Array, ArrayLike, FilterLike, PyTree
from ...distillation import DivergenceError


class WidthProblem:
    """What all networks are compared on: data, steps, and the infinite-width closed form."""

    def __init__(
        self,
        architecture: kernels.Architecture,
        inputs: ArrayLike,
        observed: ArrayLike,
        test_inputs: ArrayLike | None,
        learning_rate: float | None,
        steps: tuple[int, ...],
        dtype: str,
    ) -> None:
        self.inputs = jnp.asarray(inputs, dtype)
        self.observed = jnp.asarray(observed, dtype)
        self.test_inputs = None if test_inputs is None else jnp.asarray(test_inputs, dtype)
        self.kernel: Any = kernels.infinite_ntk(architecture, self.inputs)
        es = spectral.eigendecompose(self.kernel)
        rate = float(1.0 / es.eigenvalues[0]) if learning_rate is None else learning_rate
        # From 2/λ_1 on gradient descent diverges at infinite width already.
        limit = float(2.0 / es.eigenvalues[0])
        check_in_range("learning_rate", rate, 0.0, limit, low_open=True, high_open=True)
        self.learning_rate, self.steps = float(rate), steps
        self.filters: list[FilterLike] = [dynamics.gradient_descent(rate, s) for s in steps]
        self.infinite = dynamics.fit(es, self.filters, self.observed)
        if self.test_inputs is not None:
            cross: Any = kernels.infinite_ntk(architecture, self.test_inputs, self.inputs)
            self.infinite_test = dynamics.predict(es, self.filters, self.observed, cross)

    def measure(self, architecture: kernels.Architecture, seed: int) -> dict[str, np.ndarray]:
        """Deviations of one network from each closed form."""
        _, params = architecture.init_fn(jax.random.key(seed), (-1, self.inputs.shape[1]))
        outputs, test_outputs = self._train(architecture, params)
        n, c = self.observed.shape
        full: Any = kernels.empirical_ntk(
            architecture.apply_fn, params, self.inputs, outputs="full"
        )
        mean = jnp.einsum("iaja->ij", full.reshape(n, c, n, c)) / c
        own = self._closed_form(full, self.observed.reshape(-1, 1)).reshape(outputs.shape)
        found = {
            "linearised": _deviation(outputs, own),
            "mean_kernel": _deviation(outputs, self._closed_form(mean, self.observed)),
            "infinite": _deviation(outputs, self.infinite),
            "kernel": jnp.linalg.norm(mean - self.kernel) / jnp.linalg.norm(self.kernel),
        }
        if test_outputs is not None:
            found["infinite_test"] = _deviation(test_outputs, self.infinite_test)
        return {name: np.asarray(value) for name, value in found.items()}

    def _closed_form(self, kernel: Array, observed: Array) -> Array:
        return dynamics.fit(spectral.eigendecompose(kernel), self.filters, observed)

    def _train(
        self, architecture: kernels.Architecture, params: PyTree
    ) -> tuple[Array, Array | None]:
        """Centred outputs at each step (T, n, C), and at the test points (T, m, C)."""
        apply_fn = jax.jit(architecture.apply_fn)
        initial = apply_fn(params, self.inputs)
        tests = [] if self.test_inputs is None else [apply_fn(params, self.test_inputs)]
        outputs, test_outputs = [], []
        done = 0
        for step in self.steps:
            params = _descend(
                architecture.apply_fn,
                params,
                self.inputs,
                self.observed + initial,
                self.learning_rate,
                step - done,
            )
            done = step
            outputs.append(apply_fn(params, self.inputs) - initial)
            if tests:
                test_outputs.append(apply_fn(params, self.test_inputs) - tests[0])
        stacked = jnp.stack(outputs)
        if not bool(jnp.isfinite(stacked).all()):
            raise DivergenceError(
                f"training of {architecture.name} diverged at learning_rate "
                f"{self.learning_rate:.4g}; lower it, or leave out the smallest widths."
            )
        return stacked, jnp.stack(test_outputs) if tests else None


@functools.partial(jax.jit, static_argnums=0)
def _descend(
    apply_fn: Callable[..., Array],
    params: PyTree,
    inputs: Array,
    target: Array,
    learning_rate: float,
    num_steps: int,
) -> PyTree:
    """``num_steps`` steps of gradient descent on half the summed squared distance to a target."""

    def step(_: Any, params: PyTree) -> PyTree:
        outputs, pull = jax.vjp(lambda p: apply_fn(p, inputs), params)
        (gradient,) = pull(outputs - target)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient)

    return jax.lax.fori_loop(0, num_steps, step, params)


def _deviation(outputs: Array, reference: Array) -> Array:
    """‖f_t − g_t‖_F / √n, (T,)."""
    return jnp.linalg.norm(outputs - reference, axis=(1, 2)) / outputs.shape[1] ** 0.5
