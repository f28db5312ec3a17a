"""What every noise model returns, and how much of the clean signal it keeps."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .._checks import check_size
from .._results import result, static
from .._typing import Array, Float, Int


@result
class NoisyLabels:
    """Observed labels, with the clean ones and the model that links them.

    Attributes:
        labels: (n,) int32 observed labels.
        clean: (n,) int32 clean labels.
        flipped: (n,) bool, where the two differ.
        transition: (C, C) float32, row c the probabilities of each observed class given clean
            class c. For instance-dependent noise its average over the points of class c, for
            recorded labels the observed frequencies; a class without points has the unit row.
        rate: the rate asked for, in the convention of the model.
        num_classes: number of classes C.
        model: name of the noise model.
    """

    labels: Int[Array, " n"]
    clean: Int[Array, " n"]
    flipped: Array
    transition: Float[Array, "C C"]
    rate: float = static()
    num_classes: int = static()
    model: str = static()

    @property
    def empirical_rate(self) -> float:
        """Fraction of labels that are wrong in this draw."""
        return float(np.asarray(self.flipped).mean()) if self.flipped.size else 0.0

    @property
    def true_rate(self) -> float:
        """Expected fraction of wrong labels rho, the model's, at these clean labels."""
        counts = np.bincount(np.asarray(self.clean), minlength=self.num_classes)
        wrong = 1.0 - np.diag(np.asarray(self.transition, np.float64))
        return float(counts @ wrong / max(counts.sum(), 1))

    @property
    def retention(self) -> float:
        """The factor kappa by which noise shrinks the clean signal.

        E[observed | clean] = kappa clean, both coded as centred one-hot, e_c = one-hot(c) - 1/C.
        Where noise prefers some wrong classes the equation holds only in the least-squares sense:
        kappa is the coefficient of m_c = E[e_observed | c] on e_c over the clean points,

            kappa = sum_c p_c <m_c, e_c> / sum_c p_c |e_c|^2,   p_c the frequency of class c.

        With <m_c, e_c> = T_cc - 1/C and |e_c|^2 = 1 - 1/C this is 1 - rho C / (C - 1), where rho is
        `true_rate`: it needs only the true rate of errors, whatever the transition. Symmetric
        noise, for which the equation is exact, and two classes, 1 - 2 rho, are special cases.
        """
        return 1.0 - self.true_rate * self.num_classes / (self.num_classes - 1)


def generator(seed: int, model: str) -> np.random.Generator:
    """Random numbers of one noise model, apart from those of others at the same seed."""
    return np.random.default_rng([check_size("seed", seed, 0), *f"noise.{model}".encode()])


def make(
    clean: np.ndarray,
    observed: np.ndarray,
    transition: np.ndarray,
    rate: float,
    model: str,
) -> NoisyLabels:
    """Builds the result of a model from NumPy arrays."""
    return NoisyLabels(
        labels=jnp.asarray(observed, jnp.int32),
        clean=jnp.asarray(clean, jnp.int32),
        flipped=jnp.asarray(observed != clean),
        transition=jnp.asarray(transition, jnp.float32),
        rate=float(rate),
        num_classes=len(transition),
        model=model,
    )


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class per row of ``probabilities`` (n, C), by inverting the cumulative sum."""
    cumulative = np.cumsum(probabilities, axis=1)
    # Dividing by the last column makes it exactly 1, above any draw from [0, 1).
    cumulative /= cumulative[:, -1:]
    return (rng.random((len(probabilities), 1)) >= cumulative).sum(axis=1)
