"""From the runs to assumptions and conclusions of `check_l2_floor`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...model._clusters import cluster_checks
from ...reporting._exponents import scaling_check
from ...reporting._report import Check
from ..self_distillation._checks import recursion_check
from ._runs import FloorRun, FloorSettings

THREE_DIGITS = 5e-4
POINT = 1e-4
"""Radius up to which clusters count as points: what is of order epsilon_0 is below THREE_DIGITS."""
ROUND_OFF = 1e-9
LINEAR = 0.02
"""Radius up to which deviations are fitted as powers of epsilon_0; above, the next order shows."""


def floor_assumptions(
    every: Sequence[FloorRun], settings: FloorSettings, accuracy: float
) -> tuple[Check, ...]:
    """Those on data and step size, and those of the schedule, measured on its own runs."""
    worst = max(every, key=lambda run: run.geometry.radius)
    noisiest = max(every, key=lambda run: run.geometry.worst_noise_rate)
    few, apart = cluster_checks(noisiest.geometry, 0.5)[0], cluster_checks(worst.geometry, 0.5)[1]
    spread = float(np.max([run.spread for run in every]))
    decay = float(np.max([run.decay for run in every]))
    largest = float(np.max([run.largest for run in every]))
    return (
        few,
        apart,
        Check.at_most(
            "monotone gradient descent",
            f"eta lambda_1 = {settings.step_size:g}, momentum {settings.momentum:g}: "
            "every filter value, over all steps and directions, <= 1",
            required=1.0,
            measured=largest,
        ),
        Check.below(
            "equal shares of wrong labels",
            "rho differs between clusters by less than 0.001",
            required=1e-3,
            measured=spread,
        ),
        Check.below(
            "enough steps",
            "(1 - lambda_K / lambda_1)^S: the cluster directions are fitted",
            required=1e-3,
            measured=decay,
        ),
        *_schedule_assumptions(every, accuracy),
    )


def _schedule_assumptions(every: Sequence[FloorRun], accuracy: float) -> tuple[Check, ...]:
    """None where the runs are not self-distillation: nothing they show is a premise then."""
    if not all(run.residual <= ROUND_OFF for run in every):
        return ()
    rho = every[0].geometry.noise_rate
    last = max(run.last_alpha * run.geometry.label_error for run in every)
    late = [run.settled for run in every if run.settled is not None]
    end = float(np.max([run.end for run in every]))
    margin = float(np.min([run.end_margin for run in every if run.asked <= POINT]))
    # A tenth of what is concluded is left to what the schedule and the steps still move.
    allowed, kept = 0.9 * accuracy * 2 * rho, 1 - 0.9 * accuracy
    return (
        Check.at_most(
            "the schedule ends",
            f"alpha_S |observed - clean| / sqrt(n) <= {0.9 * accuracy:g} x 2 rho",
            required=allowed,
            measured=last,
        ),
        Check(
            "the network is not trusted too early",
            "h(f_s) = y at every step from some s0 on, on the self-distilling runs",
            required="some s0",
            measured=max(late) if len(late) == len(every) else "never",
            holds=len(late) == len(every),
        ),
        Check(
            "enough steps once the labels are right",
            "with h(f) = y, the run's alpha and its outputs at s0, |f - y| / sqrt(n) at "
            f"the end <= {0.9 * accuracy:g} x 2 rho, every radius, and min y f there >= "
            f"1 - {0.9 * accuracy:g} ({margin:.4g} is), epsilon_0 <= {POINT:g}",
            required=allowed,
            measured=end,
            holds=end <= allowed and margin >= kept,
        ),
    )


def floor_conclusions(every: Sequence[FloorRun], accuracy: float) -> tuple[Check, ...]:
    """Floor and margin of gradient descent, ends of self-distillation, and their exponents."""
    points = [run for run in every if run.asked <= POINT]
    return (
        recursion_check("the algorithm's steps", [run.residual for run in every], ROUND_OFF),
        *_descent_checks(every, points),
        *_distilled_checks(every, points, accuracy),
        *_converged_checks(every),
        *_exponents(every),
    )


def _descent_checks(every: Sequence[FloorRun], points: Sequence[FloorRun]) -> tuple[Check, ...]:
    """What no filter up to 1 goes below, and early stopping reaches."""
    rho = every[0].geometry.noise_rate
    below = float(np.min([run.floor - run.least for run in every]))
    return (
        _three_digits_check(
            "floor of all filters up to 1",
            "least |f - y| / sqrt(n) of all filters between 0 and 1 is 2 rho to three "
            f"digits, epsilon_0 <= {POINT:g}",
            [run.least for run in points],
            2 * rho,
        ),
        Check.at_least(
            "gradient descent is one of them",
            "|f - y| / sqrt(n) at the best step less that least, every radius",
            required=-ROUND_OFF,
            measured=below,
        ),
        _three_digits_check(
            "floor of early stopping",
            "monotone gradient descent: min over steps of |f - y| / sqrt(n) is 2 rho to "
            f"three digits, epsilon_0 <= {POINT:g}",
            [run.floor for run in points],
            2 * rho,
        ),
        _three_digits_check(
            "margin of early stopping",
            "min y f at that step is 1 - 2 rho to three digits",
            [run.floor_margin for run in points],
            1 - 2 * rho,
        ),
    )


def _distilled_checks(
    every: Sequence[FloorRun], points: Sequence[FloorRun], accuracy: float
) -> tuple[Check, Check]:
    """That self-distillation ends below the floor, with larger margin."""
    rho = every[0].geometry.noise_rate
    return (
        Check.at_most(
            "self-distillation has no floor",
            f"|f - y| / sqrt(n) at the end <= {accuracy:g} x 2 rho, every radius",
            required=accuracy * 2 * rho,
            measured=float(np.max([run.distilled for run in every])),
        ),
        Check.at_least(
            "margin of self-distillation",
            f"min y f at the end >= 1 - {accuracy:g}, epsilon_0 <= {POINT:g}",
            required=1 - accuracy,
            measured=float(np.min([run.distilled_margin for run in points])),
        ),
    )


def _converged_checks(every: Sequence[FloorRun]) -> tuple[Check, ...]:
    """Gradient descent run on for ever; none where all radii leave eigenvalues of round-off."""
    resolved = [run.converged for run in every if run.resolved]
    if not resolved:
        return ()
    return (
        _three_digits_check(
            "converged gradient descent",
            "|f - y| / sqrt(n) in the limit is 2 sqrt(rho), where no eigenvalue is round-off",
            resolved,
            2 * every[0].geometry.noise_rate ** 0.5,
        ),
    )


def _three_digits_check(
    name: str, statement: str, values: Sequence[float], required: float
) -> Check:
    """That all values are the one required to three digits: the one farthest from it is named."""
    measured = _farthest(values, required)
    return Check(name, statement, required, measured, abs(measured - required) < THREE_DIGITS)


def _farthest(values: Sequence[float], target: float) -> float:
    """The value farthest from the target; NaN if one is."""
    return float(values[int(np.argmax(np.abs(np.asarray(values) - target)))])


def _exponents(every: Sequence[FloorRun]) -> tuple[Check, ...]:
    """How floor and margin leave 2 rho and 1 - 2 rho as the radius grows."""
    small = [run for run in every if POINT < run.asked <= LINEAR]
    if len({run.asked for run in small}) < 3:
        return ()
    # One column per seed, whose runs follow one another.
    by_seed = np.reshape(np.arange(len(small)), (-1, len({run.asked for run in small}))).T
    rho = small[0].geometry.noise_rate
    laws = {
        "floor": ("|floor - 2 rho|", [abs(run.floor - 2 * rho) for run in small]),
        "margin": ("|margin - (1 - 2 rho)|", [abs(r.floor_margin - 1 + 2 * rho) for r in small]),
    }
    return tuple(
        scaling_check(
            f"exponent of {name} in epsilon_0",
            f"{quantity}, for epsilon_0 <= {LINEAR:g},",
            "epsilon_0",
            np.asarray([run.geometry.radius for run in small])[by_seed],
            np.asarray(values)[by_seed],
            1.0,
            # Directions turn by O(epsilon_0), which moves outputs by O(epsilon_0^2) beside it.
            next_order=1.0,
        )
        for name, (quantity, values) in laws.items()
    )
