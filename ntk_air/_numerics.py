"""Small numerical helpers that several rooms need, each in one place."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ._checks import check_choice, check_real, is_traced, real_array
from ._typing import Array

PRECISIONS = (None, "float32", "float64")
_P = ParamSpec("_P")
_R = TypeVar("_R")


def as_float(value: Any, name: str = "the array") -> Array:
    """Converts to a JAX array of at least float32; integers and bools become JAX's default float.

    Raises:
        ValueError: if the value is masked, complex or no numbers, or if float32 cannot hold the
            size of float64 numbers.
    """
    if not isinstance(value, jax.Array):
        # Tracers are arrays, and have an attribute of this name that is None.
        if hasattr(value, "__jax_array__"):
            value = value.__jax_array__()
        value = real_array(name, value)
    check_real(name, value)
    kind = jnp.dtype(jnp.result_type(float))
    if jnp.issubdtype(value.dtype, jnp.floating):
        kind = jnp.dtype(jax.dtypes.canonicalize_dtype(value.dtype))
        # Sums of half precision lose all but two digits, and no solver takes it.
        kind = jnp.dtype(jnp.float32) if jnp.finfo(kind).bits < 32 else kind
    if isinstance(value, np.ndarray) and value.dtype.itemsize > kind.itemsize:
        check_range(name, value, kind)
    if isinstance(value, jax.Array):
        same = value.dtype == kind and not value.weak_type
        return value if same else jnp.asarray(value, kind)
    # Cast by NumPy, since JAX would start a program for it, and copied: `asarray` may share memory.
    with np.errstate(over="ignore"):
        return jnp.asarray(value.astype(kind))


def check_range(name: str, value: np.ndarray, kind: jnp.dtype) -> None:
    """Raises ValueError where a narrower dtype would make infinity, or zero, of the largest."""
    if value.dtype.kind != "f" or not value.size:
        return
    largest = max(abs(float(value.min())), abs(float(value.max())))
    least, most = float(jnp.finfo(kind).tiny), float(jnp.finfo(kind).max)
    if np.isfinite(largest) and largest > 0 and not least <= largest <= most:
        raise ValueError(
            f"{name} has a largest magnitude of {largest:.3g}, which {kind} does not hold; rescale "
            "it, or compute in float64 (precision='float64')."
        )


def eps_of(dtype: Any) -> float:
    """The rounding of a dtype of floating point, half precision included; 0 for any other."""
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0


def automatic(array: Array) -> Array:
    """The same shards on a mesh whose axes the compiler handles.

    Axes of type Explicit forbid what needs the whole of a sharded axis, such as K - Kᵀ or top_k.
    """
    sharding = array.sharding
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return array
    return on_mesh(array, _automatic_mesh(sharding.mesh))


def on_mesh(array: Any, mesh: Any) -> Any:
    """The same shards on another mesh of their devices; what is not sharded stays as it is."""
    sharding = getattr(array, "sharding", None)
    if not isinstance(sharding, jax.sharding.NamedSharding) or sharding.mesh == mesh:
        return array
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, sharding.spec))


def _automatic_mesh(mesh: Any) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.asarray(mesh.devices), mesh.axis_names)


@contextlib.contextmanager
def automatic_axes() -> Iterator[None]:
    """Within it the axes of the current mesh are the compiler's, too: see `automatic`."""
    mesh = jax.sharding.get_mesh()
    if jax.sharding.AxisType.Explicit not in mesh.axis_types:
        yield
        return
    with jax.set_mesh(_automatic_mesh(mesh)):
        yield


def power_of_two(*arrays: Array) -> Array:
    """The power of two at or below the largest magnitude in some arrays, (); 1 if all are zero.

    Dividing by it is exact, and squares of what is left neither overflow nor underflow. XLA may
    multiply by the inverse instead, which is kept within the range of normal numbers too.
    """
    largest = functools.reduce(
        jnp.maximum, [jnp.max(jnp.abs(array), initial=0.0) for array in arrays]
    )
    bound = -int(jnp.finfo(largest.dtype).minexp)
    exponent = jnp.clip(jnp.frexp(largest)[1] - 1, -bound, bound)
    return jnp.where(largest > 0, jnp.ldexp(jnp.ones_like(largest), exponent), 1.0)


