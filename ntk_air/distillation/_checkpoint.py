"""A training run on disk: state and records so far, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._results import load, save
from . import _engine

OVERHEAD = 0.05
"""Largest share of the running time that writing may take."""


class Checkpoint:
    """One file that holds the latest state of one run.

    The first record and the last are always written, those between when writing has taken less
    than `OVERHEAD` of the time since the last one was. The file is replaced only once the new one
    is complete, so an interruption while writing loses nothing.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str, last_step: int):
        """``fingerprint`` tells runs apart; ``last_step`` is when the run is complete."""
        self._path = Path(path)
        self._fingerprint = fingerprint
        self._last_step = last_step
        self._due = -np.inf

    def resume(self, state: Any) -> tuple[Any, list[dict[str, Any]]]:
        """The stored state and records, or ``state`` as it is and none where there is no file.

        Raises:
            ValueError: if the file belongs to a run with other data, parameters or settings.
        """
        if not self._path.exists():
            return state, []
        stored = load(self._path)
        if not isinstance(stored, dict) or stored.get("fingerprint") != self._fingerprint:
            raise ValueError(
                f"the checkpoint {self._path} belongs to another run (other data, parameters, "
                "schedule, seed, steps or settings); delete it or choose another path."
            )
        leaves = [jnp.asarray(leaf) for leaf in stored["state"]]
        columns, count = stored["records"], stored["count"]
        rows = [
            {name: None if column is None else column[i] for name, column in columns.items()}
            for i in range(count)
        ]
        return jax.tree.unflatten(jax.tree.structure(state), leaves), rows

    def write(self, state: Any, rows: list[dict[str, Any]]) -> None:
        """Stores state and records unless it is too early for another writing."""
        begin = time.monotonic()
        if begin < self._due and int(rows[-1]["step"]) != self._last_step:
            return
        content = {
            "fingerprint": self._fingerprint,
            "state": [np.asarray(leaf) for leaf in jax.device_get(jax.tree.leaves(state))],
            "records": stack(rows),
            "count": len(rows),
        }
        save(content, self._path)
        end = time.monotonic()
        self._due = end + (end - begin) / OVERHEAD


def stack(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The records as one array per column; None where a column is not kept."""
    return {
        name: None if first is None else np.stack([row[name] for row in rows])
        for name, first in rows[0].items()
    }


def fingerprint(settings: _engine.Settings, problem: _engine.Problem, steps: np.ndarray) -> str:
    """A digest of data, initial parameters, numbers and switches.

    Functions have no digest: another network or label function of the user's own goes unnoticed
    unless it changes the shape of the parameters.
    """
    key = problem.key
    if key is not None and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    digest = hashlib.sha256()
    switches = settings[2:]  # all but the two functions
    digest.update(repr((switches, problem.schedule.kind)).encode())
    digest.update(repr(getattr(problem.label_fn, "kind", "function")).encode())
    for leaf in [steps, *jax.tree.leaves(problem._replace(key=key))]:
        array = np.ascontiguousarray(leaf)
        digest.update(repr((array.shape, array.dtype.name)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
