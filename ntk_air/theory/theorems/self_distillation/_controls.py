"""Controls of the self-distillation theorem: one weight, trusted too early, late, or rightly.

A constant weight of 0.5 keeps half of the noise for good, whoever teaches; what tells trust that
came too early apart is that its own labels are wrong, and that it is farther from the clean labels
than the same weight is with right ones. Each control is therefore judged beside its own run with
h(f) = y at every step, in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...reporting._records import record
from ...reporting._report import Check
from ._law import ROUND_OFF, bound_of, outputs_by_law, settled_step

CONTROL_ALPHA = 0.5
CONTROL_STEPS = 2000
"""Steps of each control: wrong labels that are locked in stay for thousands, not for ever."""
EARLY = "trusted from step 0"
LATE = "trusted late"
RIGHT = "trusted from step 0, clean outputs"
LOCKED = "locks wrong labels in"
FOLLOWS = "follows the theorem"


@record
class Control(NamedTuple):
    """One control: when h(f) = y, distances per root-n at the end, and what they amount to.

    ``expected`` is the distance that the same weights give with h(f) = y at every step, ``ratio``
    the largest distance / bound from the run's own s_0 (NaN without one).
    """

    seed: int
    control: str
    settled: int | None
    label_distance: float
    distance: float
    expected: float
    ratio: float

    @property
    def outcome(self) -> str:
        """LOCKED, FOLLOWS, or "neither"."""
        if self.settled is None:
            return LOCKED if self.distance > self.expected else "neither"
        return FOLLOWS if self.ratio <= 1 + ROUND_OFF else "neither"


def control_schedules(num_steps: int) -> dict[str, np.ndarray]:
    """Weights per step of the three controls; late means after a tenth of the steps."""
    early = np.full(num_steps, CONTROL_ALPHA)
    late = np.where(np.arange(num_steps) < num_steps // 10, 1.0, CONTROL_ALPHA)
    return {EARLY: early, LATE: late, RIGHT: early}


def judge(
    start: Any, name: str, history: Any, alpha: np.ndarray, clean: np.ndarray, observed: np.ndarray
) -> Control:
    """What a control in function space, recorded at every step with its outputs, came to."""
    rates = start.learning_rate * start.eigenvalues
    first = np.asarray(history.outputs[0], np.float64)
    right = outputs_by_law(rates, start.eigenvectors, first, alpha, clean, observed)
    bound = bound_of(history, rates[-1], clean, observed, np.append(alpha, alpha[-1]))
    return Control(
        seed=start.seed,
        control=name,
        settled=settled_step(history),
        label_distance=float(history.label_to_clean[-1]),
        distance=float(history.l2_to_clean[-1]),
        expected=float(np.linalg.norm(right - clean) / np.sqrt(len(clean))),
        ratio=bound.ratio,
    )


def control_checks(controls: Sequence[Control]) -> tuple[Check, ...]:
    """One conclusion for each control that some seed has; none for what did not happen.

    Whether trust came too early is read off the labels of the control itself: from a lucky
    initialisation, or where clusters help each other, it did not.
    """
    wrong = [c for c in controls if c.settled is None]
    checks = []
    early = [c for c in wrong if c.control == EARLY]
    if early:
        of = len({c.seed for c in controls})
        farther = [c.distance / c.expected for c in early]
        checks.append(
            Check(
                "trusting too early locks wrong labels in",
                f"alpha {CONTROL_ALPHA:g} from step 0 on: h(f) is wrong at the end in "
                f"{len(early)} of {of} runs, and |f - y| there is above that with h(f) = y at "
                "every step: least ratio",
                required="> 1",
                measured=float(np.min(farther)),
                holds=all(c.outcome == LOCKED for c in early),
            )
        )
    for control, name in ((LATE, "trusting late converges"), (RIGHT, "right labels converge")):
        settled = [c for c in controls if c.control == control and c.settled is not None]
        if settled:
            checks.append(
                Check(
                    name,
                    f"alpha {CONTROL_ALPHA:g}, {control}: largest distance / bound from "
                    "the step on at which h(f) = y",
                    required=1.0,
                    measured=float(np.max([c.ratio for c in settled])),
                    holds=all(c.outcome == FOLLOWS for c in settled),
                )
            )
    return tuple(checks)


def control_rows(controls: Sequence[Control]) -> tuple[dict[str, Any], ...]:
    """One row per seed and control."""
    return tuple(
        {
            "seed": c.seed,
            "control": c.control,
            "outcome": c.outcome,
            "h(f) = y from": c.settled,
            "|h(f) - y| at the end": c.label_distance,
            "|f - y| at the end": c.distance,
            "with h(f) = y at every step": c.expected,
            "distance / bound": c.ratio,
        }
        for c in controls
    )
