"""The kernel that is studied: of the network at infinite width or its own, or one brought along."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import kernels, spectral
from ..._checks import check_choice, check_finite
from ..._memory import eigensystem_budget
from ..._progress import progress_bar
from ..._typing import Array, ArrayLike
from ...kernels import StoredKernel
from ...spectral import Eigensystem
from ._given import GivenNetwork, Started

# Points up to which a kernel function is called once, and rows of a block beyond.
_WHOLE, _ROWS = 2048, 512
_ALIGNMENT = 64
KERNELS = ("auto", "infinite", "finite", "nngp")


@dataclasses.dataclass(frozen=True)
class GivenKernel:
    """Which kernel, before it is computed.

    Attributes:
        kind: ``"infinite"``, ``"finite"``, ``"nngp"`` or ``"own"``.
        values: of a kernel of one's own: an array (n, n), a `StoredKernel` or a function.
        cross: its values (m, n) between test and training points, where it is no function.
    """

    kind: str
    values: Any = None
    cross: ArrayLike | None = None


def given_kernel(kernel: Any, cross: Any, network: GivenNetwork | None) -> GivenKernel:
    """Reads a kernel in any of the forms that `air` takes.

    Raises:
        ValueError: on another form, an infinite width that is not known for the network, or a
            ``cross`` that nothing would read.
    """
    if isinstance(kernel, str):
        check_choice("kernel", kernel, KERNELS)
        if cross is not None:
            raise ValueError(
                f"cross is given and kernel is {kernel!r}, which is computed here; leave it out."
            )
        known = network is not None and network.architecture is not None
        if kernel == "auto":
            return GivenKernel("infinite" if known else "finite")
        if kernel != "finite" and not known:
            raise ValueError(
                f"kernel is {kernel!r} and no infinite-width kernel of "
                f"{getattr(network, 'name', 'no network')} is known; take kernel='finite', its "
                "own at initialisation, or a network of ntk_air.kernels.ARCHITECTURES."
            )
        return GivenKernel(kernel)
    if isinstance(kernel, jax.Array | np.ndarray | StoredKernel):
        return GivenKernel("own", kernel, cross)
    if callable(kernel):
        if cross is not None:
            raise ValueError("cross is given and kernel is a function, which computes it.")
        return GivenKernel("own", kernel)
    raise ValueError(
        f"kernel is a {type(kernel).__name__}, expected {', '.join(map(repr, KERNELS))}, an array "
        "(n, n), an ntk_air.kernels.StoredKernel, or a function k(x1, x2)."
    )


@dataclasses.dataclass(frozen=True)
class StudiedKernel:
    """A kernel on inputs, to be computed.

    Attributes:
        given: which.
        network: whose it is, or None for one of one's own.
        started: ``apply_fn`` and parameters, where it is finite.
        rank: eigenpairs, or None for all.
        memory_budget: bytes, or None.
        advice: what to do where it does not fit, for the message.
        progress: whether to show a bar.
        precision: of the decomposition of an array; what is computed here is in the inputs' own.
        implementation: of a finite kernel.
    """

    given: GivenKernel
    network: GivenNetwork | None = None
    started: Started | None = None
    rank: int | None = None
    memory_budget: float | None = None
    advice: str = ""
    progress: bool = False
    precision: str | None = None
    implementation: str = "auto"

    def budget(self, n: int) -> int:
        """Bytes for a kernel of n points; ValueError where it and its spectrum do not fit."""
        return eigensystem_budget(
            f"the kernel of {n} points",
            n,
            jnp.dtype(jnp.result_type(float)).itemsize,
            self.memory_budget,
            rank=self.rank,
            advice=self.advice,
        )

    def spectrum(self, inputs: Array) -> Eigensystem:
        """Its eigenpairs over the training points.

        Raises:
            ValueError: if it does not fit the points or the memory.
        """
        n = len(inputs)
        if isinstance(self.given.values, StoredKernel | np.ndarray | jax.Array):
            own = self.given.values
            if tuple(own.shape) != (n, n):
                raise ValueError(
                    f"kernel has shape {tuple(own.shape)}, expected ({n}, {n}): a row and a column "
                    "for each training point."
                )
            return spectral.eigendecompose(own, rank=self.rank, precision=self.precision)
        return spectral.eigendecompose(self._between(inputs, None, self.budget(n)), rank=self.rank)

    def cross(self, test: Array, inputs: Array) -> Array | None:
        """Its values (m, n) between test and training points; None where they are not known.

        Raises:
            ValueError: if those given are of another shape.
        """
        if self.given.kind != "own" or callable(self.given.values):
            return self._between(test, inputs, self.budget(len(inputs)))
        if self.given.cross is None:
            return None
        check_finite("cross", self.given.cross)
        values = jnp.asarray(self.given.cross, jnp.result_type(float))
        if values.shape != (len(test), len(inputs)):
            raise ValueError(
                f"cross has shape {values.shape}, expected ({len(test)}, {len(inputs)}): a row for "
                "each test point, a column for each training point."
            )
        return values

    def _between(self, rows: Array, columns: Array | None, budget: int) -> Array:
        shown: dict[str, Any] = {"memory_budget": budget}
        if columns is None:
            shown["progress"] = self.progress
        if self.given.kind == "own":
            return _called(self.given.values, rows, columns, shown.get("progress", False))
        if self.given.kind == "finite":
            assert self.started is not None
            shown["implementation"] = self.implementation
            return kernels.empirical_ntk(*self.started, rows, columns, **shown)  # pyright: ignore
        assert self.network is not None
        assert self.network.architecture is not None
        kind = "nngp" if self.given.kind == "nngp" else "ntk"
        architecture = self.network.architecture
        return kernels.infinite_ntk(architecture, rows, columns, kind=kind, **shown)  # pyright: ignore


def _called(function: Any, rows: Array, columns: Array | None, progress: bool = False) -> Array:
    """Values of a kernel function of the caller's, of the right shape and finite.

    Beyond a few thousand points it is called on blocks of rows: what it computes on the way, such
    as distances, then takes the memory of a block and not of the kernel.
    """
    columns = rows if columns is None else columns
    dtype = jnp.result_type(float)
    if len(rows) <= _WHOLE:
        return jnp.asarray(_block(function, rows, columns), dtype)
    values = _aligned((len(rows), len(columns)), np.dtype(dtype))
    bar = progress_bar(len(rows), "row", progress, description="kernel")
    for start in range(0, len(rows), _ROWS):
        block = _block(function, rows[start : start + _ROWS], columns)
        values[start : start + _ROWS] = block
        if bar is not None:
            bar.update(len(block))
    if bar is not None:
        bar.close()
    # Nothing else holds the array, so that JAX may read it where it is.
    return jax.device_put(values, may_alias=True)


def _aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An empty array that begins where JAX can read it in place, instead of copying it."""
    size = int(np.prod(shape)) * dtype.itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def _block(function: Any, rows: Array, columns: Array) -> Array | np.ndarray:
    values = function(rows, columns)
    shape = (len(rows), len(columns))
    if not isinstance(values, jax.Array | np.ndarray) or tuple(values.shape) != shape:
        came = getattr(values, "shape", type(values).__name__)
        raise ValueError(
            f"kernel(x1, x2) gave {came} for {shape[0]} and {shape[1]} points, expected an array "
            f"of shape {shape}."
        )
    check_finite("what kernel(x1, x2) gave", values)
    return values
