"""What pulls the outputs of a batch, and where to: the part in which training methods differ.

A method is a pytree: its numbers are traced, so that other values run the same compiled loop, and
its switches are part of the structure. It sees a batch through the function ``forward``, and may
keep a memory with one entry per training point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..._typing import Array, PyTree
from .._alpha import AlphaSchedule
from .._label_fn import LabelFn, hard
from . import _objective

Forward = Callable[[PyTree, Array], Array]


class Batch(NamedTuple):
    """One batch of b points.

    Attributes:
        inputs: (b, ...), augmented.
        observed: (b, C) encoded observed targets.
        weights: (b,), 1 for points and 0 for padding.
        step: (), steps done.
        epoch: (), epochs begun before this one.
        key: randomness of this step, None without a key.
        initial_params: parameters before training.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.Batch._fields[:3]
        ('inputs', 'observed', 'weights')
    """

    inputs: Array
    observed: Array
    weights: Array
    step: Array
    epoch: Array
    key: Array | None
    initial_params: PyTree


def method(cls: type) -> Any:
    """Class decorator of a `Method`: a frozen dataclass, and a pytree.

    Its fields are numbers that are traced, but for those marked by `switch`.

    Example:
        >>> import ntk_air as na
        >>> d = na.distillation
        >>> @d.method
        ... class Weighted(d.Method):
        ...     weight: float
        ...     squared: bool = d.switch(False)
        >>> Weighted(0.5)
        Weighted(weight=0.5, squared=False)
    """
    frozen = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(frozen)
    meta = [f.name for f in fields if f.metadata.get("switch")]
    data = [f.name for f in fields if not f.metadata.get("switch")]
    return jax.tree_util.register_dataclass(frozen, data_fields=data, meta_fields=meta)


def switch(default: Any = dataclasses.MISSING) -> Any:
    """A field of a `method` that is compiled in.

    Args:
        default: its value where none is given.

    Example:
        >>> import dataclasses, ntk_air as na
        >>> isinstance(na.distillation.switch("mean"), dataclasses.Field)
        True
    """
    return dataclasses.field(default=default, metadata={"switch": True})


class Method:
    """Base of all methods: training on the observed labels by cross-entropy, mean over points.

    Attributes:
        loss: "mse" or "cross_entropy".
        reduction: "sum" or "mean" over the points of a batch.
        needs_key: whether `objective` draws random numbers.
        needs_outputs: whether `refresh` is called, with the outputs at all points; for training in
            batches only.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.Method().loss
        'cross_entropy'
    """

    loss: str = "cross_entropy"
    reduction: str = "mean"
    needs_key: bool = False
    needs_outputs: bool = False

    @property
    def label_fn(self) -> Any:
        """Labels that outputs stand for, in the coding of the observed targets."""
        return dataclasses.replace(hard, coding="one_hot")

    def start(self, observed: Array) -> PyTree:
        """Memory before training: a tree of arrays with n rows, or None."""
        del observed
        return None

    def refresh(self, memory: PyTree, outputs: Array) -> PyTree:
        """Memory at the start of an epoch, from the outputs (n, C); if ``needs_outputs``."""
        del outputs
        return memory

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """What a step descends on, (), and the memory of the batch's rows after the step.

        ``forward(params, inputs)`` gives outputs (b, C) in training mode.
        """
        return self.data_loss(forward(params, batch.inputs), batch.observed, batch.weights), memory

    def status(
        self, step: Array, outputs: Array, observed: Array, memory: PyTree
    ) -> tuple[Array, Array]:
        """Weight of the observed labels at a record, and the loss over all points."""
        del step, memory
        weights = jnp.ones(len(observed), outputs.dtype)
        return jnp.ones((), outputs.dtype), self.data_loss(outputs, observed, weights)

    def judged(self, observed: Array, clean: Array | None, memory: PyTree) -> dict[str, Array]:
        """Columns of a `History` that the method has besides, (): none."""
        del observed, clean, memory
        return {}

    def refined(self, observed: Array, memory: PyTree) -> tuple[Array, Array] | None:
        """Weights of the labels (n,) and the posterior of the classes (n, C): none."""
        del observed, memory
        return None

    def data_loss(self, outputs: Array, wanted: Array, weights: Array) -> Array:
        """The chosen loss of outputs against targets (b, C), over rows of positive weight."""
        return _objective.loss(self.loss, self.reduction, outputs, wanted, weights)


@method
class SelfDistillation(Method):
    """Towards alpha x observed + (1 - alpha) x the labels of the network's own outputs."""

    schedule: AlphaSchedule
    labels: LabelFn | Any
    loss: str = switch("mse")
    reduction: str = switch("sum")
    needs_outputs: bool = switch(False)  # the teacher is the network at the end of the last epoch
    threshold: float = switch(0.0)  # between the classes of a single column, of all targets

    @property
    def label_fn(self) -> Any:
        """The function that makes the network's own labels."""
        return self.labels

    def start(self, observed: Array) -> PyTree:
        """The teacher's outputs, filled in at the start of the first epoch."""
        return jnp.zeros_like(observed) if self.needs_outputs else None

    def refresh(self, memory: PyTree, outputs: Array) -> PyTree:
        """The outputs at the end of the epoch before."""
        del memory
        return outputs

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """Distance of the outputs to the self-distillation target, see `Method`."""
        outputs = forward(params, batch.inputs)
        teacher = outputs if memory is None else memory
        _, wanted = self._target(batch.step, teacher, batch.observed, batch.weights)
        return self.data_loss(outputs, wanted, batch.weights), memory

    def status(
        self, step: Array, outputs: Array, observed: Array, memory: PyTree
    ) -> tuple[Array, Array]:
        """See `Method`."""
        weights = jnp.ones(len(observed), outputs.dtype)
        teacher = outputs if memory is None else memory
        weight, wanted = self._target(step, teacher, observed, weights)
        return weight, self.data_loss(outputs, wanted, weights)

    def _target(
        self, step: Array, teacher: Array, observed: Array, weights: Array
    ) -> tuple[Array, Array]:
        return _objective.target(
            self.schedule, self.labels, step, teacher, observed, weights, self.threshold
        )
