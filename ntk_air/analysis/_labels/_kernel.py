"""The kernel that judges: of a network at infinite width, or one of one's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import kernels, spectral
from ..._checks import check_choice, check_size
from ..._memory import eigensystem_budget
from ..._typing import Array, ArrayLike, Float
from ...datasets import Dataset
from ...kernels import Architecture, StoredKernel
from ...spectral import Eigensystem

_COMPUTED = ("auto", "infinite")
# Of the fully connected network that is taken where none is named.
_DEPTH, _WEIGHT_STD, _BIAS_STD = 1, 1.4, 0.1


@dataclasses.dataclass(frozen=True)
class KernelChoice:
    """What was asked for; `eigensystem_of` checks it and computes.

    Attributes:
        network: None, a name, or an `Architecture`.
        kernel: ``"auto"``, ``"infinite"``, an array (n, n), or a `StoredKernel`.
        options: ``depth``, ``weight_std`` and ``bias_std`` of a network that is made here, None
            where they were not given.
        rank: eigenpairs, or None for all.
        memory_budget: bytes, or None.
        precision: as of `ntk_air.kernels.infinite_ntk`.
        progress: whether to show a bar.
    """

    network: str | Architecture | None
    kernel: Any
    options: dict[str, Any]
    rank: int | None
    memory_budget: float | None
    precision: str | None
    progress: bool

    @property
    def is_own(self) -> bool:
        """Whether the kernel was computed elsewhere."""
        return not isinstance(self.kernel, str)


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
    if choice.is_own:
        own = _own_kernel(choice, n, cross=cross)
        return spectral.eigendecompose(own, rank=choice.rank, precision=choice.precision), None
    check_choice("kernel", choice.kernel, _COMPUTED)
    architecture = _architecture(choice, dataset.num_classes)
    dataset = _prepared(dataset, architecture)
    budget = eigensystem_budget(
        f"the kernel of {n} points",
        n,
        jnp.dtype(jnp.result_type(float)).itemsize,
        choice.memory_budget,
        rank=choice.rank,
        advice=f"use fewer points, fewer eigenpairs (rank, e.g. {max(1, n // 20)}) or a larger "
        "memory_budget",
    )
    common: dict[str, Any] = {"memory_budget": budget, "precision": choice.precision}
    kernel = kernels.infinite_ntk(
        architecture, dataset.train_inputs, progress=choice.progress, **common
    )
    eigensystem = spectral.eigendecompose(kernel, rank=choice.rank, precision=choice.precision)
    del kernel
    between = None
    if cross and len(dataset.test_labels):
        between = kernels.infinite_ntk(
            architecture, dataset.test_inputs, dataset.train_inputs, **common
        )
    return eigensystem, between


def _own_kernel(choice: KernelChoice, n: int, *, cross: bool) -> ArrayLike | StoredKernel:
    kernel = choice.kernel
    if not isinstance(kernel, jax.Array | np.ndarray | StoredKernel):
        raise ValueError(
            f"kernel is a {type(kernel).__name__}, expected 'auto', 'infinite', an array (n, n) or "
            "an ntk_air.kernels.StoredKernel."
        )
    if tuple(kernel.shape) != (n, n):
        raise ValueError(
            f"kernel has shape {tuple(kernel.shape)}, expected ({n}, {n}): a row and a column for "
            "each point that has a label."
        )
    settings = {"network": choice.network, **choice.options, "memory_budget": choice.memory_budget}
    idle = [name for name, value in settings.items() if value is not None]
    if idle:
        raise ValueError(
            f"{', '.join(idle)} and a kernel of one's own are given, which is not computed here; "
            "pass one of them."
        )
    if cross:
        raise ValueError(
            "test=True needs the kernel between test and training points, which a kernel of one's "
            "own does not hold; leave it out, or pass a network."
        )
    return kernel


def _architecture(choice: KernelChoice, num_classes: int) -> Architecture:
    network, said = choice.network, {k: v for k, v in choice.options.items() if v is not None}
    if isinstance(network, Architecture):
        if said:
            raise ValueError(
                f"{', '.join(said)} and the architecture {network.name} are given, which has its "
                "own; pass one of them."
            )
        return network
    if network is None:
        made = {"depth": _DEPTH, "weight_std": _WEIGHT_STD, "bias_std": _BIAS_STD, **said}
        # The infinite-width kernel has no use for a width.
        return kernels.fully_connected(made.pop("depth"), 8, num_outputs=num_classes, **made)
    if not isinstance(network, str):
        raise ValueError(
            f"network is a {type(network).__name__}, expected None, a name in "
            "ntk_air.kernels.ARCHITECTURES, or an ntk_air.kernels.Architecture."
        )
    check_choice("network", network, kernels.architecture_names())
    make, fixed = kernels.find_architecture(network)
    depth = (said.pop("depth"),) if "depth" in said else ()
    return make(*depth, **fixed, **said)


def _prepared(dataset: Dataset, architecture: Architecture) -> Dataset:
    """Images standardised, and inputs flat where the network takes vectors."""
    axes, ndim = architecture.input_axes, dataset.train_inputs.ndim
    flat = axes is not None and len(axes) == 2
    if axes is not None and not flat and len(axes) != ndim:
        raise ValueError(
            f"{architecture.name} takes inputs ({', '.join(axes)}), those of {dataset.name} have "
            f"shape {dataset.train_inputs.shape}; choose another network."
        )
    if ndim == 4:
        dataset = dataset.standardized(per_image=True)
        return dataset.flattened(unit_norm="sqrt_d") if flat else dataset
    return dataset.flattened() if flat and ndim != 2 else dataset
