"""Several processes, on one machine or many, that work on one job."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

_PLACE = ("coordinator", "num_processes", "process_id")


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """How the processes of a job find each other."""
    group = parser.add_argument_group(
        "several processes",
        "The same command, started once per process, shares the work. Under SLURM, Open MPI, "
        "Kubernetes and on TPU pods --distributed is enough; elsewhere each process says where "
        "the others are.",
    )
    group.add_argument(
        "--distributed", action="store_true", help="this is one of several processes"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 is reached")
    group.add_argument("--num-processes", type=int, help="how many there are")
    group.add_argument("--process-id", type=int, help="which one this is, from 0 up")


def join(options: dict[str, Any]) -> None:
    """Joins the other processes, if there are any; comes before anything that JAX computes.

    Raises:
        ValueError: some of the three options without the others, or no cluster to detect.
        OSError: the other processes cannot be reached.
    """
    place = [options[name] for name in _PLACE]
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in _PLACE)
    said = [value is not None for value in place]
    if any(said) and not (all(said) and options["distributed"]):
        raise ValueError(f"{flags} go together, and with --distributed.")
    if not options["distributed"]:
        return
    import jax
    from jax.experimental import multihost_utils

    try:
        jax.distributed.initialize(*place)
        _keep_standard_output_clean()
        # Processes that first meet in a collective wait 30 s for each other (on CPUs, Gloo).
        # Once they are connected, one may finish its share long before another.
        multihost_utils.sync_global_devices("ntk-air")
    except ValueError as error:
        if all(said):
            raise
        raise ValueError(f"no cluster was detected ({error}); give {flags}.") from error
    except RuntimeError as error:
        raise OSError(f"cannot join the other processes: {error}") from error


def _keep_standard_output_clean() -> None:
    """Gloo says on standard output, below Python and at any time, whom it found."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(ours, "w")


def abandon(code: int) -> None:
    """Ends a process that failed, if it is one of several.

    On a normal exit JAX waits for the others, which wait for this one: they notice only once it is
    gone, and end too.
    """
    import jax

    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def leave() -> bool:
    """Parts with the other processes, all of which do so now; True in the one that goes on."""
    import jax

    first = jax.process_index() == 0
    if jax.process_count() > 1:
        # They would wait for each other again on exit, and what follows may take long.
        jax.distributed.shutdown()
    return first
