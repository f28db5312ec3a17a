"""Eigensystem of a kernel: what it holds, and how the solver is chosen."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_choice,
    check_finite,
    check_in_range,
    check_size,
    check_square,
    check_symmetric,
    real_array,
)
from .._numerics import (
    as_float,
    automatic,
    automatic_axes,
    eps_of,
    in_precision,
    on_mesh,
    power_of_two,
)
from .._results import result, static
from .._typing import Array, Float, PRNGKeyArray
from ._dense import dense_eigh, platform_of
from ._lanczos import default_tolerance, lanczos_eigh
from ._products import dtype_of
from ._residuals import failure

# Above this size the partial solver wins when few directions are asked for.
_DENSE_SMALL = 1024
_PARTIAL_FRACTION = 8
# Beyond, squares of residuals could leave the range of float32.
_UNSCALED = 2.0**20
# Two tiles of 128 x 128 float32 stay in a core's own cache while one is read transposed.
_TILE = 128
_State = tuple[Array, Array, Array]


@result
class Eigensystem:
    """The leading eigenpairs of a symmetric positive semidefinite kernel, largest first.

    Attributes:
        eigenvalues: (r,), descending.
        eigenvectors: (n, r), orthonormal columns.
        trace: (), trace of the whole kernel; what is not in ``eigenvalues`` is
            ``trace - eigenvalues.sum()``.
        residuals: (r,), ‖Θu_k − λ_k u_k‖₂, measured after the fact whatever the solver.
        trusted_rank: how many eigenvalues stand above the round-off of the largest,
            λ_k > n · eps · λ_1 with the eps of the kernel's entries; the rest may be noise of the
            arithmetic, and what acts on it in a way that matters warns.
        method: the solver that ran, ``"dense"`` or ``"lanczos"``.
        resolution: the eps of the precision that the kernel's entries came in, where it is coarser
            than that of the eigenvalues: float64 does not bring back what rounding took.
    """

    eigenvalues: Float[Array, " r"]
    eigenvectors: Float[Array, "n r"]
    trace: Float[Array, ""]
    residuals: Float[Array, " r"]
    trusted_rank: int = static()
    method: str = static(default="dense")
    resolution: float = static(default=0.0)

    @property
    def num_points(self) -> int:
        """Number of training points n."""
        return self.eigenvectors.shape[0]

    @property
    def rank(self) -> int:
        """Number of eigenpairs held, r."""
        return self.eigenvectors.shape[1]


def eigendecompose(
    kernel_or_operator: Any,
    *,
    rank: int | None = None,
    method: str = "auto",
    tolerance: float | None = None,
    key: PRNGKeyArray | None = None,
    precision: str | None = None,
) -> Eigensystem:
    """Leading eigenpairs of a kernel, each with its measured residual.

    Args:
        kernel_or_operator: symmetric kernel (n, n), or an object with ``.shape``, ``.diagonal()``
            (for the trace) and ``op @ v`` on vectors (n,) or, better, also on blocks (n, b) of at
            most 32 columns; it may compute on the host and return NumPy arrays.
        rank: how many eigenpairs; default all n (an operator needs it).
        method: ``"dense"`` (LAPACK or cuSOLVER; from 32 767 points on CPUs, and where an
            accelerator's solver fails, NumPy's or SciPy's, with a warning), ``"lanczos"`` (block
            Lanczos with full reorthogonalisation and thick restarts, O(n · rank) memory), or
            ``"auto"``: Lanczos for an operator, and for a kernel of more than 1024 points when at
            most n/8 eigenpairs are asked for.
        tolerance: Lanczos stops when every residual is below ``tolerance · λ_1``; default
            100 · eps. Not with ``"dense"``.
        key: random blocks of Lanczos; default ``jax.random.key(0)``. Not with ``"dense"``.
        precision: ``"float64"`` decomposes an array in float64 whatever JAX's default is, and every
            function that gets the result then computes in float64 too; ``"float32"`` likewise. An
            operator computes in its own.

    Returns:
        An `Eigensystem` with ``rank`` eigenpairs.

    Raises:
        ValueError: kernel not square, not symmetric, not finite, or zero; rank or tolerance out of
            range, or settings of Lanczos for the dense solver; an operator without rank or
            ``.diagonal()``, or with bad products.
        RuntimeError: a solver whose residuals show that it failed, or Lanczos short of the
            tolerance.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> es.eigenvalues.round(4).tolist(), es.num_points
        ([3.0, 1.0], 2)
    """
    check_choice("method", method, ("auto", "dense", "lanczos"))
    if method == "dense" and (tolerance is not None or key is not None):
        raise ValueError(
            "tolerance and key have no effect on method='dense', which iterates nothing; leave out."
        )
    resolution = _resolution(kernel_or_operator)
    sharded = isinstance(getattr(kernel_or_operator, "sharding", None), jax.sharding.NamedSharding)
    with automatic_axes() if sharded else contextlib.nullcontext():
        system = _eigendecompose(
            kernel_or_operator, rank, method, tolerance, key, resolution, precision=precision
        )
    if not sharded:
        return system
    # Results live on the mesh of the kernel again.
    mesh = kernel_or_operator.sharding.mesh
    return jax.tree.map(lambda array: on_mesh(array, mesh), system)


def _resolution(kernel: Any) -> float:
    """The eps of a kernel's own dtype, if that is a floating one."""
    dtype = getattr(kernel, "dtype", None)
    return 0.0 if dtype is None else eps_of(dtype)


