"""The convergence theorem of self-distillation as formulas in NumPy float64: bound, law, floor.

Nothing here runs the training code that the theorem is tested on.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ...._checks import check_in_range, check_same_length, check_same_shape, check_square
from ...._results import result, static
from ...._typing import ArrayLike, Float, Int
from ....distillation import History

SETTLED = 1e-6
"""||h(f) - y||_2 / sqrt(n) up to which the label function gives the clean labels."""
ROUND_OFF = 1e-8
"""Relative slack of what is exact in function space, in float64 over some 10^4 steps."""


@result
class ConvergenceBound:
    """The bound of the theorem beside the distance that a run has, from its own step s_0 on.

    Attributes:
        settled_step: s_0, the first recorded step from which h(f_s) = y holds at every later
            record; None where there is none, and the arrays below are then empty.
        step: (R,) the records from s_0 on.
        distance: (R,) ||f_s - y||_2 / sqrt(n).
        bound: (R,) what the theorem allows it to be.
    """

    settled_step: int | None = static()
    step: Int[np.ndarray, " R"]
    distance: Float[np.ndarray, " R"]
    bound: Float[np.ndarray, " R"]

    @property
    def ratio(self) -> float:
        """Largest distance / bound, at most 1 where the theorem holds; NaN without an s_0."""
        return float(np.max(self.distance / self.bound)) if len(self.step) else float("nan")


def convergence_bound(
    history: History,
    kernel: Float[ArrayLike, "n n"],
    clean: Float[ArrayLike, "n C"],
    observed: Float[ArrayLike, "n C"],
    *,
    learning_rate: float,
    alpha: Float[ArrayLike, " S"] | None = None,
) -> ConvergenceBound:
    """How far a self-distilling run may be from the clean labels, and how far it is.

    Let eta <= 1/lambda_1 and h(f_s) = y at every s >= s_0. Then, with r_s = f_s - y,
    ||r_{s_0+j}|| <= (1 - eta lambda_n)^j ||r_{s_0}|| + max_{s >= s_0} alpha_s ||observed - y||
    (derived; after arXiv:1910.01255). Exact for `kernel_self_distill`, and for a network up to the
    error of its linearisation. Whether h(f_s) = y is read off the run itself, at its records.

    Args:
        history: of a run that was given the clean targets; record it densely (``record_every=1``),
            since what happens between two records is not seen.
        kernel: (n, n), at initialisation.
        clean: clean targets (n, C).
        observed: observed targets (n, C).
        learning_rate: eta, of the summed loss; time = learning_rate x step.
        alpha: weight of the observed labels at every step 0, 1, ..., from which the largest is
            taken; None takes it from the records.

    Raises:
        ValueError: on shapes that do not fit, a history without clean targets or of several
            networks, or a learning rate above 1 / lambda_1.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> clean = np.array([[1.0], [1.0], [1.0], [-1.0]])
        >>> observed = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        >>> kernel = 0.1 * np.eye(4) + clean @ clean.T
        >>> run = na.distillation.kernel_self_distill(
        ...     kernel, observed, learning_rate=0.2, num_steps=50, alpha=lambda s: s < 5,
        ...     clean=clean)
        >>> bound = na.theory.convergence_bound(run, kernel, clean, observed, learning_rate=0.2)
        >>> bound.settled_step, bound.ratio <= 1
        (1, True)
    """
    check_square("kernel", kernel)
    clean, observed = np.asarray(clean, np.float64), np.asarray(observed, np.float64)
    check_same_length("kernel", kernel, "clean", clean)
    check_same_shape("observed", observed, "clean", clean)
    check_in_range("learning_rate", learning_rate, 0.0, low_open=True, high_open=True)
    if np.ndim(history.loss) != 1:
        raise ValueError("history is of several networks; pass one of `result.replica(index)`.")
    if np.isnan(np.asarray(history.label_to_clean)).any():
        raise ValueError(
            "history does not say how wrong the labels were; train with the clean targets as clean."
        )
    values = np.linalg.eigvalsh(np.asarray(kernel, np.float64))
    if not learning_rate * values[-1] <= 1 + ROUND_OFF:
        raise ValueError(
            f"learning_rate x largest eigenvalue is {learning_rate * values[-1]:g}, expected at "
            "most 1: above it gradient descent overshoots and the theorem says nothing."
        )
    return bound_of(history, learning_rate * max(values[0], 0.0), clean, observed, alpha)


def bound_of(
    history: History,
    slowest: float,
    clean: np.ndarray,
    observed: np.ndarray,
    alpha: Any = None,
) -> ConvergenceBound:
    """The same for slowest = eta lambda_n, without checks."""
    first = settled_step(history)
    step = np.asarray(history.step)
    late = step >= (np.inf if first is None else first)
    distance = np.asarray(history.l2_to_clean, np.float64)[late]
    if first is None:
        return ConvergenceBound(None, step[late], distance, distance)
    weights = np.asarray(history.alpha)[late] if alpha is None else np.asarray(alpha)[first:]
    noise = np.linalg.norm(observed - clean) / np.sqrt(len(clean))
    # A label function that gives y up to `wrong` pulls by at most that much beside the noise.
    wrong = float(np.max(np.asarray(history.label_to_clean, np.float64)[late]))
    decay = (1 - slowest) ** (step[late] - first)
    return ConvergenceBound(
        first, step[late], distance, decay * distance[0] + float(np.max(weights)) * noise + wrong
    )


def settled_step(history: History) -> int | None:
    """First recorded step from which the label function gives the clean labels to the end."""
    wrong = np.flatnonzero(~(np.asarray(history.label_to_clean) <= SETTLED))
    if wrong.size == 0:
        return int(history.step[0])
    return None if wrong[-1] == len(history.step) - 1 else int(history.step[wrong[-1] + 1])


def outputs_by_law(
    rates: np.ndarray,
    vectors: np.ndarray,
    outputs: np.ndarray,
    alpha: np.ndarray,
    clean: np.ndarray,
    observed: np.ndarray,
) -> np.ndarray:
    """Outputs (n, 1) after len(alpha) steps in which h(f_s) = y, in closed form per direction.

    r <- (1 - eta lambda) r + eta lambda alpha_s (observed - y), with r the part of f - y.

    Args:
        rates: (n,) eta lambda.
        vectors: (n, n), eigenvectors as columns in the same order.
        outputs: (n, 1) before the first of the steps.
        alpha: (J,) the weights of the steps.
        clean: (n, 1).
        observed: (n, 1).
    """
    left = vectors.T @ (outputs - clean)[:, 0]
    noise = rates * (vectors.T @ (observed - clean)[:, 0])
    for weight in np.asarray(alpha, np.float64):
        left = (1 - rates) * left + weight * noise
    return clean + (vectors @ left)[:, None]


def recursion_residual(
    kernel: np.ndarray,
    learning_rate: float,
    outputs: np.ndarray,
    alpha: np.ndarray,
    label_fn: Any,
    observed: np.ndarray,
) -> float:
    """Largest deviation of recorded outputs (S + 1, n, 1) from the algorithm's next step.

    f_{s+1} = f_s - eta kernel (f_s - alpha_s observed - (1 - alpha_s) h(f_s)), one step at a time
    from what was recorded, so that a label at its threshold cannot make two right runs part.
    """
    before = outputs[:-1]
    labels = np.asarray(jax.jit(jax.vmap(label_fn))(before), np.float64)
    weight = np.asarray(alpha, np.float64)[:-1, None, None]
    pull = before - weight * observed - (1 - weight) * labels
    expected = before[..., 0] - learning_rate * pull[..., 0] @ kernel
    return float(np.max(np.abs(outputs[1:, :, 0] - expected)))


def filter_floor(
    coefficients: np.ndarray, wanted: np.ndarray, initial: np.ndarray, left: np.ndarray | float
) -> float:
    """Least ||f - y|| over all filters that keep at most ``left`` of the initial outputs.

    Args:
        coefficients: (n,) of the observed labels along orthonormal directions.
        wanted: (n,) of the clean ones.
        initial: (n,) of the initial outputs.
        left: in [0, 1] per direction: a filter g with 1 - left <= g <= 1 gives outputs between
            observed + left (initial - observed) and observed.
    """
    far = coefficients + left * (initial - coefficients)
    nearest = np.clip(wanted, np.minimum(coefficients, far), np.maximum(coefficients, far))
    return float(np.linalg.norm(nearest - wanted))
