"""Checks of one training call: what its arguments say of each other and of the network."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..._checks import check_bool, check_finite
from ..._classes import classes_given
from ..._modules import refusing_collections
from ..._typing import Array, ArrayLike, PyTree
from ._batches import wide
from ._method import Method
from ._network import TrainableNetwork
from ._problem import NETWORKS, POINTS
from ._records import check_pair, check_same_coding, check_test, shape_of_outputs

_ADVICE = (
    "and training would change them as if they were parameters; pass the module itself in place of "
    "the function, then only parameters are trained and the others updated as the module says."
)


def targets_of_one(
    observed: ArrayLike, clean: ArrayLike | None, loss: str, replicas: int | None
) -> ArrayLike:
    """Targets (n, C) of the first network, once those of all have been checked."""
    each = list(np.asarray(observed)) if np.ndim(observed) == 3 and replicas else [observed]
    for targets in each:
        check_pair(targets, clean, loss)
    check_same_coding(each)
    return each[0]


def check_params(params: PyTree) -> None:
    """Raises ValueError unless all parameters are finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        # Counters and random keys are as they are.
        if isinstance(leaf, np.ndarray) or (
            isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        ):
            check_finite(f"params{jax.tree_util.keystr(path)}", leaf)


def check_padding(network: TrainableNetwork, batch_size: int | None, count: int) -> None:
    """Raises ValueError if the padding of a last batch would change the network."""
    if batch_size is not None and count % batch_size and network.mixes_batch:
        raise ValueError(
            f"batch_size {batch_size} leaves {count % batch_size} of {count} points for the last "
            "batch, which is padded, and the network's BatchNorm would count the padding; take a "
            "batch_size that divides the number of points, or let the module's __call__ take "
            "mask (b,) and hand mask[:, None, ...] to BatchNorm, as those of ntk_air.networks do."
        )


def check_key(key: Any, batch_size: int | None, augment: Any, method: Method) -> None:
    """Raises ValueError if there is no key, and something draws random numbers."""
    if key is None and batch_size is not None:
        raise ValueError("batch_size needs a key for the order of the points; pass key=0, say.")
    if key is None and (augment is not None or method.needs_key):
        what = "augment" if augment is not None else type(method).__name__
        raise ValueError(f"{what} draws random numbers and needs a key; pass key=0, say.")


def check_augment(augment: Any, inputs: Array, batch_size: int | None) -> None:
    """Raises ValueError unless an augmentation keeps the shape of a batch."""
    if augment is None:
        return
    size = len(inputs) if batch_size is None else batch_size
    batch = jax.ShapeDtypeStruct((size, *inputs.shape[1:]), inputs.dtype)
    returned = jax.eval_shape(augment, jax.random.key(0), batch)
    if getattr(returned, "shape", None) != batch.shape:
        raise ValueError(
            f"augment turns inputs of shape {batch.shape} into "
            f"{getattr(returned, 'shape', returned)}, expected inputs of the same shape."
        )


def check_subtraction(subtract_initial: bool, network: TrainableNetwork) -> None:
    """Raises ValueError unless initial outputs can be subtracted from those of training."""
    if check_bool("subtract_initial", subtract_initial) and network.normalises:
        raise ValueError(
            "subtract_initial needs a network whose outputs depend on its parameters and one point "
            "alone, and BatchNorm takes statistics of each batch in training; freeze them, "
            "self_distill(*ntk_air.kernels.functional(module, variables), ...), or leave "
            "subtract_initial out."
        )


def spread_over(mesh: Mesh, replicas: int | None, size: int) -> Mesh:
    """The devices in a row, each for networks of its own where their number divides, or points."""
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh is {mesh!r}, expected a jax.sharding.Mesh of devices.")
    devices = mesh.devices.ravel()
    if replicas is not None and replicas % mesh.size == 0:
        return Mesh(devices, (NETWORKS,))
    if size % mesh.size:
        networks = "" if replicas is None else f", nor do {replicas} networks (replicas)"
        raise ValueError(
            f"a batch of {size} points does not divide over the {mesh.size} devices of the mesh"
            f"{networks}; take a batch_size that is a multiple of {mesh.size}."
        )
    return Mesh(devices, (POINTS,))


def output_dtype(
    network: TrainableNetwork,
    variables: tuple[PyTree, PyTree],
    inputs: Array,
    shape: tuple[int, ...],
) -> Any:
    """Checks the shape of the outputs without computing them; the dtype of all that is of them."""
    outputs = shape_of_outputs("apply_fn", _evaluation(network), variables, inputs)
    if outputs.shape != shape:
        raise ValueError(
            f"apply_fn returns outputs of shape {outputs.shape} for observed targets of shape "
            f"{shape}; expected the same (n, C): give the network C outputs, and a single one a "
            "last axis of length 1."
        )
    return wide(outputs.dtype)


@functools.lru_cache(maxsize=128)
def _evaluation(network: TrainableNetwork) -> Any:
    """The same function for equal networks, so that JAX finds the trace it has of it."""
    return refusing_collections(network.evaluate, _ADVICE)


def test_part(
    network: TrainableNetwork, variables: tuple[PyTree, PyTree], test: Any, num_outputs: int
) -> tuple[Array | None, Array | None]:
    """Inputs and classes of the test points, None where there are none."""
    if test is None:
        return None, None
    inputs, labels = check_test(test)
    inputs = jnp.asarray(inputs)
    output_dtype(network, variables, inputs, (len(inputs), num_outputs))
    return inputs, classes_given(labels, len(inputs), num_outputs)
