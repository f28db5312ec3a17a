"""The networks of a run, in shares that the cores of a CPU train side by side.

XLA spreads each product of networks trained together over all cores of a CPU and waits for it
there. Small products leave the cores idle most of that time: eight MLPs of 256 units take a quarter
less in two threads, four in each, than as one program.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _engine
from ._problem import state_axes


class Shares:
    """Problem and state of a run: one of each for all networks, or for each share of them."""

    def __init__(
        self, settings: _engine.LoopSettings, problem: _engine.TrainingProblem, count: int
    ) -> None:
        """``count`` shares as even as they can be; 1 for a single network."""
        self._settings = settings
        replicated = settings.replicated[0] if settings.replicated else ()
        shared = [name for name in problem._fields if name not in replicated]
        self._together = [n for n, axis in state_axes(replicated)._asdict().items() if axis is None]
        networks = 0 if count == 1 else _network_count(settings, problem)
        ends = np.linspace(0, networks, count + 1).astype(int)
        self._rows = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self._problems = self._split(problem, shared)
        self._states = [_engine.initial_state(settings, one) for one in self._problems]
        self._map: Callable[..., Any] = map

    @contextlib.contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Each share in a thread of its own, inside the block."""
        if len(self._states) == 1:
            yield
            return
        with ThreadPoolExecutor(len(self._states)) as pool:
            self._map = pool.map
            try:
                yield
            finally:
                self._map = map

    @property
    def state(self) -> _engine.State:
        """The state of all networks."""
        if len(self._states) == 1:
            return self._states[0]

        def join(name: str) -> Any:
            parts = [getattr(state, name) for state in self._states]
            if name in self._together:
                return parts[0]
            return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

        return _engine.State(**{name: join(name) for name in _engine.State._fields})

    @state.setter
    def state(self, state: _engine.State) -> None:
        # Each uses up its own.
        together = {name: getattr(state, name) for name in self._together}
        parts = self._split(state, self._together)
        self._states = [part._replace(**jax.tree.map(jnp.copy, together)) for part in parts]

    @property
    def diverged(self) -> np.ndarray:
        """The first step of each network whose loss was not finite, -1 where there is none."""
        return np.concatenate([np.ravel(np.asarray(state.diverged)) for state in self._states])

    def advance(self, until: int) -> None:
        """Trains all networks until ``until`` steps have been done."""

        def run(problem: _engine.TrainingProblem, state: _engine.State) -> _engine.State:
            return jax.block_until_ready(_engine.advance(self._settings, problem, state, until))

        self._states = list(self._map(run, self._problems, self._states))

    def record(self) -> dict[str, Any]:
        """One record of the history, on the host."""

        def run(problem: _engine.TrainingProblem, state: _engine.State) -> dict[str, Any]:
            return jax.device_get(_engine.record(self._settings, problem, state))

        rows = list(self._map(run, self._problems, self._states))
        return rows[0] if len(rows) == 1 else _joined(rows)

    def _split(self, whole: Any, shared: Sequence[str]) -> list[Any]:
        """Parts of a named tuple; fields not ``shared`` have a first axis over the networks."""
        if len(self._rows) == 1:
            return [whole]
        return [
            whole._replace(
                **{
                    name: jax.tree.map(lambda leaf, rows=rows: leaf[rows], getattr(whole, name))
                    for name in whole._fields
                    if name not in shared
                }
            )
            for rows in self._rows
        ]


def share_count(settings: _engine.LoopSettings, problem: _engine.TrainingProblem) -> int:
    """How many shares are fastest: one for each core of a CPU, one in all elsewhere."""
    on_cpu = all(device.platform == "cpu" for device in problem.inputs.devices())
    if not settings.replicated or settings.mesh is not None or not on_cpu:
        return 1
    count = min(_cores(), _network_count(settings, problem))
    return count if count > 1 and _threads_compute_the_same() else 1


def _network_count(settings: _engine.LoopSettings, problem: _engine.TrainingProblem) -> int:
    """Length of the first axis over networks trained together."""
    replicated = [getattr(problem, name) for name in settings.replicated[0]]
    return len(jax.tree.leaves(replicated)[0])


def _cores() -> int:
    """Those that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _threads_compute_the_same() -> bool:
    """Whether JAX's settings hold in other threads: those of a ``with`` block do not."""
    if not hasattr(jax.config, "values") or not jax.sharding.get_abstract_mesh().empty:
        return False
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: dict(jax.config.values)).result() == dict(jax.config.values)


def _joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def join(name: str) -> Any:
        if name == "step" or rows[0][name] is None:
            return rows[0][name]
        return np.concatenate([row[name] for row in rows])

    return {name: join(name) for name in rows[0]}
