"""The main job: dataset and noisy labels in, one result with prediction and measurement out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from typing import Any

import jax
import jax.numpy as jnp

from ..._numerics import cast_floats, computing_in
from ..._typing import ArrayLike, Float, PyTree
from ..._version import __version__
from ...datasets import Dataset
from ...noise import NoisyLabels
from .._network._given import (
    GivenNetwork,
    count_outputs,
    given_network,
    implementation_for,
)
from .._network._kernel import GivenKernel, StudiedKernel, given_kernel
from .._network._prepare import prepared
from ._by_layer import layer_shares
from ._cross_entropy import check_cross_entropy
from ._of_kernel import of_kernel
from ._of_network import of_network
from ._result import AIRAnalysis
from ._settings import Settings
from ._targets import check_dataset, check_noisy, count_targets, described, targets_of
from ._training import problem_of

_NETWORK_FIELDS = ("plain", "self_distilled", "measured", "predicted", "predicted_infinite")


def air(
    dataset: Dataset,
    noisy: NoisyLabels | Float[ArrayLike, "n k"],
    settings: Settings | None = None,
    *,
    network: Any = None,
    params: PyTree = None,
    kernel: Any = "auto",
    cross: Float[ArrayLike, "m n"] | None = None,
    progress: bool = False,
    **overrides: Any,
) -> AIRAnalysis:
    """Measures anisotropic information retrieval of a network, or of a kernel, on a dataset.

    Computes the network's NTK over the training points, where signal and noise lie in its
    spectrum, when each is retrieved, in all, by class, by layer and at the test points, and what
    stopping at each time would give; then trains the network itself on the same labels, plainly
    and by self-distillation, and records the same quantities on it, and how its NTK moved.

    Args:
        dataset: training and test points. Images lose their own mean and the training set's mean
            image, and are divided by one deviation; for networks on vectors they are then flattened
            and scaled to norm sqrt(d). Inputs (n, d) are used as they are, unless their columns are
            of unlike units: those are standardised, with a warning. Integer inputs are tokens. A
            network of your own gets the inputs as they are. See ``standardize`` of `Settings`.
        noisy: observed labels of the training points, from `ntk_air.noise`; of a dataset with
            ``train_targets`` the observed targets (n, k), an array. Those have no classes and no
            self-distillation; in place of accuracies the result has R².
        settings: `Settings`; fields may also be given as keywords.
        network: None is a fully connected ReLU network; a name in `ntk_air.kernels.ARCHITECTURES`
            or `ntk_air.networks.NETWORKS` (in NTK parameterisation, BatchNorm at its running
            statistics); an `Architecture` or a neural-tangents triple; a flax linen or nnx module
            or an equinox module; a function ``(params, inputs) -> outputs (n, C)`` with ``params``,
            or the pair that `ntk_air.kernels.functional` makes. It has an output for each class, or
            a single one for two.
        params: of a function, or the variables of a linen module, which is initialised without.
        kernel: ``"infinite"``, of infinite width; ``"finite"``, the network's own at
            initialisation; ``"nngp"``, of the infinitely wide network before training; ``"auto"``,
            infinite where one is known. Or a kernel of your own: an array (n, n), a
            `StoredKernel`, or a function ``k(x1, x2) -> (n1, n2)``, such as an RBF on embeddings;
            without ``network`` no network is trained beside it.
        cross: its values (m, n) between test and training points, where it is an array or store;
            without them nothing is said of test points.
        progress: show progress bars on a terminal.
        **overrides: fields of `Settings`.

    Returns:
        An `AIRAnalysis`.

    Raises:
        ValueError: no dataset or noisy labels, labels that do not match the dataset, a network or
            kernel of another form or that does not fit the data, settings out of range or that
            nothing would read, or a kernel that does not fit in memory (the message says how many
            bytes).
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
    check_noisy(noisy, dataset)
    if not isinstance(kernel, str) and network is None:
        studied = None
    else:
        studied = given_network(network, params, settings.of_network(), count_targets(dataset))
    settings = settings.completed(fully_connected=network is None, trains=studied is not None)
    which = given_kernel(kernel, cross, studied)
    if studied is not None:
        dataset = prepared(dataset, studied, settings.standardize)
    with computing_in(settings.precision):
        if settings.precision is not None:
            inputs = cast_floats((dataset.train_inputs, dataset.test_inputs), settings.precision)
            dataset = dataclasses.replace(dataset, train_inputs=inputs[0], test_inputs=inputs[1])
        return _air(dataset, noisy, settings, studied, which, progress)


def _air(
    dataset: Dataset,
    noisy: Any,
    settings: Settings,
    studied: GivenNetwork | None,
    which: GivenKernel,
    progress: bool,
) -> AIRAnalysis:
    inputs, n = dataset.train_inputs, len(dataset.train_labels)
    name = "a kernel of one's own" if studied is None else studied.name
    started, num_outputs, implementation = None, None, "auto"
    if studied is not None and (settings.steps or which.kind == "finite"):
        started = studied.start(inputs, settings.seed)
        num_outputs = count_outputs(started, inputs, name)
        implementation = implementation_for(studied, started, inputs)
    targets = targets_of(dataset, noisy, num_outputs, name)
    if settings.cross_entropy:
        check_cross_entropy(targets, dataset.num_classes)
    kernel = StudiedKernel(
        which,
        studied,
        started,
        settings.rank,
        settings.memory_budget,
        "use fewer points (train_size), fewer eigenpairs (rank, e.g. "
        f"{max(1, n // 20)}), or set memory_budget",
        progress,
        implementation=implementation,
    )
    how = {"memory_budget": kernel.budget(n), "implementation": implementation}
    problem = None
    if settings.steps:
        assert started is not None
        problem = problem_of(started, dataset, targets, settings.rank, how, progress)
    es = problem.meter.first if problem and which.kind == "finite" else kernel.spectrum(inputs)
    cross = kernel.cross(dataset.test_inputs, inputs) if len(dataset.test_labels) else None
    found: dict[str, Any] = dict.fromkeys(_NETWORK_FIELDS)
    found |= of_kernel(es, cross, dataset, targets)
    if which.kind == "finite":
        assert started is not None
        found["by_layer"] = layer_shares(started, inputs, es, targets, how)
    pace = settings.paced(float(es.eigenvalues[0]), float(found["stopping"].time))
    if problem is not None:
        trained, pace = of_network(problem, (es, cross), found, settings, which.kind)
        found |= trained
    return AIRAnalysis(
        noise_rate=jnp.asarray(getattr(noisy, "empirical_rate", jnp.nan)),
        dataset=dataset.name,
        noise=described(noisy),
        architecture=name,
        kernel=which.kind,
        num_points=n,
        num_test=len(dataset.test_labels),
        num_classes=dataset.num_classes,
        trusted_rank=es.trusted_rank,
        seed=settings.seed,
        learning_rate=pace.learning_rate,
        momentum=pace.momentum,
        time_constant=pace.time_constant,
        versions=versions(),
        **found,
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
