"""A training run from record to record: progress, checkpoints, the step that diverged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..._progress import progress_bar
from . import _checkpoint
from ._history import DivergenceError, check_finite_losses
from ._threads import Shares


def run(
    shares: Shares,
    steps: np.ndarray,
    progress: bool,
    store: _checkpoint.Checkpoint | None,
    told: Callable[[dict[str, Any]], Any] | None,
) -> list[dict[str, Any]]:
    """Runs from record to record, and tells of each.

    Stops at the first one at which a loss has not been finite.
    """
    rows = []
    if store is not None:
        shares.state, rows = store.resume(shares.state)
    with shares.side_by_side(), _progress_bar(int(steps[-1]), progress) as show:
        for until in steps[len(rows) :]:
            shares.advance(int(until))
            _check_diverged(shares.diverged)
            # Records wait on the host: the device holds one at a time, however many there are.
            rows.append(shares.record())
            losses = np.ravel(rows[-1]["loss"])
            check_finite_losses([until], [losses if len(losses) > 1 else losses[0]])
            if told is not None:
                told(rows[-1])
            if store is not None and store.is_due(int(until)):
                store.write(shares.state, rows)
            show(int(until), rows[-1])
    return rows


@contextlib.contextmanager
def _progress_bar(total: int, shown: bool) -> Iterator[Callable[[int, dict[str, Any]], Any]]:
    """Yields a function that moves a bar to a step; no bar where stderr is not a terminal."""
    bar = progress_bar(total, "step", shown, leave=True)
    if bar is None:
        yield lambda step, row: None
        return
    with bar:

        def show(step: int, row: dict[str, Any]) -> None:
            tested = row["test_accuracy"] is not None
            name, value = ("test", "test_accuracy") if tested else ("observed", "agreement")
            bar.set_postfix_str(f"{name} accuracy {np.mean(row[value]):.2%}", refresh=False)
            bar.update(step - bar.n)

        yield show


def _check_diverged(diverged: np.ndarray) -> None:
    if (diverged < 0).all():
        return
    index = int(np.argmin(np.where(diverged < 0, np.iinfo(np.int32).max, diverged)))
    which = f" of network {index}" if len(diverged) > 1 else ""
    raise DivergenceError(
        f"the loss{which} is not finite at step {diverged[index]}; training diverged: lower the "
        "learning rate (gradient descent on the summed squared loss needs learning_rate <= "
        "1 / largest eigenvalue of the kernel)."
    )
