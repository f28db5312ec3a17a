"""The main job: dataset and noisy labels in, one result with prediction and measurement out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ... import distillation, dynamics, kernels, spectral
from ..._classes import class_of
from ..._memory import eigensystem_budget
from ..._numerics import cast_floats
from ..._typing import Array
from ..._version import __version__
from ...datasets import Dataset
from ...noise import NoisyLabels
from ._inputs import check_dataset, check_noisy, coded_targets, described, prepared
from ._result import AIRAnalysis
from ._settings import Settings

_NUM_RECORDS = 40
_NETWORK_FIELDS = ("plain", "self_distilled", "measured", "predicted", "predicted_infinite")


def air(
    dataset: Dataset,
    noisy: NoisyLabels,
    settings: Settings | None = None,
    *,
    progress: bool = False,
    **overrides: Any,
) -> AIRAnalysis:
    """Measures anisotropic information retrieval of a fully connected network on a dataset.

    Computes the infinite-width NTK of the training points, where signal and noise lie in its
    spectrum, when each is retrieved, and what stopping at each time would give on the test points;
    then trains the network itself on the same labels, plainly and by self-distillation, and
    records the same quantities on it.

    Args:
        dataset: training and test points. Images lose their own mean and the training set's mean
            image, and are flattened and scaled to norm sqrt(d); inputs (n, d) are used as they are.
        noisy: observed labels of the training points, from `ntk_air.noise`.
        settings: `Settings`; fields may also be given as keywords.
        progress: show progress bars on a terminal.
        **overrides: fields of `Settings`.

    Returns:
        An `AIRAnalysis`.

    Raises:
        ValueError: no dataset or noisy labels, labels that do not match the dataset, settings out
            of range, or a kernel that does not fit in memory (the message says how many bytes).
        TypeError: if ``alpha`` of the settings is no number, array or schedule.
        RuntimeError: if an eigensolver fails.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Source: Dong, Hou, Lu, Zhang (arXiv:1910.01255).

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=60, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> result = na.analysis.air(data, noisy, steps=0)  # no network is trained
        >>> result.num_points, round(float(result.noise_rate), 2)
        (60, 0.47)
    """
    settings = dataclasses.replace(settings or Settings(), **overrides)
    check_dataset(dataset)
    check_noisy(noisy)
    if settings.precision is None:
        return _air(prepared(dataset), noisy, settings, progress)
    dataset = prepared(dataset)
    with jax.enable_x64(settings.precision == "float64"):
        inputs = cast_floats((dataset.train_inputs, dataset.test_inputs), settings.precision)
        dataset = dataclasses.replace(dataset, train_inputs=inputs[0], test_inputs=inputs[1])
        return _air(dataset, noisy, settings, progress)


def _air(dataset: Dataset, noisy: NoisyLabels, settings: Settings, progress: bool) -> AIRAnalysis:
    clean, observed = coded_targets(dataset, noisy)
    n = len(clean)
    budget = _check_memory(n, settings)
    architecture = kernels.fully_connected(
        settings.depth,
        settings.width,
        num_outputs=clean.shape[1],
        weight_std=settings.weight_std,
        bias_std=settings.bias_std,
    )
    kernel = kernels.infinite_ntk(
        architecture, dataset.train_inputs, memory_budget=budget, progress=progress
    )
    es = spectral.eigendecompose(kernel, rank=settings.rank)
    del kernel
    profile = spectral.air_profile(es, clean, observed, retention=noisy.retention)
    stopping = dynamics.stopping_time(es, observed)
    times = stopping.times
    curves = dynamics.retrieval(es, clean, observed, times, retention=noisy.retention)
    accuracies = _kernel_accuracies(architecture, dataset, es, observed, times, budget)
    rate = settings.learning_rate or float(1.0 / es.eigenvalues[0])
    stop_step = float(stopping.time) * (1 - settings.momentum) / rate
    time_constant = settings.time_constant or max(1.0, stop_step)
    if settings.steps:
        settings = dataclasses.replace(settings, learning_rate=rate, time_constant=time_constant)
    networks = _networks(architecture, dataset, noisy, clean, observed, es, settings, progress)
    return AIRAnalysis(
        eigenvalues=es.eigenvalues,
        profile=profile,
        curves=curves,
        stopping=stopping,
        times=times,
        noise_rate=jnp.asarray(noisy.empirical_rate),
        dataset=dataset.name,
        noise=described(noisy),
        architecture=architecture.name,
        num_points=n,
        num_test=len(dataset.test_labels),
        num_classes=dataset.num_classes,
        trusted_rank=es.trusted_rank,
        seed=settings.seed,
        learning_rate=rate,
        momentum=settings.momentum,
        time_constant=time_constant,
        versions=versions(),
        **accuracies,
        **networks,
    )


def versions() -> tuple[tuple[str, str], ...]:
    """Versions behind the numbers: this package, JAX and what computes with it, the device.

    Example:
        >>> import ntk_air as na
        >>> ("ntk_air", na.__version__) in na.analysis.versions()
        True
    """
    names = ("jax", "jaxlib", "neural-tangents", "optax", "numpy")
    found = [(name, importlib.metadata.version(name)) for name in names]
    device = jax.devices()[0]
    return (
        ("ntk_air", __version__),
        ("python", platform.python_version()),
        *found,
        ("device", f"{device.platform}:{device.device_kind}"),
    )


def _check_memory(n: int, settings: Settings) -> int:
    return eigensystem_budget(
        f"the kernel of {n} points",
        n,
        jnp.dtype(jnp.result_type(float)).itemsize,
        settings.memory_budget,
        rank=settings.rank,
        advice="use fewer points (train_size), fewer eigenpairs (rank, e.g. "
        f"{max(1, n // 20)}), or set memory_budget",
    )


def _kernel_accuracies(
    architecture: kernels.Architecture,
    dataset: Dataset,
    es: spectral.Eigensystem,
    observed: Array,
    times: Array,
    budget: int,
) -> dict[str, Array]:
    """Accuracy of kernel gradient flow at each time, on clean training and on test labels."""
    filters = [dynamics.gradient_flow(float(t)) for t in times]
    train = _accuracy(dynamics.fit(es, filters, observed), dataset.train_labels)
    if not len(dataset.test_labels):
        nothing = jnp.full(len(times), jnp.nan)
        return {
            "train_accuracy": train,
            "test_accuracy": nothing,
            "converged_accuracy": nothing[0],
        }
    cross = kernels.infinite_ntk(
        architecture, dataset.test_inputs, dataset.train_inputs, memory_budget=budget
    )
    outputs = dynamics.predict(
        es, [*filters, dynamics.gradient_flow(float("inf"))], observed, cross
    )
    test = _accuracy(outputs, dataset.test_labels)
    return {
        "train_accuracy": train,
        "test_accuracy": test[:-1],
        "converged_accuracy": test[-1],
    }


def _accuracy(outputs: Array, labels: Array) -> Array:
    right = class_of(outputs) == jnp.asarray(labels)
    return jnp.mean(right, axis=-1, dtype=outputs.dtype)


def _record_steps(steps: int) -> list[int]:
    """0, then about 40 log-spaced steps, then the last."""
    spaced = np.geomspace(1, max(steps, 1), _NUM_RECORDS)
    return sorted({0, steps, *np.unique(spaced.round().astype(int)).tolist()})


def _networks(
    architecture: kernels.Architecture,
    dataset: Dataset,
    noisy: NoisyLabels,
    clean: Array,
    observed: Array,
    es: spectral.Eigensystem,
    settings: Settings,
    progress: bool,
) -> dict[str, Any]:
    """Trains the network twice, plainly and by self-distillation, and measures retrieval on it."""
    if settings.steps == 0:
        return dict.fromkeys(_NETWORK_FIELDS)
    rate, beta = settings.learning_rate, settings.momentum
    assert rate is not None
    assert settings.time_constant is not None
    shape = (-1, *dataset.train_inputs.shape[1:])
    _, params = architecture.init_fn(jax.random.key(settings.seed), shape)
    train = _with_initial_outputs(architecture, params, dataset.train_inputs)
    test = None
    if len(dataset.test_labels):
        inputs = _with_initial_outputs(architecture, params, dataset.test_inputs)
        test = (inputs, dataset.test_labels)
    common: dict[str, Any] = {
        "optimizer": optax.sgd(rate, momentum=beta) if beta else rate,
        "learning_rate": rate / (1 - beta) if beta else None,
        "num_steps": settings.steps,
        "label_fn": distillation.hard,
        "clean": clean,
        "test": test,
        "record_every": _record_steps(settings.steps),
        "progress": progress,
    }
    arguments = (_centred(architecture, clean.shape[1]), params, train, observed)
    plain = distillation.self_distill(*arguments, alpha=1.0, record_outputs=True, **common).history
    # Trusting the network before it has retrieved the signal would lock its early errors in.
    alpha = optax.exponential_decay(
        1.0,
        1,
        math.exp(-1 / settings.time_constant),
        transition_begin=round(settings.time_constant),
    )
    refined = distillation.self_distill(*arguments, alpha=alpha, **common).history
    own = spectral.eigendecompose(
        kernels.empirical_ntk(
            architecture.apply_fn,
            params,
            dataset.train_inputs,
            implementation="structured_derivatives",
            memory_budget=settings.memory_budget,
            progress=progress,
        ),
        rank=settings.rank,
    )
    assert plain.outputs is not None
    steps = [int(s) for s in plain.step]
    curves: dict[str, Any] = {
        "clean": clean,
        "observed": observed,
        "times": [rate / (1 - beta) * s for s in steps],
        "retention": noisy.retention,
    }
    filters = [dynamics.heavy_ball(rate, s, beta) for s in steps]
    return {
        "measured": dynamics.measured_retrieval(plain.outputs, eigensystem=own, **curves),
        "predicted": dynamics.retrieval(own, filters=filters, **curves),
        "predicted_infinite": dynamics.retrieval(es, filters=filters, **curves),
        "plain": dataclasses.replace(plain, outputs=None, test_outputs=None),
        "self_distilled": refined,
    }


def _with_initial_outputs(architecture: kernels.Architecture, params: Any, inputs: Array) -> Array:
    """Inputs (n, d) with the untrained network's outputs (n, C) beside them."""
    return jnp.concatenate([inputs, jax.jit(architecture.apply_fn)(params, inputs)], axis=1)


def _centred(architecture: kernels.Architecture, num_outputs: int) -> Any:
    """The network minus its own initial outputs, which come with the inputs.

    In NTK parameterisation f_0 is as large as the labels, and what of it training does not remove
    stays in every prediction as noise; subtracting it is the usual remedy (Chizat, Oyallon, Bach,
    arXiv:1812.07956, section 1). The gradients, and so the NTK, are unchanged.
    """

    def apply_fn(params: Any, inputs: Array) -> Array:
        return architecture.apply_fn(params, inputs[:, :-num_outputs]) - inputs[:, -num_outputs:]

    return apply_fn
