"""From the draws to assumptions and conclusions of `check_noise_level_stopping`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...model._two_layer_training import ALGORITHM, CHECKED_STEPS
from ...reporting._report import Check, Scaling
from ._runs import NoiseLevelRun, NoiseLevelSettings
from ._truths import steepest, unlearnable

DIMENSION = 1
"""The circle's: what is learned is a function of one angle."""
RATE = -2 / (2 + DIMENSION)
"""Minimax exponent of the squared error for Lipschitz functions of DIMENSION variables."""
RESOLVED = 1e-12
"""Relative eigenvalue above which float64 knows an inverse to a few digits."""
KEPT = 0.8
"""Share of its limit below which no mean over seeds of the error of interpolation may be."""
KNOWN = 0.1
"""Relative error of the noise level up to which it counts as known."""
WIDE = 0.2
"""Relative deviation of the network's kernel from its limit up to which it counts as wide."""
NEAR = 1.5
"""Factor within which means are as predicted, beside their own standard error."""
SLOWEST = -0.4
"""Exponent above which the sizes do not resolve the truth: the rate asked for would be empty."""
SURE = 2.576
"""Standard errors of a two-sided 99 % interval."""


def assumptions(
    every: Sequence[Sequence[NoiseLevelRun]],
    network: dict[str, Any],
    settings: NoiseLevelSettings,
    predicted: Sequence[tuple[float, float]],
) -> tuple[Check, ...]:
    """Those on the truth, the noise and its level, the kernel, and the real network."""
    runs = [run for row in every for run in row]
    largest = list(every[-1])
    drawn = float(np.sqrt(np.mean([run.noise_level**2 for run in largest])))
    wrong = float(np.max([abs(run.asked / drawn - 1) for run in runs]))
    least = float(np.min([run.least for run in runs]))
    missed = float(np.mean([run.missed for run in largest]))
    kept = 2 / 3 * settings.noise**2
    return (
        *_truth_checks(settings),
        Check.at_most(
            "known noise level",
            "noise level of the rule, relative error against that of the draws",
            required=KNOWN,
            measured=wrong,
        ),
        Check.above(
            "the network can fit the noise",
            "least eigenvalue of the kernel, relative to the largest, above round-off",
            required=RESOLVED,
            measured=least,
        ),
        Check.at_most(
            "enough points",
            "squared error of interpolating the truth without noise, largest n, against "
            "a tenth of the noise that interpolation keeps",
            required=0.1 * kept,
            measured=missed,
        ),
        Check.at_most(
            "sizes that resolve the truth",
            "exponent of the sequence model's error over these sizes: the rate that is "
            "asked for where it is slower than n^(-2/3)",
            required=SLOWEST,
            measured=_exponent(
                [row[0].num_points for row in every], [stop for stop, _ in predicted]
            ),
        ),
        Check.at_most(
            "wide enough",
            "|K_W - K| / |K| of the real network at initialisation",
            required=WIDE,
            measured=float(network["kernel deviation"]),
        ),
        Check(
            "enough steps of the network",
            "the real network reached the noise level",
            required="yes",
            measured="yes" if network["stopped"] else "no",
            holds=bool(network["stopped"]),
        ),
    )


def _truth_checks(settings: NoiseLevelSettings) -> tuple[Check, Check]:
    """That the function behind the labels has the slope assumed and is the network's to learn."""
    return (
        Check.at_most(
            "Lipschitz truth",
            "largest slope of the truth on a fine grid",
            required=1 + 1e-6,
            measured=steepest(settings.truth),
        ),
        Check.at_most(
            "the network can represent the truth",
            "mean square of what is orthogonal to the kernel's functions (odd harmonics "
            "k >= 3 without biases), against a thousandth of the noise's",
            required=1e-3 * settings.noise**2,
            measured=unlearnable(settings.truth, settings.bias),
        ),
    )