@in_precision
def _eigendecompose(
    kernel_or_operator: Any,
    rank: int | None,
    method: str,
    tolerance: float | None,
    key: PRNGKeyArray | None,
    resolution: float,
    *,
    precision: str | None,
) -> Eigensystem:
    is_array = isinstance(kernel_or_operator, jax.Array | np.ndarray)
    if is_array:
        kernel, largest = _check_kernel(kernel_or_operator)
    else:
        kernel = kernel_or_operator
        _check_operator(kernel, rank, method)
        # No entry of a positive semidefinite matrix is larger than the largest of its diagonal.
        largest = as_float(kernel.diagonal(), "the diagonal of the operator")
    n = kernel.shape[0]
    rank = check_size("rank", n if rank is None else rank, 1, n)
    kernel, scale = _of_moderate_size(kernel, largest)
    tolerance = default_tolerance(kernel) if tolerance is None else tolerance
    check_in_range("tolerance", tolerance, 0.0, low_open=True)
    if method == "auto":
        method = _choose(kernel, rank) if is_array else "lanczos"
    if method == "dense":
        values, vectors, residuals = dense_eigh(kernel, rank)
    else:
        key = jax.random.key(0) if key is None else key
        values, vectors, residuals = lanczos_eigh(kernel, rank, tolerance=tolerance, key=key)
        _check_lanczos(values, vectors, residuals, tolerance)
    trace = _trace(kernel) if is_array else jnp.sum(jnp.asarray(kernel.diagonal()))
    magnitudes = np.asarray(values, np.float64)
    eps = max(float(jnp.finfo(values.dtype).eps), resolution)
    trusted = int((magnitudes > n * eps * magnitudes.max()).sum())
    if scale != 1.0:
        values, trace, residuals = values * scale, trace * scale, residuals * scale
    return Eigensystem(values, vectors, trace, residuals, trusted, method, resolution)


def _of_moderate_size(kernel: Any, largest: Array) -> tuple[Any, float]:
    """The kernel, over a power of two if it is very large or small, and that power."""
    scale = float(power_of_two(largest))
    if 1 / _UNSCALED <= scale <= _UNSCALED:
        return kernel, 1.0
    return (kernel / scale if isinstance(kernel, jax.Array) else _Scaled(kernel, scale)), scale


class _Scaled:
    """An operator over a number."""

    def __init__(self, operator: Any, scale: float) -> None:
        self._operator, self._scale = operator, scale
        self.shape = operator.shape
        self.dtype = dtype_of(operator)

    def __matmul__(self, v: Array) -> Any:
        return self._operator @ v / self._scale

    def diagonal(self) -> Any:
        return self._operator.diagonal() / self._scale


@jax.jit
def _trace(kernel: Array) -> Array:
    # Not `jnp.trace`, which reads all n² entries on CPUs and GPUs.
    return jnp.sum(jnp.diagonal(kernel))


def _choose(kernel: Array, rank: int) -> str:
    n = kernel.shape[0]
    if n > _DENSE_SMALL and rank * _PARTIAL_FRACTION <= n:
        return "lanczos"
    return "dense"


