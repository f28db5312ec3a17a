"""A training run on disk, by orbax: its state and records, so that an interrupted run goes on."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from ..._digest import add_array, digest_of_file, new_digest
from ..._files import publishing
from . import _engine

# Of functions and objects in a printed program; another in every process.
_ADDRESS = re.compile(r"0x[0-9a-f]+")

OVERHEAD = 0.05
"""Largest share of the running time that writing may take."""


class Checkpoint:
    """A folder that holds the latest state of one run.

    The first record and the last are always written, those between when writing has taken less
    than `OVERHEAD` of the time since the last one was. orbax removes a state only once the next
    one is complete, so an interruption while writing loses nothing.

    With a state lies a digest of it, of its records and of the run and step they belong to: a
    folder of another step, or one put together from several, is refused.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str, last_step: int):
        """``fingerprint`` tells runs apart; ``last_step`` is when the run is complete."""
        import orbax.checkpoint as ocp

        self._path = Path(path).absolute()
        if self._path.exists() and not self._path.is_dir():
            raise ValueError(
                f"the checkpoint {path} is a file, expected a folder that is new or holds a run."
            )
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._path, options=options)
        self._items = ocp.args
        self._fingerprint = fingerprint
        self._last_step = last_step
        self._due = -np.inf

    def resume(self, state: Any) -> tuple[Any, list[dict[str, Any]]]:
        """The stored state and records, or ``state`` as it is and none where there is no run.

        Raises:
            ValueError: if the folder belongs to a run with other data, parameters or settings.
        """
        step = self._manager.latest_step()
        if step is None:
            return state, []
        self._check_files(step)
        run = self._restore(step, run=self._items.JsonRestore())["run"]
        if not isinstance(run, dict) or run.get("fingerprint") != self._fingerprint:
            raise ValueError(
                f"the checkpoint {self._path} belongs to another run (other data, parameters, "
                "schedule, seed, steps, settings, network or optimizer, or another version of the "
                "code or of JAX); delete it or choose another path."
            )
        like = _storable(state)
        stored = self._restore(step, state=self._items.StandardRestore(_abstract(like)))["state"]
        records = self._restore(step, records=self._items.StandardRestore())["records"]
        try:
            kept = {name: np.asarray(column) for name, column in records.items()}
            seal = self._seal(step, run["count"], run["columns"], stored, kept)
            if (run["step"], run["seal"]) != (step, seal):
                raise ValueError(f"what it holds at step {step} is not what was stored there")
            rows = [
                {name: kept[name][i] if name in kept else None for name in run["columns"]}
                for i in range(run["count"])
            ]
            return _restored(state, stored), rows
        # Of content that is damaged, or was stored before there were seals.
        except Exception as error:
            raise ValueError(
                f"the checkpoint {self._path} is damaged, put together from several, or of an "
                f"earlier ntk_air, which did not seal it ({error!r}); delete it or choose another "
                "path, and the run starts anew."
            ) from error

    def is_due(self, step: int) -> bool:
        """Whether to write at this step, or it is too early for another writing."""
        return step == self._last_step or time.monotonic() >= self._due

    def write(self, state: Any, rows: list[dict[str, Any]]) -> None:
        """Stores state and records."""
        begin = time.monotonic()
        step = int(rows[-1]["step"])
        columns = stack(rows)
        kept = {name: column for name, column in columns.items() if column is not None}
        stored = _storable(state)
        run = {
            "fingerprint": self._fingerprint,
            "step": step,
            "count": len(rows),
            "columns": list(columns),
            "seal": self._seal(step, len(rows), list(columns), stored, kept),
        }
        items = self._items.Composite(
            state=self._items.StandardSave(stored),
            records=self._items.StandardSave(kept),
            run=self._items.JsonSave(run),
        )
        self._manager.save(step, args=items, force=True)
        self._seal_files(step)
        end = time.monotonic()
        self._due = end + (end - begin) / OVERHEAD

    def _seal(
        self,
        step: int,
        count: int,
        names: list[str],
        stored: dict[str, Any],
        columns: dict[str, Any],
    ) -> str:
        digest = new_digest(f"{self._fingerprint} {step} {count} {names}")
        for kind, tree in (("state", stored), ("records", columns)):
            for name in sorted(tree):
                add_array(digest, f"{kind} {name}", tree[name])
        return digest.hexdigest()

    def _seal_files(self, step: int) -> None:
        """Digests of the files of a step, by which damage is found before orbax reads them."""
        old = [path for path in self._path.glob("files-*.json") if path != self._list_of(step)]
        with publishing(self._list_of(step)) as file:
            file.write(json.dumps(self._digests(step)).encode())
        for path in old:
            path.unlink(missing_ok=True)

    def _check_files(self, step: int) -> None:
        """On damaged files orbax prints what its threads raise, beside the error that it raises.

        A step without a list, of a process killed before it wrote one, is left to the seal.
        """
        try:
            listed = json.loads(self._list_of(step).read_bytes())
        except (OSError, ValueError, RecursionError):
            return
        found = self._digests(step)
        listed = listed if isinstance(listed, dict) else {}
        wrong = sorted(k for k in {*listed, *found} if listed.get(k) != found.get(k))
        if wrong:
            raise ValueError(
                f"the checkpoint {self._path} is damaged or put together from several: {wrong[0]} "
                f"of step {step} is not what was stored there; delete it or choose another path, "
                "and the run starts anew."
            )

    def _list_of(self, step: int) -> Path:
        return self._path / f"files-{step}.json"

    def _digests(self, step: int) -> dict[str, str]:
        folder = self._path / str(step)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): digest_of_file(path) for path in files}

    def _restore(self, step: int, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=self._items.Composite(**items))
        # orbax, tensorstore and json raise some ten types on damaged files.
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
            raise ValueError(
                f"the checkpoint {self._path} is not a run of ntk_air, or is damaged ({reason}); "
                "delete it or choose another path."
            ) from error