def check_precision(precision: Any) -> str | None:
    """Returns ``None``, ``"float32"`` or ``"float64"``; ValueError for anything else."""
    if precision is not None and not isinstance(precision, str):
        with contextlib.suppress(TypeError):
            precision = jnp.dtype(precision).name
    check_choice("precision", precision, PRECISIONS)
    return precision


def in_precision(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes a function compute in its ``precision``, whatever ``jax_enable_x64`` says.

    ``"float64"`` and ``"float32"`` cast every array given to it. Without it, a function that gets
    a float64 JAX array or result, which JAX would silently narrow where its default is float32,
    computes in float64.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        wanted = check_precision(kwargs.get("precision"))
        if wanted is None and not jax.config.jax_enable_x64 and _holds_float64((args, kwargs)):  # pyright: ignore[reportAttributeAccessIssue]
            with double_precision():
                return function(*args, **kwargs)
        if wanted is None:
            return function(*args, **kwargs)
        double = wanted == "float64"
        if double != jax.config.jax_enable_x64 and is_traced((args, kwargs)):  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                f"precision is {wanted!r}, which cannot be switched to inside jit, grad or vmap; "
                "drop it, and do the whole of the outermost call under "
                f"'with jax.enable_x64({double})'."
            )
        with jax.enable_x64(double):
            args, kwargs = cast_floats((args, kwargs), wanted)
            return function(*args, **kwargs)

    return call


def cast_floats(tree: Any, precision: str) -> Any:
    """The same tree with its floating-point arrays in another precision."""

    def cast(leaf: Any) -> Any:
        if np.ma.is_masked(leaf) or not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return as_float(leaf).astype(precision)

    return jax.tree.map(cast, tree)


def _holds_float64(tree: Any) -> bool:
    # NumPy's arrays are float64 unless somebody says otherwise; all others were made so.
    return any(
        getattr(leaf, "dtype", None) == np.float64 and not isinstance(leaf, np.ndarray | np.generic)
        for leaf in jax.tree.leaves(tree)
    )


def at_least_float32(tree: Any) -> Any:
    """The same tree with arrays of half precision widened to float32, and masks dropped."""

    def widen(leaf: Any) -> Any:
        leaf = np.asarray(leaf) if isinstance(leaf, np.ma.MaskedArray) else leaf
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits >= 32:
            return leaf
        return jnp.asarray(leaf).astype(jnp.float32)

    return jax.tree.map(widen, tree)


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Float64 for JAX within the block, on any supported JAX, without touching global state."""
    with jax.enable_x64(True):
        yield


@contextlib.contextmanager
def computing_in(precision: str | None) -> Iterator[None]:
    """JAX's default precision within the block; None leaves it as it is."""
    with contextlib.nullcontext() if precision is None else jax.enable_x64(precision == "float64"):
        yield


def share(value: Any, total: Any, empty: float = 0.0) -> Array:
    """Value / total, and ``empty`` where there is nothing to share."""
    return jnp.where(total == 0, empty, value / jnp.where(total == 0, 1.0, total))


def eigh_of_batch(matrices: Any) -> tuple[Array, Array]:
    """Eigenvalues (..., n) and eigenvectors (..., n, n) of symmetric matrices (..., n, n).

    On CPUs XLA gives each of its threads a matrix, and each starts the threads of its BLAS: on
    many cores more than OpenBLAS has room for, which corrupts the heap (jax issue 39292). Here the
    BLAS runs on one thread until the result is there.
    """
    # Here, since `import ntk_air` stays light. JAX calls SciPy's BLAS, limited once it is loaded.
    import scipy.linalg  # noqa: F401
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        values, vectors = jax.block_until_ready(jnp.linalg.eigh(jnp.asarray(matrices)))
    return values, vectors


def relative_error(value: Any, reference: Any) -> float:
    """Largest absolute deviation divided by the largest absolute reference value."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    scale = np.abs(reference).max(initial=0.0)
    return float(np.abs(value - reference).max(initial=0.0) / (scale if scale > 0 else 1.0))