def _check_operator(operator: Any, rank: int | None, method: str) -> None:
    if not hasattr(operator, "shape") or not hasattr(operator, "__matmul__"):
        raise ValueError(
            f"kernel is a {type(operator).__name__}, expected an array (n, n) or an operator with "
            ".shape, @ and .diagonal()."
        )
    if rank is None:
        raise ValueError("an operator needs rank=, the number of eigenpairs to compute.")
    if method == "dense":
        raise ValueError("method='dense' needs the kernel as an array, got an operator.")
    check_square("operator", operator)
    if not hasattr(operator, "diagonal"):
        raise ValueError(
            f"an operator needs .diagonal(), for the trace; {type(operator).__name__} has none."
        )


def _check_kernel(kernel: Any) -> tuple[Array, Array]:
    """The kernel as an array, and its largest |K|, ()."""
    check_square("kernel", kernel)
    if not isinstance(kernel, jax.Array):
        kernel = real_array("kernel", kernel)
    kernel = automatic(as_float(kernel, "kernel"))
    if kernel.size == 0:
        raise ValueError(f"kernel has shape {kernel.shape}; expected at least one point.")
    # Elsewhere a loop over tiles would serialise the device, or gather a sharded kernel.
    on_one_cpu = platform_of(kernel) == "cpu" and len(kernel.devices()) == 1
    tile = min(_TILE, kernel.shape[0])
    extremes = _extremes(kernel, tile) if on_one_cpu else _extremes_at_once(kernel)
    scale, asymmetry, finite = map(float, extremes)
    if not finite:
        # On the host, since XLA's min and max on CPUs may drop a NaN.
        check_finite("kernel", np.asarray(kernel))
    if scale == 0.0:
        raise ValueError(
            f"kernel of shape {kernel.shape} is zero everywhere, so it has no leading direction; "
            "check what computed it."
        )
    check_symmetric("kernel", asymmetry, scale, kernel.dtype)
    return kernel, extremes[0]


@functools.partial(jax.jit, static_argnums=1)
def _extremes(kernel: Array, tile: int) -> tuple[Array, Array, Array]:
    """Largest |K|, largest |K - Kᵀ|, and whether all is finite, reading each entry once."""
    n = kernel.shape[0]
    tiles = -(-n // tile)

    def pair(i: Any, j: Any, state: _State) -> _State:
        scale, difference, finite = state
        # The last tile overlaps the one before it instead of being ragged.
        row, column = jnp.minimum(i * tile, n - tile), jnp.minimum(j * tile, n - tile)
        here = jax.lax.dynamic_slice(kernel, (row, column), (tile, tile))
        mirror = jax.lax.dynamic_slice(kernel, (column, row), (tile, tile))
        larger = jnp.maximum(jnp.abs(here), jnp.abs(mirror))
        both = jnp.isfinite(here) & jnp.isfinite(mirror)
        # Column by column, since XLA's reduction of a tile to one number is scalar code.
        return (
            jnp.maximum(scale, larger.max(axis=0)),
            jnp.maximum(difference, jnp.abs(here - mirror.T).max(axis=0)),
            finite & both.all(axis=0),
        )

    def row_of_pairs(i: Any, state: _State) -> _State:
        return jax.lax.fori_loop(i, tiles, lambda j, s: pair(i, j, s), state)

    zeros = jnp.zeros(tile, kernel.dtype)
    start = (zeros, zeros, jnp.ones(tile, bool))
    scale, difference, finite = jax.lax.fori_loop(0, tiles, row_of_pairs, start)
    return scale.max(), difference.max(), finite.all()


@jax.jit
def _extremes_at_once(kernel: Array) -> tuple[Array, Array, Array]:
    difference = jnp.abs(kernel - kernel.T).max()
    return jnp.abs(kernel).max(), difference, jnp.isfinite(kernel).all()


def _check_lanczos(values: Array, vectors: Array, residuals: Array, tolerance: float) -> None:
    why = failure(values, vectors, residuals, tolerance)
    if why is not None:
        n = vectors.shape[0]
        raise RuntimeError(
            f"the lanczos eigensolver failed on a {n} x {n} kernel: {why}; use the other method, "
            "or float64."
        )
