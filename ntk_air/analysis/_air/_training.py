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
from .._recording._watched import Watched
from ._settings import Pace
from ._targets import Targets

_NUM_RECORDS = 40


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a network is trained on.

    Attributes:
        started: ``apply_fn`` and initial parameters.
        dataset: training and test points, as the network takes them.
        targets: of both.
        meter: which measures the network's NTK.
        first: what it measured at initialisation.
        how: memory budget and implementation of its kernels.
        progress: whether to show bars.
    """

    started: Started
    dataset: Dataset
    targets: Targets
    meter: KernelMeter
    first: Row
    how: dict[str, Any]
    progress: bool

    @property
    def num_test(self) -> int:
        """Test points m."""
        return len(self.dataset.test_labels)


@dataclasses.dataclass(frozen=True)
class TrainedNetworks:
    """What training gave.

    Attributes:
        plain: history of plain training, with its outputs.
        self_distilled: of self-distillation; None where the targets are no classes.
        times: (T,) of the records of plain training.
        filters: what T discrete steps fit in each direction.
        movement: the network's NTK before and after plain training.
    """

    plain: History
    self_distilled: History | None
    times: list[float]
    filters: list[FilterLike]
    movement: KernelMovement


def _record_steps(steps: int) -> list[int]:
    """0, then about 40 log-spaced steps, then the last."""
    spaced = np.geomspace(1, max(steps, 1), _NUM_RECORDS)
    return sorted({0, steps, *np.unique(spaced.round().astype(int)).tolist()})


def problem_of(
    started: Started,
    dataset: Dataset,
    targets: Targets,
    rank: int | None,
    how: dict[str, Any],
    progress: bool,
) -> Problem:
    """A problem, its network's NTK at initialisation measured."""
    n = len(targets.clean)
    meter = KernelMeter(
        Watched(*started, batch_size=None),
        dataset.train_inputs,
        (np.asarray(targets.clean), np.asarray(targets.observed)),
        retention=targets.retention,
        rank=rank,
        overlap_ranks=ranks_to_compare(None, n if rank is None else rank),
        dtype=None,
        options=how,
    )
    zero = np.zeros_like(np.asarray(targets.clean))
    first = meter.measure(started[1], zero, zero)
    return Problem(started, dataset, targets, meter, first, how, progress)


def trained_networks(problem: Problem, num_steps: int, pace: Pace) -> TrainedNetworks:
    """Trains the network plainly and, on classes, by self-distillation."""
    rate, beta, constant = pace.learning_rate, pace.momentum, pace.time_constant
    plain, params = trained(problem, 1.0, num_steps, pace)
    refined = None
    if problem.targets.classes:
        # Trusting the network before it has retrieved the signal would lock its early errors in.
        alpha = optax.exponential_decay(
            1.0, 1, math.exp(-1 / constant), transition_begin=round(constant)
        )
        refined, _ = trained(problem, alpha, num_steps, pace, outputs=False)
    steps = [int(s) for s in plain.step]
    times = [pace.time(s) for s in steps]
    assert plain.outputs is not None
    last = np.asarray(plain.outputs[-1])
    return TrainedNetworks(
        plain=plain,
        self_distilled=refined,
        times=times,
        filters=[dynamics.heavy_ball(rate, s, beta) for s in steps],
        movement=movement_of(
            [problem.first, problem.meter.measure(params, last, np.zeros_like(last))],
            [0, steps[-1]],
            [0.0, times[-1]],
            ranks=problem.meter.overlap_ranks,
            num_points=len(problem.targets.clean),
        ),
    )


def trained(
    problem: Problem,
    alpha: Any,
    num_steps: int,
    pace: Pace,
    *,
    outputs: bool = True,
    loss: str = "mse",
) -> tuple[History, Any]:
    """History and final parameters of one training of the network, minus its initial outputs."""
    rate, beta = pace.learning_rate, pace.momentum
    dataset, targets = problem.dataset, problem.targets
    test = (dataset.test_inputs, targets.test) if problem.num_test else None
    done = distillation.self_distill(
        *problem.started,
        dataset.train_inputs,
        targets.observed,
        alpha=alpha,
        optimizer=optax.sgd(rate, momentum=beta) if beta else rate,
        learning_rate=rate / (1 - beta) if beta else None,
        num_steps=num_steps,
        label_fn=distillation.hard if targets.classes else distillation.identity,
        clean=targets.clean,
        test=test,
        record_every=_record_steps(num_steps),
        record_outputs=outputs,
        loss=loss,
        reduction="sum",
        # In NTK parameterisation f_0 is as large as the labels, and what of it training does not
        # remove stays in every prediction as noise (Chizat, Oyallon, Bach, arXiv:1812.07956).
        subtract_initial=True,
        progress=problem.progress,
    )
    history = done.history
    if not targets.classes and history.test_outputs is not None:
        history = dataclasses.replace(
            history, test_accuracy=targets.score(history.test_outputs, test=True)
        )
    return history, done.params
