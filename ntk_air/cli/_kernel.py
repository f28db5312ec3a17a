"""``ntk-air kernel``: a kernel of a data set to disk, and its leading eigenpairs."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import one_line, plain
from ._options import (
    DATASET_DEFAULTS,
    add_dataset_options,
    add_numbers,
    add_precision_option,
    computing,
    load_dataset,
)
from ._processes import add_process_options, join, leave

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..kernels import Architecture, StoredKernel

# How JAX's errors begin where a process that it talks to is gone; their types vary.
_LOST = ("UNKNOWN:", "UNAVAILABLE:", "INTERNAL:", "ABORTED:", "DEADLINE_EXCEEDED:")


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    one = commands.add_parser(
        "kernel",
        help="an infinite-width kernel to disk, resumable, and its leading eigenpairs",
        description="Computes the infinite-width kernel of a data set's training inputs, tile by "
        "tile, into a folder; killed at any moment, the same command resumes. With --rank also "
        "the leading eigenpairs of what lies there, which is never loaded whole. "
        "ntk_air.kernels.open_kernel reads the folder, ntk_air.load the eigenpairs.",
    )
    one.set_defaults(run=run, **DATASET_DEFAULTS)
    add_dataset_options(one)
    one.add_argument(
        "--architecture",
        default="fc",
        help="fc (default; images are flattened, as 'ntk-air air' does), conv or conv-gap "
        "(convolutional with all positions read out, or averaged), myrtle, resnet (wide), or any "
        "other name in ntk_air.kernels.ARCHITECTURES",
    )
    add_numbers(
        one,
        ("--depth", int, "hidden layers (default: fc 1, conv 3); myrtle 5, 7, 10; resnet blocks"),
        ("--weight-std", float, "standard deviation of weights (default: the architecture's)"),
        ("--bias-std", float, "standard deviation of biases (default: the architecture's)"),
        ("--rank", int, "leading eigenpairs to write to --out (default none)"),
        ("--memory-budget", float, "bytes of a tile's workspace (default half of what is free)"),
        ("--tile-size", int, "points of a tile along each axis, an upper bound"),
    )
    one.add_argument("--seed", type=int, default=0, help="of the draw of points (default 0)")
    one.add_argument("--kind", choices=("ntk", "nngp"), default="ntk", help="default ntk")
    add_precision_option(one)
    one.add_argument("--store", required=True, help="folder for the tiles, new or to be resumed")
    one.add_argument("--out", help="file for the eigenpairs, e.g. spectrum.ntkair")
    one.add_argument("--devices", action="store_true", help="use all devices, not the first only")
    one.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_process_options(one)


def run(arguments: argparse.Namespace) -> int:
    """Computes the kernel, then the eigenpairs, and says in a line what is where."""
    options = vars(arguments)
    if (options["rank"] is None) != (options["out"] is None):
        raise ValueError("--rank and --out go together: how many eigenpairs, and where to.")
    found, _ = _tiles(options["store"])
    join(options)
    resumes = f"the same command resumes from the tiles in {options['store']}"
    try:
        with computing(options["precision"]):
            return _compute(options, found)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {resumes}") from None
    except (RuntimeError, ValueError) as error:
        if not (options["distributed"] and str(error).startswith(_LOST)):
            raise
        raise OSError(f"another process was lost; {resumes} ({error})") from error


def _compute(options: dict[str, Any], found: int) -> int:
    from .. import analysis

    dataset = load_dataset(options, test_size=0, seed=options["seed"], needs_classes=False)
    architecture = _architecture(options)
    dataset = analysis.prepare(dataset, architecture)
    _check_out(options, len(dataset.train_labels))
    began = time.perf_counter()
    kernel = _kernel(options, architecture, dataset)
    summary = {
        "dataset": dataset.name,
        "architecture": architecture.name,
        "kind": options["kind"],
        "shape": kernel.shape,
        "store": str(options["store"]),
        "tiles": _tiles(options["store"])[1],
        "tiles_found": found,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if not leave():
        return 0
    if options["rank"] is not None:
        began = time.perf_counter()
        summary |= {"rank": options["rank"], "out": str(options["out"])}
        summary["largest_eigenvalue"] = _write_eigenpairs(options, kernel)
        summary["eigenpairs_seconds"] = round(time.perf_counter() - began, 3)
    print(json.dumps(plain(summary), indent=1) if options["json"] else _line(summary), flush=True)
    return 0


def _architecture(options: dict[str, Any]) -> Architecture:
    from ..kernels import find_architecture

    make, fixed = find_architecture(options["architecture"])
    said = {k: options[k] for k in ("weight_std", "bias_std") if options[k] is not None}
    depth = () if options["depth"] is None else (options["depth"],)
    return make(*depth, **fixed, **said)


def _check_out(options: dict[str, Any], num_points: int) -> None:
    """Finds out before hours of work what would stop it at the end."""
    if options["rank"] is None:
        return
    from .. import reports
    from .._checks import check_in_range

    check_in_range("rank", options["rank"], 1, num_points)
    out = Path(options["out"])
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder, expected a file such as spectrum.ntkair.")
    reports.check_writable(out.parent)


def _kernel(options: dict[str, Any], architecture: Architecture, dataset: Dataset) -> StoredKernel:
    import jax

    from .. import kernels

    mesh = jax.make_mesh((jax.device_count(),), ("data",)) if options["devices"] else None
    kernel = kernels.infinite_ntk(
        architecture,
        dataset.train_inputs,
        kind=options["kind"],
        memory_budget=options["memory_budget"],
        tile_size=options["tile_size"],
        mesh=mesh,
        store=options["store"],
        progress=jax.process_index() == 0,
        precision=options["precision"],
    )
    assert isinstance(kernel, kernels.StoredKernel)
    return kernel


def _write_eigenpairs(options: dict[str, Any], kernel: StoredKernel) -> float:
    """Returns the largest eigenvalue."""
    from .. import save, spectral

    eigensystem = spectral.eigendecompose(kernel, rank=options["rank"])
    save(eigensystem, options["out"])
    return float(eigensystem.eigenvalues[0])


def _tiles(store: str) -> tuple[int, int]:
    from ..kernels import count_tiles

    return count_tiles(store)


def _line(summary: dict[str, Any]) -> str:
    found = f", {summary['tiles_found']} of them found" if summary["tiles_found"] else ""
    text = (
        f"{summary['store']}: {summary['kind']} of {summary['architecture']} on "
        f"{one_line(summary['dataset'])}, {summary['shape'][0]} x {summary['shape'][1]}, "
        f"{summary['tiles']} tiles{found} ({summary['seconds']:.1f} s)"
    )
    if "out" in summary:
        text += (
            f"; {summary['out']}: {summary['rank']} eigenpairs "
            f"({summary['eigenpairs_seconds']:.1f} s)"
        )
    return text
