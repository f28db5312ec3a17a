"""Every public function that takes arrays refuses what is no finite real number in any of them."""

from __future__ import annotations

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na

_N, _C = 8, 2
_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(_N, 3)).astype(np.float32)
_Y = np.asarray(na.datasets.encode(np.arange(_N) % _C, _C))
_P = _Y + np.float32(0.5)
_LABELS = np.arange(_N) % _C
_KERNEL = _X @ _X.T + np.eye(_N, dtype=np.float32)
_CROSS = _X[:4] @ _X.T
_ES = na.spectral.eigendecompose(_KERNEL)
_SIZES = np.array([1.0, 2.0, 4.0, 8.0])
_FLOW = na.dynamics.gradient_flow(0.1)
_NET = na.kernels.fully_connected(1, 4, num_outputs=_C)
_PARAMS = {"w": np.ones((3, _C), np.float32)}


def _linear(params, x):
    return x @ params["w"]


def _operator_product(v):
    return na.kernels.NTKOperator(_linear, _PARAMS, _X) @ v


_TRAINING = {"optimizer": 0.1, "num_steps": 1}
# Without those that need more than the call, and two that are called with integers below.
_METHODS = sorted(
    {
        one.function_name
        for one in na.distillation.baselines.METHODS.values()
        if not one.required and one.function_name not in ("forward_correction", "mixup")
    }
)
# Function, its arguments by name, and which of them are arrays of floats.
_FLOATS = {
    "eigendecompose": (na.spectral.eigendecompose, {"kernel_or_operator": _KERNEL}, "kernel"),
    "project": (na.spectral.project, {"eigensystem": _ES, "signal": _Y}, ""),
    "air_profile": (
        na.spectral.air_profile, {"eigensystem": _ES, "clean": _Y, "observed": _Y}, ""),
    "retention_of": (na.spectral.retention_of, {"clean": _Y, "observed": _Y}, ""),
    "alignment": (na.spectral.kernel_target_alignment, {"kernel": _KERNEL, "targets": _Y}, ""),
    "complexity": (
        na.spectral.supervision_complexity, {"eigensystem": _ES, "targets": _Y}, "signal"),
    "fit": (
        na.dynamics.fit,
        {"eigensystem": _ES, "filter": _FLOW, "observed": _Y, "initial": 0 * _Y}, ""),
    "predict": (
        na.dynamics.predict,
        {
            "eigensystem": _ES, "filter": _FLOW, "observed": _Y, "test_train_kernel": _CROSS,
            "initial": 0 * _Y, "initial_test": 0 * _Y[:4],
        }, ""),
    "remainder_bound": (
        na.dynamics.remainder_bound,
        {"eigensystem": _ES, "filter": _FLOW, "observed": _Y, "test_train_kernel": _CROSS,
         "initial": 0 * _Y}, ""),
    "retrieval": (
        na.dynamics.retrieval,
        {"eigensystem": _ES, "clean": _Y, "observed": _Y, "times": np.array([0.0, 1.0]),
         "initial": 0 * _Y}, ""),
    "measured_retrieval": (
        na.dynamics.measured_retrieval,
        {"outputs": np.stack([0 * _Y, _Y]), "clean": _Y, "observed": _Y,
         "times": np.array([0.0, 1.0])}, ""),
    "risk": (
        na.dynamics.risk,
        {"eigensystem": _ES, "filter": _FLOW, "clean": _Y, "observed": _Y}, ""),
    "equivalent": (
        na.dynamics.equivalent_stopping_time,
        {"eigensystem": _ES, "filter": _FLOW, "observed": _Y, "initial": 0 * _Y}, ""),
    "equivalence_table": (
        na.dynamics.equivalence_table,
        {"eigensystem": _ES, "observed": _Y, "schemes": {"flow": [_FLOW]}}, ""),
    "estimate_noise": (na.dynamics.estimate_noise, {"eigensystem": _ES, "observed": _Y}, ""),
    "stopping_time": (
        na.dynamics.stopping_time,
        {"eigensystem": _ES, "observed": _Y, "times": np.array([0.1, 1.0])}, ""),
    "leave_one_out": (
        na.dynamics.leave_one_out, {"eigensystem": _ES, "filter": _FLOW, "observed": _Y}, ""),
    "leave_one_out_flow": (
        na.dynamics.leave_one_out_flow, {"eigensystem": _ES, "time": 0.1, "observed": _Y}, ""),
    "refine_labels": (
        na.dynamics.refine_labels,
        {"eigensystem": _ES, "observed": _Y, "transition": np.full((2, 2), 0.5)}, ""),
    "tolerance_strengths": (
        na.dynamics.tolerance_strengths,
        {"eigensystem": _ES, "observed": _Y, "tolerance": 0.01, "rounds": 1}, ""),
    "optimal_teacher_weight": (
        na.dynamics.optimal_teacher_weight,
        {"eigenvalues": np.ones(3), "signal": np.ones(3), "noise_variance": 0.1, "strength": 0.1,
         "error_weights": np.ones(3)}, ""),
    "infinite_ntk": (na.kernels.infinite_ntk, {"architecture": _NET, "x1": _X, "x2": _X}, ""),
    "infinite_diagonal": (na.kernels.infinite_diagonal, {"architecture": _NET, "x": _X}, "x1"),
    "empirical_ntk": (
        na.kernels.empirical_ntk,
        {"apply_fn": _linear, "params": _PARAMS, "x1": _X, "x2": _X}, ""),
    "NTKOperator": (
        na.kernels.NTKOperator, {"apply_fn": _linear, "params": _PARAMS, "x": _X}, "x1"),
    "product": (_operator_product, {"v": np.ones(_N, np.float32)}, ""),
    "decode": (na.datasets.decode, {"codes": _Y}, ""),
    "instance_dependent": (
        na.noise.instance_dependent,
        {"inputs": _X, "labels": _LABELS, "rate": 0.2, "num_classes": 2, "seed": 0}, ""),
    "from_transition": (
        na.noise.from_transition,
        {"labels": _LABELS, "transition": np.full((2, 2), 0.5), "seed": 0}, ""),
    "self_distill": (
        na.distillation.self_distill,
        {"apply_fn": _linear, "params": _PARAMS, "inputs": _X, "observed": _Y, "clean": _Y,
         "alpha": 0.5, "label_fn": na.distillation.hard, **_TRAINING}, ""),
    "kernel_self_distill": (
        na.distillation.kernel_self_distill,
        {"kernel": _KERNEL, "observed": _Y, "clean": _Y, "initial": 0 * _Y, "learning_rate": 0.01,
         "num_steps": 1, "alpha": 0.5, "test_train_kernel": _CROSS, "test": _LABELS[:4],
         "test_initial": 0 * _Y[:4]}, ""),
    "measure_clusterability": (
        na.theory.measure_clusterability,
        {"inputs": _X, "labels": _LABELS, "num_clusters": 2}, ""),
    "measure_clusters": (
        lambda **arrays: na.theory.measure_clusters(types.SimpleNamespace(**arrays)),
        {"inputs": _X, "clean": _Y[:, :1], "observed": _Y[:, :1], "centers": _X[:2],
         "clusters": _LABELS}, ""),
    "two_layer_apply": (na.theory.two_layer_apply, {"weights": _X, "inputs": _X}, ""),
    "two_layer_ntk": (na.theory.two_layer_ntk, {"weights": _X, "x1": _X, "x2": _X}, ""),
    "power_law": (
        na.theory.power_law, {"x": _SIZES, "y": _SIZES**2, "groups": np.zeros(4, int)}, ""),
    "fit_slope": (
        na.analysis.fit_slope, {"sizes": _SIZES, "values": np.stack([_SIZES] * 2, 1)}, ""),
    "estimate_transition": (
        na.distillation.baselines.estimate_transition, {"probabilities": _P}, ""),
    "nearest": (na.distillation.nearest, {"levels": np.array([0.0, 0.5, 1.0])}, ""),
    "from_arrays": (
        na.datasets.from_arrays,
        {"train_inputs": _X, "train_labels": _LABELS, "test_inputs": _X, "test_labels": _LABELS,
         "name": "own"}, ""),
    "cluster_kernel": (na.theory.cluster_kernel, {"centers": _X}, ""),
    **{
        name: (
            getattr(na.distillation.baselines, name),
            {"apply_fn": _linear, "params": _PARAMS, "inputs": _X, "observed": _P, "key": 0,
             **({"validation": 0.5} if name == "early_stopping" else {}), **_TRAINING}, "")
        for name in _METHODS
    },
}  # fmt: skip
_KINDS = ("nan", "inf", "minus inf", "masked", "complex", "missing")
_CASES = [
    (name, argument, kind)
    for name, (_, arguments, _) in _FLOATS.items()
    for argument, value in arguments.items()
    for kind in _KINDS
    # At an infinite time training has converged.
    if (argument, kind) != ("times", "inf")
    if (isinstance(value, np.ndarray) and value.dtype.kind == "f") or argument == "params"
]


