"""Which labels are wrong, and what they should be, from the labels and a kernel alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite, check_in_range
from ..._classes import class_of, threshold_of
from ..._numerics import as_float, in_precision
from ..._typing import Array, ArrayLike, Float
from ...spectral import Eigensystem
from .._filters import gradient_flow
from .._inputs import matching
from ._calibrate import class_sensitive, posterior
from ._found_noise import found_noise, given_noise, stated_matrix
from ._leave_one_out import leave_one_out
from ._noise import estimate_noise
from ._rate import TailEvidence
from ._refined import RefinedLabels, refined_labels
from ._stopping import stopping_time
from ._suspects import confident_joint, pooled_posterior

# Further times at which points are predicted, over the chosen one.
_EARLY_AND_LATE = (0.25, 4.0)
_SAME = 1e-3


@in_precision
def refine_labels(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    noise_rate: float | None = None,
    transition: str | Float[ArrayLike, "C C"] | None = None,
    time: float | None = None,
    rule: str | None = None,
) -> RefinedLabels:
    """Finds labels that are probably wrong and what they should be.

    Each point is predicted by kernel gradient flow trained without it, f: exactly the outputs of n
    retrainings (`leave_one_out`), to a time that ``rule`` chooses. f does not depend on the point's
    own label, and that is all the likelihoods below ask of it.

    The clean class has probabilities p(c | x) = softmax(β f), and symmetric noise of rate ρ makes
    them those of the observed class. β has largest likelihood; ρ is the mean over its interval,
    weighted by the likelihood of the observed labels and of their tail energy (`estimate_noise`)
    together, within the tail's bounds. The labels alone do
    not tell ρ where the outputs are all of one size, as often with two classes: a softmax less
    sharp explains them as well as noise does. With ρ fixed, the softmax then takes in outputs at a
    quarter of and four times that time, and becomes sensitive to classes and to the norm of f, by
    maximum posterior (see ``_calibrate.class_sensitive``). Bayes' rule joins p(c | x) to the
    observed label.

    Noise that prefers some wrong classes needs its transition matrix. It is estimated by the same
    likelihood, with a bias for each class, where the labels call for one: where it beats symmetric
    noise by Schwarz's criterion, most points are anchor points, and each class keeps its name.
    Where the noise is neither given nor ``identified``, the score averages what Bayes' rule says
    under the most likely noise, under the noise that confident learning counts, and in between.

    Args:
        eigensystem: of the training kernel.
        observed: observed class codes ỹ: centred one-hot (n, C), one-hot, or ±1, or 0 and
            1, in one column (n, 1). Classes that no label names get probability near zero.
        noise_rate: ρ of symmetric noise; default that of largest likelihood.
        transition: what the noise is known to be: ``"symmetric"``, ``"estimated"``, or a matrix
            (C, C) whose row c holds the probabilities of the observed classes given clean class c;
            default what the labels call for, or symmetric with ``noise_rate``.
        time: stopping time (learning rate × step); default what ``rule`` chooses.
        rule: a rule of `stopping_time`; default ``"leave_one_out"``. Not beside ``time``.

    Returns:
        `RefinedLabels`; for one column, class 1 is the larger number and the probabilities have two
        columns.

    Raises:
        ValueError: on shapes that do not match, targets that are not finite or no class codes,
            values out of range, a ``noise_rate`` beside a transition matrix, a ``rule`` beside a
            ``time``, or leave-one-out outputs that the precision does not tell.

    Source: derived; the noise model as in forward correction (Patrini et al., arXiv:1609.03683),
        confident learning as in Northcutt et al. (arXiv:1911.00068).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
        >>> es = na.spectral.eigendecompose(np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8))
        >>> observed = na.datasets.encode(np.array([0, 0, 1, 0, 1, 1, 1, 1]), 2)  # the third is odd
        >>> refined = na.dynamics.refine_labels(es, observed, noise_rate=0.125)
        >>> print(refined.suspected.nonzero()[0], refined.labels)
        [2] [0 0 0 0 1 1 1 1]
    """
    matching(eigensystem, observed=observed)
    codes = _class_codes(observed)
    classes = codes.shape[1]
    given = stated_matrix(transition, classes, noise_rate)
    if time is not None and rule is not None:
        raise ValueError(
            f"rule {rule!r} chooses the stopping time and time is {time:g}; pass one of them."
        )
    if time is None:
        rule = "leave_one_out" if rule is None else rule
        time = float(stopping_time(eigensystem, codes, rule=rule, remainder="mean").time)
    check_in_range("time", time, 0.0)
    filters = [gradient_flow(time * factor) for factor in (1.0, *_EARLY_AND_LATE)]
    several = leave_one_out(eigensystem, filters, codes, remainder="mean")
    known = np.all(np.isfinite(np.asarray(several)), axis=(1, 2))
    if not known[0]:
        raise ValueError(
            f"leave-one-out outputs at time {time:g} are not known in the eigensystem's precision; "
            "decompose the kernel in float64 (jax.enable_x64), or pass an earlier time."
        )
    several = several[known]
    labels = np.asarray(class_of(codes))
    blind = _tells_no_points_apart(np.asarray(several[0], np.float64), labels)
    if given is not None:
        noise = given_noise(several[0], labels, given, noise_rate)
    else:
        evidence = TailEvidence.of(estimate_noise(eigensystem, codes), classes)
        kind = transition if isinstance(transition, str) else None
        kind = "symmetric" if blind else kind
        noise = found_noise(several[0], labels, evidence, kind)
    values = np.asarray(several, np.float64)
    clean = class_sensitive(values, labels, noise.matrix, noise.sharpness)
    joint = confident_joint(clean @ noise.matrix, labels)
    counted = 1.0 - float(np.trace(joint))
    identified = noise.identified(clean, counted) and (given is not None or not blind)
    refined = posterior(clean, labels, noise.matrix)
    right = refined
    if not (noise.stated or identified):
        right = pooled_posterior(clean, labels, noise.matrix, joint)
    parts = clean, refined, right
    return refined_labels(codes, several[0], parts, noise, counted, time, identified)


def _tells_no_points_apart(outputs: np.ndarray, labels: np.ndarray) -> bool:
    """Whether outputs (n, C) differ by nothing but the point's own label, which was left out.

    So it is of constant kernels: without a label its class weighs less, at every point alike. No
    noise is told by that, though it tells every label.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return False
    means = np.stack([outputs[labels == c].mean(axis=0) for c in present])
    within = np.abs(outputs - means[np.searchsorted(present, labels)]).max()
    if within > _SAME * np.ptp(means, axis=0).max():
        return False
    of_present = means[:, present]
    own = np.diag(of_present)
    return bool(np.all(own < (of_present.sum(axis=0) - own) / (len(present) - 1)))


def _class_codes(observed: ArrayLike) -> Array:
    """Centred one-hot codes of the classes that the targets name."""
    check_finite("observed", observed)
    targets = as_float(observed)
    threshold = threshold_of(targets)
    classes = class_of(targets, threshold)
    if targets.shape[1] == 1:
        # 0 and 1 lie at a half of ±1 from their middle.
        signs = (targets - threshold) * jnp.where(threshold == 0.5, 2.0, 1.0)
        targets = jnp.concatenate([-signs, signs], axis=1) / 2
    codes = jax.nn.one_hot(classes, targets.shape[1], dtype=targets.dtype)
    codes = codes - 1.0 / targets.shape[1]
    centred = targets - jnp.mean(targets, axis=1, keepdims=True)
    off = float(jnp.max(jnp.abs(centred - codes), initial=0.0))
    if off > 1e-3:
        raise ValueError(
            f"observed differs from class codes by up to {off:.3g}; expected one-hot, centred "
            "one-hot, or ±1 or 0 and 1 in one column: encode integer labels with "
            "ntk_air.datasets.encode."
        )
    return codes
