"""The kernel that judges: of a network, or one of one's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from ..._checks import check_size
from ..._memory import eigensystem_bytes, human
from ..._numerics import cast_floats
from ..._progress import announce
from ..._typing import Array, Float, PyTree
from ...datasets import Dataset
from ...spectral import Eigensystem
from .._network._given import given_network
from .._network._kernel import StudiedKernel, given_kernel
from .._network._prepare import prepared

# Points from which on a line says beforehand what the work takes.
_LARGE = 4000


@dataclasses.dataclass(frozen=True)
class KernelChoice:
    """What was asked for; `eigensystem_of` checks it and computes.

    Attributes:
        network, params, kernel, cross: as `air` takes them.
        options: ``depth``, ``width``, ``weight_std`` and ``bias_std`` of a network that is made
            here, None where they were not given.
        seed: of the parameters of a finite network that has none.
        standardize: whether inputs are prepared; None as `air`.
        rank: eigenpairs, or None for all.
        memory_budget: bytes, or None.
        precision: as of `ntk_air.kernels.infinite_ntk`.
        progress: whether to show a bar.
    """

    network: Any
    params: PyTree
    kernel: Any
    cross: Any
    options: dict[str, Any]
    seed: int
    standardize: bool | None
    rank: int | None
    memory_budget: float | None
    precision: str | None
    progress: bool

    @property
    def is_own(self) -> bool:
        """Whether the kernel was computed elsewhere."""
        return not isinstance(self.kernel, str)

    @property
    def knows_test_points(self) -> bool:
        """Whether there is a kernel between test and training points."""
        return not self.is_own or self.cross is not None or callable(self.kernel)


def eigensystem_of(
    choice: KernelChoice, dataset: Dataset, *, cross: bool
) -> tuple[Eigensystem, Float[Array, "m n"] | None]:
    """The spectrum of the kernel, and the kernel between test and training points if asked for.

    Raises:
        ValueError: for another kind of network or kernel, or one that does not fit the data or the
            memory.
    """
    n = len(dataset.train_labels)
    if choice.rank is not None:
        check_size("rank", choice.rank, 1, n)
    network = None
    if choice.is_own:
        _refuse_idle(choice)
        if cross and not choice.knows_test_points:
            raise ValueError(
                "test=True needs the kernel between test and training points, which a kernel of "
                "one's own does not hold; leave it out, or pass cross, or a network."
            )
    else:
        network = given_network(choice.network, choice.params, choice.options, dataset.num_classes)
        dataset = prepared(dataset, network, choice.standardize)
    which = given_kernel(choice.kernel, choice.cross, network)
    inputs, test = dataset.train_inputs, dataset.test_inputs
    if choice.precision is not None:
        inputs, test = cast_floats((inputs, test), choice.precision)
    started = None
    if network is not None and which.kind == "finite":
        started = network.start(inputs, choice.seed)
    kernel = StudiedKernel(
        which,
        network,
        started,
        choice.rank,
        choice.memory_budget,
        f"use fewer points, fewer eigenpairs (rank, e.g. {max(1, n // 20)}) or a larger "
        "memory_budget",
        choice.progress,
        choice.precision,
    )
    if n >= _LARGE:
        itemsize = jnp.dtype(jnp.result_type(float)).itemsize
        whole = human(eigensystem_bytes(n, itemsize, choice.rank))
        held = human(n * n * itemsize)
        pairs = "all eigenpairs" if choice.rank is None else f"{choice.rank} eigenpairs"
        announce(
            f"{n} points: a kernel of {held}, about {whole} of memory with {pairs}", choice.progress
        )
    eigensystem = kernel.spectrum(inputs)
    if not cross or not len(dataset.test_labels):
        return eigensystem, None
    return eigensystem, kernel.cross(test, inputs)


def _refuse_idle(choice: KernelChoice) -> None:
    settings = {"network": choice.network, "params": choice.params, **choice.options}
    idle = [name for name, value in settings.items() if value is not None]
    if choice.memory_budget is not None and not callable(choice.kernel):
        idle.append("memory_budget")
    if idle:
        raise ValueError(
            f"{', '.join(idle)} and a kernel of one's own are given, which is not computed here; "
            "pass one of them."
        )
