"""The finite-width NTK as a linear operator: products and diagonal, the kernel never formed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh

from ..._checks import check_choice, check_finite, check_size, is_finite, is_traced
from ..._memory import human, resolve_budget, tree_bytes
from ..._numerics import as_float, in_precision, power_of_two
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from .._inputs import check_inputs, check_network, checked_params, kernel_dtype
from .._patterns import check_patterns, packed
from ..tiling._ring import Ring, as_ring
from ._implementations import cheapest_implementation
from ._operator_products import ProductPlan, diagonal, linearised, product, residual_bytes

_OUTPUTS = ("trace", "full")
# Where longer batches stop paying on CPU; an accelerator is filled by more.
_DEFAULT_BATCH = {"cpu": 512}
# Columns share one forward pass: with 16 it is 3 % of their cost.
_MOST_COLUMNS = 16
# Beside Jᵀv of each column: what is added to it, and what XLA copies on the way.
_GRADIENT_COPIES = 2
# The share of the budget that one forward pass of all points may take between products.
_KEPT_SHARE = 4
# Diagonal entries at once: more do not help on CPU.
_MOST_POINTS = 16


@jax.tree_util.register_pytree_node_class
class NTKOperator:
    """The NTK J Jᵀ of a network at its current parameters, as ``op @ v``.

    A product is one vector-Jacobian and one Jacobian-vector product over the data, in batches; its
    memory is that of ``v``, of the result, and of a bounded number of gradients. What the forward
    pass of all points leaves behind (about the activations) is kept from the first product to the
    next ones, with the operator, where it takes at most a quarter of ``memory_budget``; they then
    run no forward pass. Otherwise, every product runs two, batch by batch. The operator is a
    pytree: ``op @ v`` works under ``jax.jit``, where ``op`` is best an argument (what a jitted
    function closes over becomes a constant of its program).

    Attributes:
        shape: (n, n) for ``outputs="trace"``, (n·C, n·C) for ``"full"``.
        dtype: dtype of the inputs, or of the parameters where these are integers; what ``op @ v``
            takes is cast to it.

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> x = jnp.array([[1.0, 0.0], [1.0, 2.0]])
        >>> operator = na.kernels.NTKOperator(lambda w, x: x @ w, jnp.ones((2, 1)), x)
        >>> print(operator @ jnp.ones(2))  # x @ x.T @ (1, 1)
        [2. 6.]
    """

    def __init__(
        self,
        apply_fn: ApplyFn,
        params: PyTree,
        x: Float[ArrayLike, "n ..."],
        *,
        outputs: str = "trace",
        pattern: Any = None,
        batch_size: int | None = None,
        mesh: Mesh | None = None,
        mesh_axes: str | Sequence[str] | None = None,
        memory_budget: float | None = None,
        precision: str | None = None,
    ):
        """Checks the network, chooses the batch and places the data.

        Args:
            apply_fn: ``apply_fn(params, inputs) -> outputs (n, C)``; each output row may depend on
                its own input row only. Operators of one function object share compilations.
            params: parameters, any pytree of floating-point arrays.
            x: inputs (n, ...); integers, such as tokens, stay integers.
            outputs: ``"trace"``: mean over outputs, C times the work of ``"full"``, whose entry
                i·C + a belongs to output a at x_i (as in `empirical_ntk`).
            pattern: graphs of the points, (n, N, N) for N nodes: the network is then
                ``apply_fn(params, inputs, pattern=graphs)``.
            batch_size: points that run at once (on each device), an upper bound; default what
                fits, up to 512 on CPU and 2048 elsewhere.
            mesh: devices that share the points; the parameters are on each.
            mesh_axes: axis or axes of ``mesh`` that the points are split over; default all.
            memory_budget: bytes that a product may take on a device, result and what is kept
                included; default half of what is free.
            precision: ``"float64"`` casts inputs and parameters, and every product is computed in
                float64 whatever JAX's default is.

        Raises:
            ValueError: what `empirical_ntk` refuses, parameters that are not floating-point, a
                mesh without that axis, or a budget too small for one point (the message says the
                least that works).

        Source: Jacot, Gabriel, Hongler (arXiv:1806.07572) for the kernel; Novak, Sohl-Dickstein,
        Schoenholz (arXiv:2206.08720, §3.2) for NTK-vector products.
        """
        check_choice("outputs", outputs, _OUTPUTS)
        ring = as_ring(mesh, mesh_axes)
        if batch_size is not None:
            check_size("batch_size", batch_size, 1)
        self._budget = resolve_budget(memory_budget)
        place = in_precision(self._place)
        place(apply_fn, params, x, pattern, outputs, batch_size, ring, precision=precision)

    def _place(
        self,
        apply_fn: ApplyFn,
        params: PyTree,
        x: ArrayLike,
        pattern: Any,
        outputs: str,
        batch_size: int | None,
        ring: Ring | None,
        *,
        precision: str | None,
    ) -> None:
        x, _ = check_inputs(x, None, whole=True)
        apply_fn, x, _ = packed(apply_fn, x, None, check_patterns(pattern, x, None))
        params = checked_params(params)
        _check_float(params)
        num_outputs = check_network(apply_fn, params, x)
        devices = 1 if ring is None else ring.size
        longest = batch_size or _DEFAULT_BATCH.get(jax.default_backend(), 2048)
        self._params, self._x = jax.tree.map(jnp.asarray, params), x
        self._point_bytes, self._batch_bytes = residual_bytes(apply_fn, self._params, x)
        local = -(-len(x) // devices)
        batch = min(longest, local)
        dtype = np.dtype(kernel_dtype(params, x))
        self._plan = ProductPlan(apply_fn, outputs, num_outputs, len(x), local, batch, ring, dtype)
        self._pushes = None
        self._fitting(1)
        if ring is not None and is_traced(self._params, x):
            raise ValueError(
                "mesh cannot be used where jit, grad or vmap traces the parameters or inputs of an "
                "operator; make the operator outside, and hand it to the function that is traced."
            )
        if ring is not None:
            self._params = jax.device_put(self._params, ring.sharding(None, 0))
            # Uneven n: the last point again, which gets zero cotangents and is cut off.
            rows = np.minimum(np.arange(devices * local), len(x) - 1)
            self._x = jax.device_put(np.asarray(x)[rows], ring.sharding(0))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n) for the trace, (n·C, n·C) for all outputs."""
        return self._plan.size, self._plan.size

    @property
    def dtype(self) -> np.dtype:
        """Dtype of every product: of the inputs, or where they are integers of the parameters."""
        return self._plan.dtype

    @property
    def T(self) -> NTKOperator:
        """The operator itself: an NTK is symmetric."""
        return self

    @in_precision
    def __matmul__(self, v: Float[ArrayLike, "N ..."]) -> Float[Array, "N ..."]:
        """K v for ``v`` (N,) or (N, r), N = ``shape[0]``.

        Raises:
            ValueError: another shape, complex or non-finite entries, more columns than the budget
                has room for, or a product that is not finite.
        """
        columns = self._check_operand(v)
        shape = columns.shape
        columns = columns.reshape(self._plan.num_points, *self._plan.entries, -1)
        plan, group, keep = self._fitting(columns.shape[-1])
        with self._on_ring(columns):
            # Sums over the points overflow long before the product does.
            units = _units(columns)
            pushes = self._linearised(plan, keep, columns)
            result = product(plan, group, self._params, self._x, columns / units, pushes) * units
            finite = isinstance(result, Tracer) or is_finite(result)
        if not finite:
            raise ValueError(
                f"the product holds NaN or infinity: it is beyond the range of {self.dtype}, or a "
                "derivative of the network is none; rescale v, or take precision='float64'."
            )
        return self._handed_over(result.reshape(shape))

    def _linearised(self, plan: ProductPlan, keep: bool, operand: Array) -> PyTree:
        """The forward pass for `product`: kept, within a trace made once for it, or None."""
        if not keep:
            self._pushes = None
            return None
        if is_traced(operand, self._x, self._params):
            return linearised(plan, self._params, self._x)
        if self._pushes is None:
            self._pushes = linearised(plan, self._params, self._x)
        return self._pushes

    def __getstate__(self) -> dict[str, Any]:
        """Copies make their own forward pass: functions in it can be neither copied nor stored."""
        return {**self.__dict__, "_pushes": None}

    @in_precision
    def diagonal(self) -> Float[Array, " N"]:
        """The diagonal (N,): squared gradient norms, averaged over outputs for the trace."""
        plan = self._plan
        implementation = cheapest_implementation(
            plan.apply_fn,
            self._params,
            jax.ShapeDtypeStruct((1, *self._x.shape[1:]), self._x.dtype),
            "per_output",
        )
        per_point = plan.num_outputs * (tree_bytes(self._params) + self._point_bytes)
        points = max(1, min(int(self._budget // (2 * per_point)), _MOST_POINTS, plan.local))
        with self._on_ring(self._x):
            found = diagonal(plan, implementation, points, self._params, self._x)
        return self._handed_over(found)

    def _on_ring(self, operand: Array) -> AbstractContextManager:
        ring = self._plan.ring
        traced = is_traced(operand, self._x, self._params)
        return contextlib.nullcontext() if ring is None or traced else ring.active()

    def _handed_over(self, result: Array) -> Array:
        ring = self._plan.ring
        return result if ring is None or isinstance(result, Tracer) else ring.handed_over(result)

    def tree_flatten(self) -> tuple[tuple[PyTree, Array], tuple[Any, ...]]:
        """Parameters and inputs are leaves; the rest is static, but for what is kept, left out."""
        static = self._plan, self._budget, self._point_bytes, self._batch_bytes
        return (self._params, self._x), static

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], leaves: tuple[PyTree, Array]) -> NTKOperator:
        """Rebuilds without checks, for JAX."""
        operator = object.__new__(cls)
        operator._plan, operator._budget, operator._point_bytes, operator._batch_bytes = static
        operator._params, operator._x = leaves
        operator._pushes = None
        return operator

    def _check_operand(self, v: ArrayLike) -> Array:
        size = self._plan.size
        if np.ndim(v) not in (1, 2) or np.shape(v)[0] != size or np.size(v) == 0:
            raise ValueError(
                f"v has shape {np.shape(v)}, expected ({size},) or ({size}, r); for "
                f"outputs={self._plan.outputs!r} an entry is "
                + ("a point." if self._plan.outputs == "trace" else "a point and output, i·C + a.")
            )
        check_finite("v", v)
        v = as_float(v, "v").astype(self.dtype)
        ring = self._plan.ring
        if ring is None or isinstance(v, Tracer):
            return v
        # Rows can be split ahead only where the points divide evenly over the devices.
        even = self._plan.num_points == len(self._x)
        return jax.device_put(v, ring.sharding(0 if even else None, v.ndim))

    def _needed(self, batch: int, columns: int, width: int) -> int:
        """Estimated bytes of a product with (N, width), ``columns`` derivatives at a time."""
        entries = self._plan.local * self._plan.num_outputs * self.dtype.itemsize
        result = 2 * self._plan.size * self.dtype.itemsize * width
        gradients = (columns + _GRADIENT_COPIES) * tree_bytes(self._params)
        return result + gradients + 2 * columns * entries + 2 * batch * self._point_bytes

    def _fitting(self, width: int) -> tuple[ProductPlan, int, bool]:
        """Batches, and derivatives at a time, that fit beside a result of ``width`` columns.

        And whether the forward pass of all batches, the longest there can be, fits beside them.
        """
        least = self._needed(1, 1, width)
        if least > self._budget:
            self._refuse(least, width)
        room = self._budget - least
        per_point = self._needed(2, 1, width) - least
        per_column = self._needed(1, 2, width) - least
        longest = self._plan.with_batch(self._plan.batch)
        kept = longest.num_batches * (longest.batch * self._point_bytes + self._batch_bytes)
        keep = _KEPT_SHARE * kept <= self._budget and kept + 2 * longest.batch * per_point <= room
        room -= kept if keep else 0
        # At most half for long batches: columns that run together save forward passes.
        batch = min(self._plan.batch, 1 + room // (2 * per_point))
        wanted = width * (self._plan.num_outputs if self._plan.outputs == "trace" else 1)
        most = 1 + (room - (batch - 1) * per_point) // per_column
        # Groups of equal size: as many groups as needed, no nearly empty one at the end.
        groups = -(-wanted // min(most, wanted, _MOST_COLUMNS))
        return self._plan.with_batch(batch), -(-wanted // groups), keep

    def _refuse(self, needed: int, width: int) -> None:
        raise ValueError(
            f"a product of the NTK operator of shape {self.shape} with {width} column(s) needs "
            f"{needed} bytes ({human(needed)}), the budget is {self._budget} bytes "
            f"({human(self._budget)}); set memory_budget to at least {needed}, or use fewer "
            "columns or points."
        )


@jax.jit
def _units(columns: Array) -> Array:
    """A power of two for each column (n, ..., r), at its largest entry, (r,)."""
    return jax.vmap(power_of_two, in_axes=-1)(columns)


def _check_float(params: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} has dtype {jnp.result_type(leaf)}, expected "
                "floating-point parameters; bind what is not trained into apply_fn "
                "(na.kernels.functional does)."
            )