def _storable(state: Any) -> dict[str, Any]:
    """The leaves by number; orbax keeps arrays, so random keys are stored as their data."""
    leaves = jax.tree.leaves(state)
    return {str(i): jax.random.key_data(x) if _is_key(x) else x for i, x in enumerate(leaves)}


def _abstract(stored: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), stored
    )


def _restored(state: Any, stored: dict[str, Any]) -> Any:
    leaves, structure = jax.tree.flatten(state)
    found = [stored[str(i)] for i in range(len(leaves))]
    found = [
        jax.random.wrap_key_data(new, impl=jax.random.key_impl(old)) if _is_key(old) else new
        for new, old in zip(found, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, found)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def stack(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The records as one array per column; None where a column is not kept."""
    return {
        name: None if first is None else np.stack([row[name] for row in rows])
        for name, first in rows[0].items()
    }


def fingerprint(
    settings: _engine.LoopSettings, problem: _engine.TrainingProblem, steps: np.ndarray
) -> str:
    """A digest of data, initial parameters, numbers, records, and the program of a step.

    The program is what JAX traces, so that another network, optimiser, label function, augmentation
    or precision is another run; functions have no digest of their own, and what they read in a
    callback to Python is not seen. Not the mesh: a run goes on with other devices.
    """
    alone = settings._replace(mesh=None, from_host=False)
    state = jax.eval_shape(functools.partial(_engine.initial_state, alone), problem)
    program = jax.make_jaxpr(functools.partial(_engine.step, alone))(problem, state)
    written = (settings.batch_size, settings.keep_outputs, jax.tree.structure(problem), program)
    digest = new_digest(_ADDRESS.sub("", "\n".join(map(str, written))))
    # Computed of the rest, and to other last digits by other devices.
    data = problem._replace(initial_outputs=None, test_initial_outputs=None)
    for leaf in [steps, *jax.tree.leaves(data), *_constants(program)]:
        add_array(digest, "", jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return digest.hexdigest()


def _constants(program: ClosedJaxpr | Jaxpr) -> Iterator[Any]:
    """Arrays that a program holds, and those of the programs it calls."""
    if isinstance(program, ClosedJaxpr):
        yield from program.consts
    for equation in program.eqns:
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                yield from _constants(value)


def _is_program(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)
