"""Self-distillation without a schedule: each label weighted by its posterior, Bayes' rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._checks import check_finite, check_in_range, real_array
from .._typing import Array, ArrayLike, Float
from ._label_fn import hard
from ._transition import square

ASSUMED_RATE = 0.4


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Weights of the observed labels that are found instead of set, as made by `posterior`.

    Attributes:
        rate: of symmetric noise; None where a transition is given, or none is known.
        transition: (C, C), or None.
        prior: (C,) or (n, C), or None.
        momentum: share of the memory that a visit keeps.
        sharpness: power of the memory.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.alpha.parse("posterior:0.3", 100).rate
        0.3
    """

    rate: float | None
    transition: np.ndarray | None
    prior: np.ndarray | None
    momentum: float
    sharpness: float

    def between(self, num_classes: int) -> np.ndarray:
        """The transition of so many classes, (C, C) float64.

        Raises:
            ValueError: if the transition given is of another number of classes, or the rate is so
                high that a label says nothing about its class.
        """
        if self.transition is not None:
            if len(self.transition) != num_classes:
                raise ValueError(
                    f"transition of posterior has shape {self.transition.shape}, expected "
                    f"({num_classes}, {num_classes}) for labels of {num_classes} classes."
                )
            return self.transition
        rate = ASSUMED_RATE if self.rate is None else self.rate
        # From there on another label than the true one is as likely, or likelier.
        check_in_range(
            f"rate of posterior (with {num_classes} classes)",
            rate, 0.0, (num_classes - 1) / num_classes, high_open=True,
        )  # fmt: skip
        other = rate / (num_classes - 1)
        return np.full((num_classes, num_classes), other) + np.eye(num_classes) * (1 - rate - other)

    def check_beside(self, label_fn: Any, teacher: str = "step") -> None:
        """Refuses what it replaces.

        Raises:
            ValueError: if a label function or a teacher is given beside it.
        """
        if label_fn is not hard:
            raise ValueError(
                f"label_fn is {label_fn!r} beside alpha=posterior(...), which makes the labels "
                "itself: leave label_fn out."
            )
        if teacher != "step":
            raise ValueError(
                f"teacher is {teacher!r} beside alpha=posterior(...), whose memory of past visits "
                "is the teacher: leave teacher out."
            )


def posterior(
    *,
    rate: float | None = None,
    transition: Float[ArrayLike, "C C"] | None = None,
    prior: Float[ArrayLike, "n C"] | Float[ArrayLike, " C"] | None = None,
    momentum: float = 0.9,
    sharpness: float = 3.0,
) -> Posterior:
    """The weight of each observed label by Bayes' rule, for ``alpha``: no schedule to be timed.

    For every point i the network's own probabilities at its visits are remembered, m_i <- momentum
    m_i + (1 - momentum) p_i, from the uniform distribution on. With T[c, o] the probability that
    noise makes a label o of the class c, its target is q_ic, proportional to
    m_ic^sharpness T[c, observed_i] prior_ic: that is alpha_i observed_i + (1 - alpha_i) h_i with
    alpha_i = q_i at the observed class and h_i the rest of q_i, normalised. No gradient flows
    through it. Before any evidence it is the label smoothed by T; labels that agree with the
    memory get alpha_i near 1, contradicted ones near 0. Source: derived; with momentum 0,
    sharpness 1 and cross-entropy the gradient is that of `baselines.forward_correction`
    (arXiv:1609.03683).

    For cross-entropy p_i is the softmax of the outputs. For the squared loss it is the point of
    the probability simplex nearest to the outputs (+ 1/C for centred codes; of a single output f
    the pair ((1 - f) / 2, (1 + f) / 2)): what minimises the expected squared loss is the mean of
    the codes, which are the class probabilities, so that outputs that are such a mean are taken as
    they are, codes give certainty, and outputs 0 the uniform distribution.

    Args:
        rate: of symmetric noise, wrong labels alike from the other classes, in [0, (C - 1) / C);
            None assumes 0.4 whatever the rate is.
        transition: (C, C), row c the probabilities of the observed classes given class c, in place
            of a rate.
        prior: weights >= 0 of the classes, (C,), or of those of each point, (n, C); None is
            uniform.
        momentum: in [0, 1).
        sharpness: > 0; above 1 it makes up for a mean over visits being less certain than what it
            has seen, and far above it locks early errors in.

    Returns:
        What `self_distill` and `kernel_self_distill` take as ``alpha``. The labels should be hard,
        and ``label_fn`` and ``teacher`` are left out.

    Raises:
        ValueError: on numbers out of range, arrays of another form, or a rate beside a transition.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> clean = np.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> observed = np.eye(2)[[0, 0, 1, 1, 1, 1]]
        >>> result = na.distillation.self_distill(
        ...     lambda w, x: x @ w, np.zeros((2, 2)), clean, observed, optimizer=1.0,
        ...     num_steps=20, alpha=na.distillation.posterior(), loss="cross_entropy")
        >>> print(np.round(result.label_weights, 2))  # the third label is wrong
        [0.84 0.84 0.3 0.96 0.96 0.96]
    """
    if rate is not None and transition is not None:
        raise ValueError("posterior has both rate and transition; give one: either says the noise.")
    if rate is not None:
        check_in_range("rate", rate, 0.0, 1.0, high_open=True)
        rate = float(rate)
    check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
    check_in_range("sharpness", sharpness, 0.0, low_open=True, high_open=True)
    return Posterior(
        rate,
        None if transition is None else square(transition),
        None if prior is None else _prior(prior),
        float(momentum),
        float(sharpness),
    )


def _prior(prior: Any) -> np.ndarray:
    weights = real_array("prior", prior)
    if weights.ndim not in (1, 2) or not weights.size:
        raise ValueError(f"prior has shape {weights.shape}, expected (C,) or (n, C).")
    check_finite("prior", weights)
    if weights.min() < 0:
        raise ValueError(f"prior has least entry {weights.min():g}, expected weights >= 0.")
    return weights.astype(np.float64)


def probabilities(outputs: Array, loss: str) -> Array:
    """What outputs (b, C) say of the K classes, (b, K), see `posterior`."""
    if loss == "cross_entropy":
        return jax.nn.softmax(outputs, axis=-1)
    # The same for codes that differ by a constant: it is orthogonal to the simplex.
    columns = outputs
    if outputs.shape[-1] == 1:
        columns = jnp.concatenate([-outputs, outputs], axis=-1) / 2
    return jax.vmap(optax.projections.projection_simplex)(columns)


def bayes(memory: Array, log_likelihood: Array, sharpness: Any) -> Array:
    """Probabilities proportional to memory^sharpness exp(log_likelihood), all (b, K)."""
    tiny = jnp.finfo(memory.dtype).tiny  # a class may be impossible, but not all of them
    return jax.nn.softmax(sharpness * jnp.log(jnp.maximum(memory, tiny)) + log_likelihood, axis=-1)
