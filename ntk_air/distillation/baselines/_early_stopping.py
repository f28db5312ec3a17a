"""Cross-entropy, stopped where it is best on noisy points held out."""

from __future__ import annotations

from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite, check_in_range, check_same_length
from ..._classes import class_of
from ..._results import result
from ..._seeds import one_key
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from .._evaluation import evaluate
from ..training._history import DistillationResult
from ..training._listener import as_listener
from ..training._options import Optimizer, TrainingOptions
from ..training._records import check_pair
from ..training._train import train
from ._cross_entropy import CrossEntropy
from ._record import baseline

# Beside the streams of the training loop: epochs from zero, and 2**31 for steps.
_STREAM = 2**31 + 1


@result
class EarlyStoppingResult(DistillationResult):
    """Outcome of training stopped by held-out noisy points; ``params`` are the chosen ones.

    Attributes:
        best_record: (), which of the R records was chosen, the first of the best.
        validation_accuracy: (R,) fraction of the held-out points whose class is the observed one.
        validation_rows: (v,) rows of the points that were held out; ``history`` is over the others.
    """

    best_record: Array
    validation_accuracy: Array
    validation_rows: Array

    @property
    def best_step(self) -> Array:
        """Training steps done at the chosen record, ()."""
        return self.history.step[self.best_record]


@baseline(
    "early stopping on held-out noisy labels",
    source="arXiv:1903.11680, 2012.04193",
    remark="`validation=0.1`",
    benchmarked=(),
)
def early_stopping(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    optimizer: Optimizer,
    num_steps: int,
    validation: float = 0.1,
    **options: Unpack[TrainingOptions],
) -> EarlyStoppingResult:
    """Cross-entropy on some points; the parameters that are best on the others' noisy labels.

    A share of every observed class is held out, drawn by ``key``. Training runs to its end, and the
    parameters of the record with the highest accuracy on the held-out points are kept in host
    memory. No clean label is used: where noise does not make a wrong class the most likely one,
    the best accuracy on noisy labels is in expectation the best on clean ones (Chen et al.,
    arXiv:2012.04193). Early stopping for noisy labels: Li, Soltanolkotabi and Oymak,
    arXiv:1903.11680.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        optimizer: see `cross_entropy`.
        num_steps: optimiser steps.
        validation: share of the points to hold out, in (0, 1).
        **options: `TrainingOptions`; ``record_every`` is how often it can stop. Not ``replicas``,
            whose networks stop at different steps, and not ``checkpoint``, which does not hold
            the best parameters.

    Returns:
        The best parameters, the `History` of the whole run over the points trained on, and the
        choice, see `EarlyStoppingResult`.

    Raises:
        ValueError: see `cross_entropy`; no key, a share that leaves no point on one side, or
            options it cannot work with.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.early_stopping(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     validation=0.5, key=0)
        >>> print(result.history.loss.round(3))
        [0.693 0.668 0.645 0.623 ]
    """
    for name in ("replicas", "checkpoint"):
        value = options.get(name)
        if value is not None:
            raise ValueError(
                f"early_stopping cannot work with {name}={value!r}; train one network at a time, "
                "without a checkpoint."
            )
    check_in_range("validation", validation, 0.0, 1.0, low_open=True, high_open=True)
    check_pair(observed, options.get("clean"), "cross_entropy")
    check_same_length("inputs", inputs, "observed", observed)
    check_finite("inputs", inputs)
    held = _held_out(class_of(np.asarray(observed)), validation, options.get("key"))
    kept, rows = np.flatnonzero(~held), np.flatnonzero(held)
    points, targets = jnp.asarray(inputs), jnp.asarray(observed)
    keep = _Best(apply_fn, params, points[rows], targets[rows], options)
    clean = options.get("clean")
    outcome = train(
        apply_fn,
        params,
        points[kept],
        targets[kept],
        CrossEntropy(),
        optimizer=optimizer,
        num_steps=num_steps,
        **options
        | {"clean": None if clean is None else jnp.asarray(clean)[kept], "on_record": keep},
    )
    return EarlyStoppingResult(
        keep.params,
        outcome.history,
        best_record=jnp.argmax(jnp.asarray(keep.accuracies)),
        validation_accuracy=jnp.asarray(keep.accuracies),
        validation_rows=jnp.asarray(rows),
    )


class _Best:
    """Called at every record: measures the held-out points and keeps the best parameters."""

    def __init__(
        self,
        apply_fn: Any,
        params: PyTree,
        inputs: Array,
        observed: Array,
        options: TrainingOptions,
    ) -> None:
        self._apply_fn = apply_fn
        self._inputs = inputs
        self._classes = class_of(observed)
        self._size = options.get("batch_size")
        self._precision = options.get("precision")
        self._also = as_listener(options.get("on_record"))
        self.accuracies: list[float] = []
        self.params: PyTree = None
        self._initial = self._outputs(params) if options.get("subtract_initial") else 0.0

    def _outputs(self, params: PyTree) -> Array:
        return evaluate(
            self._apply_fn,
            params,
            self._inputs,
            batch_size=self._size,
            precision=self._precision,
        )

    def __call__(self, step: int, params: PyTree, numbers: dict[str, Any]) -> None:
        outputs = self._outputs(params) - self._initial
        accuracy = float(jnp.mean(class_of(outputs) == self._classes))
        if not self.accuracies or accuracy > max(self.accuracies):
            self.params = jax.tree.map(_on_host, params)
        self.accuracies.append(accuracy)
        if self._also is not None:
            self._also(step, params, numbers)


def _on_host(leaf: Array) -> Any:
    """The leaf in host memory; random keys, which NumPy does not have, where they are."""
    return leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def _held_out(labels: np.ndarray, share: float, key: Any) -> np.ndarray:
    """Which points are held out, (n,) bool: the share of every class, rounded, drawn at random."""
    if key is None:
        raise ValueError("early_stopping draws the held-out points; pass key=0, say.")
    drawn = jax.random.fold_in(cast(Array, one_key(key)), _STREAM)
    order = np.asarray(jax.random.permutation(drawn, len(labels)))
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: round(share * len(members))]] = True
    if not 0 < held.sum() < len(labels):
        raise ValueError(
            f"validation={share} of each class holds out {held.sum()} of {len(labels)} points; "
            "expected some on either side: choose another share."
        )
    return held
