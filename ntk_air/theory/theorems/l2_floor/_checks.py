"""From the runs to assumptions and conclusions of `check_l2_floor`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...model._clusters import cluster_checks
from ...reporting._exponents import scaling_check
from ...reporting._report import Check
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
        Check(
            name="monotone gradient descent",
            statement=f"eta lambda_1 = {settings.step_size:g}, momentum {settings.momentum:g}: "
            "every filter value, over all steps and directions, <= 1",
            required=1.0,
            measured=largest,
            holds=largest <= 1,
        ),
        Check(
            name="equal shares of wrong labels",
            statement="rho differs between clusters by less than 0.001",
            required=1e-3,
            measured=spread,
            holds=spread < 1e-3,
        ),
        Check(
            name="enough steps",
            statement="(1 - lambda_K / lambda_1)^S: the cluster directions are fitted",
            required=1e-3,
            measured=decay,
            holds=decay < 1e-3,
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
        Check(
            name="the schedule ends",
            statement=f"alpha_S |observed - clean| / sqrt(n) <= {0.9 * accuracy:g} x 2 rho",
            required=allowed,
            measured=last,
            holds=last <= allowed,
        ),
        Check(
            name="the network is not trusted too early",
            statement="h(f_s) = y at every step from some s0 on, on the self-distilling runs",
            required="some s0",
            measured=max(late) if len(late) == len(every) else "never",
            holds=len(late) == len(every),
        ),
        Check(
            name="enough steps once the labels are right",
            statement="with h(f) = y, the run's alpha and its outputs at s0, |f - y| / sqrt(n) at "
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
    wide = [run for run in every if run.resolved]
    rho = every[0].geometry.noise_rate
    off = _farthest([run.floor for run in points], 2 * rho)
    margin = _farthest([run.floor_margin for run in points], 1 - 2 * rho)
    distilled = float(np.max([run.distilled for run in every]))
    least = float(np.min([run.distilled_margin for run in points]))
    filters = _farthest([run.least for run in points], 2 * rho)
    below = float(np.min([run.floor - run.least for run in every]))
    checks = [
        Check(
            name="floor of all filters up to 1",
            statement="least |f - y| / sqrt(n) of all filters between 0 and 1 is 2 rho to three "
            f"digits, epsilon_0 <= {POINT:g}",
            required=2 * rho,
            measured=filters,
            holds=abs(filters - 2 * rho) < THREE_DIGITS,
        ),
        Check(
            name="gradient descent is one of them",
            statement="|f - y| / sqrt(n) at the best step less that least, every radius",
            required=-ROUND_OFF,
            measured=below,
            holds=below >= -ROUND_OFF,
        ),
        Check(
            name="floor of early stopping",
            statement="monotone gradient descent: min over steps of |f - y| / sqrt(n) is 2 rho to "
            f"three digits, epsilon_0 <= {POINT:g}",
            required=2 * rho,
            measured=off,
            holds=abs(off - 2 * rho) < THREE_DIGITS,
        ),
        Check(
            name="margin of early stopping",
            statement="min y f at that step is 1 - 2 rho to three digits",
            required=1 - 2 * rho,
            measured=margin,
            holds=abs(margin - (1 - 2 * rho)) < THREE_DIGITS,
        ),
        Check(
            name="self-distillation has no floor",
            statement=f"|f - y| / sqrt(n) at the end <= {accuracy:g} x 2 rho, every radius",
            required=accuracy * 2 * rho,
            measured=distilled,
            holds=distilled <= accuracy * 2 * rho,
        ),
        Check(
            name="margin of self-distillation",
            statement=f"min y f at the end >= 1 - {accuracy:g}, epsilon_0 <= {POINT:g}",
            required=1 - accuracy,
            measured=least,
            holds=least >= 1 - accuracy,
        ),
    ]
    if wide:
        limit = _farthest([run.converged for run in wide], 2 * rho**0.5)
        checks.append(
            Check(
                name="converged gradient descent",
                statement="|f - y| / sqrt(n) in the limit is 2 sqrt(rho), where no "
                "eigenvalue is round-off",
                required=2 * rho**0.5,
                measured=limit,
                holds=abs(limit - 2 * rho**0.5) < THREE_DIGITS,
            )
        )
    return (_algorithm_check(every), *checks, *_exponents(every))


def _algorithm_check(every: Sequence[FloorRun]) -> Check:
    residual = float(np.max([run.residual for run in every]))
    return Check(
        name="the algorithm's steps",
        statement="f_{s+1} = f_s - eta K (f_s - alpha_s observed - (1 - alpha_s) h(f_s)), largest "
        "deviation of a step",
        required=ROUND_OFF,
        measured=residual,
        holds=residual <= ROUND_OFF,
    )


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