def _bad(value: np.ndarray, kind: str):
    last = (value.size - 1,)
    if kind == "masked":
        return np.ma.masked_array(value, np.arange(value.size).reshape(value.shape) == last[0])
    if kind == "complex":
        return value.astype(np.complex64)
    if kind == "missing":
        array = value.astype(object)
        array.flat[last] = None
        return array
    array = value.copy()
    array.flat[last] = {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf}[kind]
    return array


@pytest.mark.parametrize(("name", "argument", "kind"), _CASES)
def test_what_is_no_finite_real_number_is_refused_by_name(name, argument, kind):
    function, arguments, called = _FLOATS[name]
    value = arguments[argument]
    spoilt = jax.tree.map(lambda leaf: _bad(leaf, kind), value)
    with pytest.raises(ValueError) as error:
        function(**arguments | {argument: spoilt})
    # The message begins with the name, or says where in it: "params['w'] holds ...".
    names = "|".join(map(re.escape, filter(None, (argument, called))))
    assert re.match(rf"(the \w+ of |a |the )?({names})(?!\w)", str(error.value)), error.value


@pytest.mark.parametrize("name", sorted(_FLOATS))
def test_what_the_table_calls_valid_is_accepted(name):
    function, arguments, _ = _FLOATS[name]
    function(**arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda labels: na.datasets.encode(labels, 2),
        lambda labels: na.noise.symmetric(labels, 0.2, num_classes=2, seed=0),
        lambda labels: na.noise.pair_flip(labels, 0.2, num_classes=2, seed=0),
        lambda labels: na.noise.asymmetric(labels, 0.2, num_classes=2, seed=0, mapping={0: 1}),
        lambda labels: na.noise.from_transition(labels, np.full((2, 2), 0.5), seed=0),
    ],
)
def test_masked_labels_are_refused(call):
    with pytest.raises(ValueError, match="labels has 1 masked"):
        call(np.ma.masked_array(_LABELS, np.arange(_N) == 3))


def _overflows(params, x):
    return jnp.exp(x[:, :1] * params)


@pytest.mark.parametrize("where", ["memory", "store", "mesh"])
def test_no_kernel_that_is_not_finite_is_kept(where, tmp_path):
    inputs = np.array([[0.01], [0.5]], np.float32)
    options = {
        "memory": {},
        "store": {"store": tmp_path / "kernel"},
        "mesh": {"mesh": jax.make_mesh((1,), ("data",))},
    }[where]
    with pytest.raises(ValueError, match="NaN or infinite"):
        na.kernels.empirical_ntk(_overflows, jnp.full(1, 170.0), inputs, **options)
    if where == "store":
        assert (tmp_path / "kernel").is_dir()
        assert not [path for path in tmp_path.rglob("c/**/*") if path.is_file()]