def conclusions(
    every: Sequence[Sequence[NoiseLevelRun]],
    network: dict[str, Any],
    noise: float,
    predicted: Sequence[tuple[float, float]],
) -> tuple[Check, ...]:
    """Rate and size of the error where stopped, and what is left by running on."""
    lasting = np.array([np.mean([run.last for run in row]) for row in every])
    stopped = np.array([run.stopped for run in every[-1]])
    kept = float(np.min(lasting) / (2 / 3 * noise**2))
    near = abs(network["error"] / network["linearised error"] - 1)
    ratio = float(stopped.mean() / predicted[-1][0])
    spread = SURE * float(np.std(stopped, ddof=1) / len(stopped) ** 0.5 / stopped.mean())
    return (
        rate_check("rate", every, [stop for stop, _ in predicted]),
        Check(
            "error as predicted",
            "squared error where stopped, mean over seeds, largest n, over that of the "
            f"sequence model: within a factor of {NEAR:g} and 99 % of the draws' error "
            f"({100 * spread:.2g} %)",
            required=f"{1 / NEAR:.3g} to {NEAR:g}",
            measured=ratio,
            holds=bool(abs(np.log(ratio)) <= np.log(NEAR) + spread),
        ),
        Check.at_least(
            "interpolation keeps the noise",
            "squared error of interpolation, mean over seeds, / (2/3 noise^2), which "
            "linear interpolation between neighbours keeps at every n: least over n",
            required=KEPT,
            measured=kept,
        ),
        Check(
            "running on is worse",
            "squared error of interpolation / where stopped, largest n",
            required=1.0,
            measured=float(lasting[-1] / stopped.mean()),
            holds=bool(lasting[-1] > stopped.mean()),
        ),
        Check.at_most(
            "the network's steps",
            f"outputs and |W_s - W_0| of its first {CHECKED_STEPS} steps against the "
            "algorithm in float64, largest deviation relative to how far they move",
            required=ALGORITHM,
            measured=float(network["off the algorithm"]),
        ),
        Check.at_most(
            "the network does the same",
            "squared error of the real network, relative to its linearisation's",
            required=0.5,
            measured=near,
        ),
    )


def rate_check(
    name: str, every: Sequence[Sequence[NoiseLevelRun]], predicted: Sequence[float]
) -> Check:
    """The mean error falls like n^(-2/3) or faster, or as the sequence model does where slower.

    It fails where the 99 % interval of the draws lies above.
    """
    sizes = np.array([row[0].num_points for row in every], np.float64)
    errors = [np.array([run.stopped for run in row]) for row in every]
    means = np.array([e.mean() for e in errors])
    slope = _exponent(sizes, means)
    relative = np.array([e.std(ddof=1) / e.mean() / len(e) ** 0.5 for e in errors])
    error = SURE * float(np.linalg.norm(_slope_weights(sizes) * relative))
    expected = _exponent(sizes, predicted)
    bound = max(RATE, expected)
    return Check(
        name,
        "squared error, mean over seeds, at least as fast as n^(-2/3), or as the "
        f"sequence model where that is slower ({expected:.3f}): exponent with 99 % interval of "
        "the draws",
        required=f"<= {bound:.3f}",
        measured=f"{slope:.3f} in [{slope - error:.3f}, {slope + error:.3f}]",
        holds=bool(slope - error <= bound),
        scaling=Scaling(
            quantity="squared error where stopped, mean over seeds,",
            size="n",
            predicted=bound,
            fitted=slope,
            sizes=sizes[:, None],
            values=means[:, None],
            low=slope - error,
            high=slope + error,
        ),
    )


def _slope_weights(sizes: Any) -> np.ndarray:
    """(W,) what the logarithms of values count for in their slope against those of the sizes."""
    centred = np.log(np.asarray(sizes, np.float64))
    centred -= centred.mean()
    return centred / (centred @ centred)


def _exponent(sizes: Any, values: Any) -> float:
    return float(_slope_weights(sizes) @ np.log(values))


def harmonic_conclusions(
    harmonics: dict[bool, list[tuple[NoiseLevelRun, ...]]],
    settings: NoiseLevelSettings,
    predicted: Sequence[tuple[float, float]],
) -> tuple[Check, ...]:
    """An odd harmonic is learned with biases; without, its mean square is left at every step."""
    if not harmonics:
        return ()
    floor = unlearnable(settings.truth, False)
    best = np.array([[run.best for run in row] for row in harmonics[False]])
    count = harmonics[False][-1][0].num_points
    # The even part is noise and misfit alone: fitting a few directions of it costs a few / n.
    above = floor + 10 * (settings.noise**2 + floor) / count
    mean = float(best[-1].mean())
    return (
        rate_check(
            f"{settings.truth} is learned with biases",
            harmonics[True],
            [stop for stop, _ in predicted],
        ),
        Check(
            f"{settings.truth} is not learned without biases",
            "squared error at the best step, mean over seeds, largest n: at least the "
            f"mean square of its odd harmonics k >= 3, {floor:.4g}, at every draw and step (least "
            f"{best.min():.4g}), and near it",
            required=f"{floor:.4g} to {above:.4g}",
            measured=mean,
            holds=bool(best.min() >= 0.98 * floor and mean <= above),
        ),
    )
