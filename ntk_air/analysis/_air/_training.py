"""The network itself: trained plainly and by self-distillation, and measured beside its NTK."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import optax

from ... import distillation, dynamics
from ..._typing import FilterLike
from ...datasets import Dataset
from ...distillation import History
from .._network._given import Started
from .._recording._kernel_steps import KernelMeter, Row, movement_of, ranks_to_compare
from .._recording._record import KernelMovement
from ._settings import Pace, Settings
from ._targets import Targets

_NUM_RECORDS = 40


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a network is trained on.

    Attributes:
        started: ``apply_fn`` and initial parameters.
        dataset: training and test points, as the network takes them.
        targets: of both.
        progress: whether to show bars.
    """

    started: Started
    dataset: Dataset
    targets: Targets
    progress: bool


@dataclasses.dataclass(frozen=True)
class TrainedNetworks:
    """What training gave.

    Attributes:
        plain: history of plain training, with its outputs.
        self_distilled: of self-distillation.
        times: (T,) of the records of plain training.
        filters: what T discrete steps fit in each direction.
        movement: the network's NTK before and after plain training.
    """

    plain: History
    self_distilled: History
    times: list[float]
    filters: list[FilterLike]
    movement: KernelMovement


def _record_steps(steps: int) -> list[int]:
    """0, then about 40 log-spaced steps, then the last."""
    spaced = np.geomspace(1, max(steps, 1), _NUM_RECORDS)
    return sorted({0, steps, *np.unique(spaced.round().astype(int)).tolist()})


def kernel_meter(
    problem: Problem, settings: Settings, memory_budget: int
) -> tuple[KernelMeter, Row]:
    """What measures the network's NTK, and its row at initialisation."""
    targets, n = problem.targets, len(problem.targets.clean)
    rank = n if settings.rank is None else settings.rank
    meter = KernelMeter(
        problem.started[0],
        problem.dataset.train_inputs,
        (np.asarray(targets.clean), np.asarray(targets.observed)),
        retention=targets.retention,
        rank=settings.rank,
        overlap_ranks=ranks_to_compare(None, rank),
        dtype=None,
        options={"memory_budget": memory_budget},
    )
    zero = np.zeros_like(np.asarray(targets.clean))
    return meter, meter.measure(problem.started[1], zero, zero)


def trained_networks(
    problem: Problem, meter: KernelMeter, first: Row, num_steps: int, pace: Pace
) -> TrainedNetworks:
    """Trains the network plainly and by self-distillation.

    Args:
        problem: points, targets and network.
        meter: of its kernel.
        first: the meter's row at initialisation.
        num_steps: of each.
        pace: of training.
    """
    rate, beta, constant = pace.learning_rate, pace.momentum, pace.time_constant
    plain, params = _train(problem, 1.0, num_steps, pace)
    # Trusting the network before it has retrieved the signal would lock its early errors in.
    alpha = optax.exponential_decay(
        1.0, 1, math.exp(-1 / constant), transition_begin=round(constant)
    )
    refined, _ = _train(problem, alpha, num_steps, pace, outputs=False)
    steps = [int(s) for s in plain.step]
    times = [rate / (1 - beta) * s for s in steps]
    assert plain.outputs is not None
    last = np.asarray(plain.outputs[-1])
    rows = [first, meter.measure(params, last, np.zeros_like(last))]
    return TrainedNetworks(
        plain=plain,
        self_distilled=refined,
        times=times,
        filters=[dynamics.heavy_ball(rate, s, beta) for s in steps],
        movement=movement_of(
            rows,
            [0, steps[-1]],
            [0.0, times[-1]],
            ranks=meter.overlap_ranks,
            num_points=len(problem.targets.clean),
        ),
    )


def _train(
    problem: Problem, alpha: Any, num_steps: int, pace: Pace, *, outputs: bool = True
) -> tuple[History, Any]:
    rate, beta = pace.learning_rate, pace.momentum
    dataset = problem.dataset
    test = (dataset.test_inputs, dataset.test_labels) if len(dataset.test_labels) else None
    done = distillation.self_distill(
        *problem.started,
        dataset.train_inputs,
        problem.targets.observed,
        alpha=alpha,
        optimizer=optax.sgd(rate, momentum=beta) if beta else rate,
        learning_rate=rate / (1 - beta) if beta else None,
        num_steps=num_steps,
        label_fn=distillation.hard,
        clean=problem.targets.clean,
        test=test,
        record_every=_record_steps(num_steps),
        record_outputs=outputs,
        # In NTK parameterisation f_0 is as large as the labels, and what of it training does not
        # remove stays in every prediction as noise (Chizat, Oyallon, Bach, arXiv:1812.07956).
        subtract_initial=True,
        progress=problem.progress,
    )
    return done.history, done.params
