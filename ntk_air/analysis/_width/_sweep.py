"""Finite width against infinite width: how far networks are from the closed forms, over width."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ... import kernels
from ..._checks import (
    check_choice,
    check_finite,
    check_ndim,
    check_same_length,
    check_seed,
    check_size,
)
from ..._memory import eigensystem_budget
from ..._numerics import double_precision
from ..._progress import with_progress
from ..._results import result, static
from ..._typing import Array, ArrayLike, Float, Int
from ._problem import WidthProblem
from ._slopes import SlopeFit, fit_slope

_NUM_RECORDS = 16


@result
class WidthSweep:
    """Deviations of trained networks from closed forms, at W widths, S seeds and T times.

    A deviation is ‖f_t − g_t‖_F / √n of the outputs f_t (n, C) of the centred network (its own
    initial outputs subtracted) from those of a closed form g_t for the same discrete steps; its
    slope is that of the power law in the width fitted to its largest over the T times.

    Attributes:
        widths: (W,).
        steps: (T,), gradient descent steps.
        times: (T,), learning rate × step.
        linearised: (W, S, T), from the closed form of the network's own NTK at initialisation,
            all (n·C)² entries of it: the error of linearisation.
        mean_kernel: (W, S, T), from that of its own NTK averaged over outputs (n, n).
        infinite: (W, S, T), from that of the infinite-width NTK.
        infinite_test: (W, S, T), the same at the test points; None without any.
        kernel: (W, S), ‖Θ − Θ_∞‖_F / ‖Θ_∞‖_F of the NTK at initialisation, averaged over outputs.
        slopes: by name of the five attributes above (of those that there are); NaN where a
            deviation is exactly zero, which no power law is.
        seeds: the S seeds.
        learning_rate: η, for the loss ½‖f − ỹ‖² summed over points and outputs.
        architecture: what the networks are.
        dtype: in which all of it was computed.
    """

    widths: Int[Array, " W"]
    steps: Int[Array, " T"]
    times: Float[Array, " T"]
    linearised: Float[Array, "W S T"]
    mean_kernel: Float[Array, "W S T"]
    infinite: Float[Array, "W S T"]
    infinite_test: Float[Array, "W S T"] | None
    kernel: Float[Array, "W S"]
    slopes: dict[str, SlopeFit]
    seeds: tuple[int, ...] = static()
    learning_rate: float = static()
    architecture: str = static()
    dtype: str = static()


def width_sweep(
    inputs: Float[ArrayLike, "n d"],
    observed: Float[ArrayLike, "n C"],
    *,
    widths: Sequence[int] = (256, 512, 1024, 2048, 4096, 8192),
    seeds: Sequence[int] = (0, 1, 2),
    depth: int = 1,
    activation: str = "relu",
    weight_std: float = 1.4,
    bias_std: float = 0.1,
    learning_rate: float | None = None,
    steps: int | Sequence[int] = 300,
    test_inputs: Float[ArrayLike, "m d"] | None = None,
    precision: str = "float64",
    memory_budget: float | None = None,
    progress: bool = False,
    dtype: str | None = None,
) -> WidthSweep:
    """Trains fully connected networks of several widths and measures how far closed forms are off.

    Every network is trained by full-batch gradient descent on ½‖f − ỹ‖² summed over points and
    outputs, centred, in NTK parameterisation. The closed forms are those of discrete gradient
    descent, so that the step size is no part of the deviation.

    Args:
        inputs: training inputs (n, d).
        observed: targets (n, C).
        widths: W different widths.
        seeds: of the initial parameters, S of them.
        depth: hidden layers.
        activation: one of `ntk_air.kernels.ACTIVATIONS`.
        weight_std: standard deviation of the weights.
        bias_std: standard deviation of the biases.
        learning_rate: η, below 2/λ_1 of the infinite-width NTK; None is 1/λ_1.
        steps: the steps to compare at, increasing; a number is the last of about 16 log-spaced.
        test_inputs: points (m, d) to compare with the infinite-width closed form at.
        precision: ``"float64"``, whatever JAX's default, so that round-off is no part of the
            deviation; or ``"float32"``, for accelerators without float64.
        memory_budget: bytes for the (n·C)² kernel of a network and its eigensystem; None is half
            of what is free.
        progress: show a bar on a terminal.
        dtype: the former name of ``precision``.

    Returns:
        A `WidthSweep`.

    Raises:
        ValueError: on shapes that do not match, values out of range, or kernels that do not fit.
        DivergenceError: a learning rate that is too large for one of the networks.
        RuntimeError: if an eigensolver fails.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Source: the linearisation error is O(width^(−1/2)) by Lee et al. (arXiv:1902.06720), an upper
    bound; the NTK at initialisation is within O(width^(−1/2)) of its limit by Jacot, Gabriel,
    Hongler (arXiv:1806.07572).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> rng = np.random.default_rng(0)
        >>> inputs, observed = rng.normal(size=(6, 3)), rng.choice([-1.0, 1.0], (6, 1))
        >>> sweep = na.analysis.width_sweep(
        ...     inputs, observed, widths=(16, 32), seeds=(0, 1), steps=2)
        >>> sweep.widths.tolist()
        [16, 32]
    """
    check_ndim("inputs", inputs, 2, "(n, d)")
    check_ndim("observed", observed, 2, "(n, C)")
    check_same_length("inputs", inputs, "observed", observed)
    check_finite("inputs", inputs)
    check_finite("observed", observed)
    if test_inputs is not None:
        check_finite("test_inputs", test_inputs)
    if dtype is not None:
        warnings.warn("dtype= is now precision=", DeprecationWarning, stacklevel=2)
        precision = dtype
    check_choice("precision", precision, ("float64", "float32"))
    widths, seeds = _networks_for_slopes(widths, seeds)
    chosen = _steps(steps)
    size = np.size(observed)
    eigensystem_budget(
        f"the NTK between all {size} outputs (points × classes)",
        size,
        np.dtype(precision).itemsize,
        memory_budget,
        advice="use fewer points, or set memory_budget",
    )

    def architecture(width: int) -> kernels.Architecture:
        return kernels.fully_connected(
            depth,
            width,
            num_outputs=np.shape(observed)[1],
            activation=activation,
            weight_std=weight_std,
            bias_std=bias_std,
        )

    with double_precision() if precision == "float64" else contextlib.nullcontext():
        problem = WidthProblem(
            architecture(widths[0]), inputs, observed, test_inputs, learning_rate, chosen, precision
        )
        runs = [(width, seed) for width in widths for seed in seeds]
        shown = with_progress(runs, "network", progress)
        rows = [problem.measure(architecture(w), seed) for w, seed in shown]
    shape = (len(widths), len(seeds))
    tables = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    tables = {name: table.reshape(*shape, *table.shape[1:]) for name, table in tables.items()}
    slopes = {
        name: _slope(widths, table.reshape(*shape, -1).max(axis=2))
        for name, table in tables.items()
    }
    columns: dict[str, Any] = {name: jnp.asarray(table) for name, table in tables.items()}
    return WidthSweep(
        widths=jnp.asarray(widths),
        steps=jnp.asarray(chosen),
        times=jnp.asarray(problem.learning_rate * np.asarray(chosen)),
        infinite_test=columns.pop("infinite_test", None),
        slopes=slopes,
        seeds=seeds,
        learning_rate=problem.learning_rate,
        architecture=f"fully_connected(depth={depth}, activation={activation})",
        dtype=precision,
        **columns,
    )


def _slope(widths: tuple[int, ...], largest: np.ndarray) -> SlopeFit:
    if (largest > 0).all():
        return fit_slope(widths, largest)
    nan = float("nan")
    return SlopeFit(nan, nan, nan, nan, nan, nan, largest.size)


def _networks_for_slopes(
    widths: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and seeds, each once and enough of them for slopes with an error."""
    widths, seeds = _distinct("widths", widths, 1), _distinct("seeds", seeds, 0)
    for seed in seeds:
        check_seed("seeds", seed)
    if len(widths) < 2 or len(widths) * len(seeds) < 3:
        raise ValueError(
            f"{len(widths)} width(s) and {len(seeds)} seed(s) do not give a slope with an error; "
            "expected at least two widths, and three networks in all."
        )
    return widths, seeds


def _distinct(name: str, values: Sequence[int], low: int) -> tuple[int, ...]:
    found = tuple(check_size(name, value, low) for value in values)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{name} is {found}, expected one or more numbers, each once.")
    return found


def _steps(steps: int | Sequence[int]) -> tuple[int, ...]:
    if np.ndim(steps) == 0:
        last = check_size("steps", steps, 1)  # pyright: ignore[reportArgumentType]
        spaced = np.geomspace(1, last, _NUM_RECORDS).round().astype(int)
        return tuple(np.unique(spaced).tolist())
    chosen = tuple(check_size("steps", step, 1) for step in np.asarray(steps).tolist())
    if not chosen or any(b <= a for a, b in itertools.pairwise(chosen)):
        raise ValueError(f"steps is {chosen}, expected one or more increasing steps.")
    return chosen
