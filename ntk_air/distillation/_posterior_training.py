"""Training towards the posterior of each label: the method, and what it takes of the labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite
from .._classes import class_of
from .._typing import Array, ArrayLike, PyTree
from ._label_fn import coding_of, hard
from ._posterior import Posterior, bayes, probabilities
from ._transition import check_yields
from .training._method import Batch, Forward, Method, method, switch


@method
class PosteriorDistillation(Method):
    """Towards the posterior of each label under the noise and the memory of past outputs.

    The memory is the running mean of probabilities (n, K), beside a prior of each point if there
    is one: (mean,) or (mean, log of prior).
    """

    log_transition: Any  # (K, K), a prior that is one for all points in it
    log_prior: Any  # (n, K), or None
    momentum: Any
    sharpness: Any
    coding: str = switch("one_hot")
    loss: str = switch("cross_entropy")
    reduction: str = switch("mean")

    @property
    def label_fn(self) -> Any:
        """Hard labels: those of the memory are not of outputs alone."""
        return dataclasses.replace(hard, coding=self.coding)

    def start(self, observed: Array) -> PyTree:
        """Nothing known: uniform."""
        count = max(observed.shape[-1], 2)
        mean = jnp.full((len(observed), count), 1 / count, observed.dtype)
        if self.log_prior is None:
            return (mean,)
        return mean, jnp.asarray(self.log_prior, observed.dtype)

    def visited(self, memory: PyTree, outputs: Array) -> PyTree:
        """The memory after one more look at the outputs (b, C)."""
        mean, *prior = memory
        own = jax.lax.stop_gradient(probabilities(outputs, self.loss))
        moved = self.momentum * mean + (1 - self.momentum) * own
        return (moved.astype(mean.dtype), *prior)

    def judge(self, observed: Array, memory: PyTree) -> tuple[Array, Array]:
        """Weights of the observed labels (b,), and the posterior of the classes (b, K)."""
        mean, *prior = memory
        classes = class_of(observed)
        likelihood = jnp.asarray(self.log_transition, mean.dtype).T[classes]
        refined = bayes(mean, sum(prior, likelihood), self.sharpness)
        return jnp.take_along_axis(refined, classes[:, None], axis=1)[:, 0], refined

    def target(self, observed: Array, memory: PyTree) -> tuple[Array, Array]:
        """Weights (b,), and the posterior in the coding of the observed targets, (b, C)."""
        weights, refined = self.judge(observed, memory)
        if self.coding == "sign":
            return weights, refined[:, 1:] - refined[:, :1]
        return weights, refined - (0 if self.coding == "one_hot" else 1 / refined.shape[-1])

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`; the memory of the batch is moved before it is used."""
        outputs = forward(params, batch.inputs)
        memory = self.visited(memory, outputs)
        _, wanted = self.target(batch.observed, memory)
        return self.data_loss(outputs, wanted, batch.weights), memory

    def status(
        self, step: Array, outputs: Array, observed: Array, memory: PyTree
    ) -> tuple[Array, Array]:
        """See `Method`; the mean weight, with the memory as it is."""
        del step
        weights, wanted = self.target(observed, memory)
        return jnp.mean(weights), self.data_loss(outputs, wanted, jnp.ones_like(weights))

    def judged(self, observed: Array, clean: Array | None, memory: PyTree) -> dict[str, Array]:
        """Mean weights of right and of wrong labels; none without clean targets."""
        if clean is None:
            return {}
        weights, _ = self.judge(observed, memory)
        right = class_of(observed) == class_of(clean)
        return {
            "alpha_right": jnp.mean(weights, where=right),
            "alpha_wrong": jnp.mean(weights, where=~right),
        }

    def refined(self, observed: Array, memory: PyTree) -> tuple[Array, Array]:
        """See `Method`."""
        return self.judge(observed, memory)


def posterior_method(
    chosen: Posterior,
    observed: ArrayLike,
    *,
    loss: str,
    reduction: str,
    label_fn: Any,
    teacher: str = "step",
) -> PosteriorDistillation:
    """The method of a `posterior` on observed targets (n, C), or (R, n, C) of networks together.

    Raises:
        ValueError: if targets are no hard labels, the transition or prior does not fit them, or a
            label function or teacher is given too.
    """
    chosen.check_beside(label_fn, teacher)
    coding, classes, count = _hard_labels(observed)
    transition = chosen.between(count)
    one_hot = np.eye(count)[classes]
    check_yields(transition, one_hot)
    prior = np.ones(count) if chosen.prior is None else chosen.prior
    num_points = classes.shape[-1]
    if prior.shape not in ((count,), (num_points, count)):
        raise ValueError(
            f"prior of posterior has shape {prior.shape}, expected ({count},) or "
            f"({num_points}, {count}) for {num_points} points of {count} classes."
        )
    none = np.argwhere((one_hot @ transition.T * prior).sum(-1) == 0)
    if none.size:
        raise ValueError(
            f"prior of posterior leaves point {none[0][-1]} no class: it is 0 wherever the "
            "transition yields the observed one."
        )
    with np.errstate(divide="ignore"):  # of what never happens
        log_transition, log_prior = np.log(transition), np.log(prior)
    each = log_prior.ndim == 2
    return PosteriorDistillation(
        log_transition if each else log_transition + log_prior[:, None],
        log_prior if each else None,
        chosen.momentum,
        chosen.sharpness,
        coding,
        loss,
        reduction,
    )


def _hard_labels(observed: ArrayLike) -> tuple[str, np.ndarray, int]:
    """Coding, classes (..., n) and their number, of targets that name one class each."""
    check_finite("observed", observed)
    codes = np.asarray(observed)
    rows = codes.reshape(-1, codes.shape[-1])
    coding, count = coding_of(rows), max(codes.shape[-1], 2)
    classes = class_of(codes)
    meant = np.eye(count)[classes]
    if coding == "sign":
        meant = meant[..., 1:] - meant[..., :1]
    elif coding == "centered_one_hot":
        meant = meant - 1 / count
    if coding is None or not np.allclose(codes, meant, atol=1e-3):
        raise ValueError(
            "alpha=posterior(...) needs observed targets that name one class each: +-1 for a "
            "single output, one-hot or centred one-hot rows; encode the labels with "
            "ntk_air.datasets.encode."
        )
    return coding, classes, count
