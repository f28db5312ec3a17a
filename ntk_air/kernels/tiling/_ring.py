"""Where a kernel lives when it is spread over many devices."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..._typing import Array


@dataclasses.dataclass(frozen=True)
class Ring:
    """Devices in a row: the axes of a mesh that rows of a kernel are spread over.

    Attributes:
        mesh: the devices; whatever the types of the caller's axes, the compiler may place what it
            likes in here.
        axes: names of the axes, the first one outermost.
        given: the mesh as the caller has it.
    """

    mesh: Mesh
    axes: tuple[str, ...]
    given: Mesh

    @property
    def size(self) -> int:
        """Number of devices that hold different rows."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes)

    def active(self) -> AbstractContextManager:
        """Makes this mesh the one that arrays are on, whatever `jax.set_mesh` says outside."""
        return jax.set_mesh(self.mesh)

    def handed_over(self, array: Array) -> Array:
        """An array on the caller's mesh, where the caller works on one (`jax.set_mesh`)."""
        if jax.sharding.get_abstract_mesh().empty:
            return array
        spec = array.sharding.spec  # pyright: ignore[reportAttributeAccessIssue]
        return jax.device_put(array, NamedSharding(self.given, spec))

    def sharding(self, spread: int | None, ndim: int = 1) -> NamedSharding:
        """Axis ``spread`` over the ring, or a copy everywhere for None."""
        names: list[Any] = [None] * ndim
        if spread is not None:
            names[spread] = self.axes
        return NamedSharding(self.mesh, PartitionSpec(*names))


def no_mesh() -> AbstractContextManager:
    """Puts aside the mesh that the caller works on (`jax.set_mesh`), if any."""
    if jax.sharding.get_abstract_mesh().empty:
        return contextlib.nullcontext()
    return jax.set_mesh(Mesh(np.empty((), dtype=object), ()))


def as_ring(mesh: Any, mesh_axes: str | Sequence[str] | None) -> Ring | None:
    """Checks a mesh (None: no ring) and the names of its axes (None: all of them).

    Raises:
        ValueError: not a mesh, or an axis that it does not have.
    """
    if mesh is None:
        if mesh_axes is not None:
            raise ValueError(f"mesh_axes is {mesh_axes!r}, but there is no mesh to have them.")
        return None
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"mesh is a {type(mesh).__name__}, expected a jax.sharding.Mesh, for example "
            "jax.make_mesh((jax.device_count(),), ('data',))."
        )
    names = tuple(mesh.axis_names)
    axes = (
        (mesh_axes,)
        if isinstance(mesh_axes, str)
        else tuple(names if mesh_axes is None else mesh_axes)
    )
    unknown = [axis for axis in axes if axis not in names]
    if unknown or not axes or len(set(axes)) != len(axes):
        raise ValueError(
            f"mesh_axes is {mesh_axes!r}, expected distinct names of axes that the mesh has: "
            f"{names}."
        )
    # Collectives count devices in the order of the mesh, whatever the order of the names.
    return Ring(Mesh(mesh.devices, names), tuple(a for a in names if a in axes), mesh)


class ShardedKernel:
    """A kernel whose rows do not divide evenly over the devices, kept with rows to spare.

    JAX arrays are cut evenly only. Products, the diagonal and conversion leave the spare rows out.

    Attributes:
        padded: the sharded array, (..., ≥ n1, n2).
        shape: (..., n1, n2).

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> kernel = na.kernels.ShardedKernel(jnp.ones((4, 3)), (3, 3))  # a row to spare
        >>> (kernel @ jnp.ones((3, 1))).shape, kernel.diagonal().shape
        ((3, 1), (3,))
    """

    def __init__(self, padded: Array, shape: tuple[int, ...]) -> None:
        self.padded, self.shape = padded, shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """Of the entries."""
        return self.padded.dtype

    def select(self, *leading_index: int) -> ShardedKernel:
        """The kernel (n1, n2) at a full index of the axes in front."""
        return ShardedKernel(self.padded[leading_index], self.shape[len(leading_index) :])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Entries as of an array; what is taken is copied to every device."""
        return self.__jax_array__()[index]

    def __matmul__(self, v: Any) -> Array:
        """K v for v (n2,) or (n2, r)."""
        v = jnp.asarray(v)
        columns = v[:, None] if v.ndim == 1 else v
        product = _padded_product(self.padded, columns)[..., : self.shape[-2], :]
        return product[..., 0] if v.ndim == 1 else product

    def diagonal(self) -> Array:
        """(n,)."""
        return jnp.diagonal(self.padded, axis1=-2, axis2=-1)[..., : min(self.shape[-2:])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(gather(self), dtype)

    def __jax_array__(self) -> Array:
        return self.padded[..., : self.shape[-2], :]

    def __repr__(self) -> str:
        return f"ShardedKernel(shape={self.shape}, dtype={self.dtype})"


@jax.jit
def _padded_product(kernel: Array, v: Array) -> Array:
    return jnp.matmul(kernel, v, precision="highest")


def gather(kernel: Any) -> np.ndarray:
    """The whole kernel as a NumPy array, on every process.

    With several processes this is a collective: all of them have to call it.

    Example:
        >>> import jax, numpy as np, ntk_air as na
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> sharded = na.kernels.infinite_ntk(na.kernels.fully_connected(), np.eye(3), mesh=mesh)
        >>> type(na.kernels.gather(sharded)), sharded.shape
        (<class 'numpy.ndarray'>, (3, 3))
    """
    array = kernel.padded if isinstance(kernel, ShardedKernel) else kernel
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        array = multihost_utils.process_allgather(array, tiled=True)
    host = np.asarray(array)
    return host[..., : kernel.shape[-2], :] if isinstance(kernel, ShardedKernel) else host
