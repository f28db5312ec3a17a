"""Errors of spectra and their measures in float32: rows of `benchmarks.precision`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import ntk_air as na
from benchmarks._precision_cases import (
    EACH,
    NORM,
    SHARE,
    SINE,
    TOP,
    Problem,
    Row,
    Rows,
    in_double,
    or_nan,
    quietly,
    row,
)

LEADING = 5


def both(given: Problem) -> tuple[na.spectral.Eigensystem, na.spectral.Eigensystem]:
    """Eigensystems of a kernel rounded to float32, in float32, and of itself, in float64."""
    single = na.spectral.eigendecompose(given.kernel.astype(np.float32))
    return single, na.spectral.eigendecompose(given.kernel, precision="float64")


def sine(found: Any, exact: Any) -> float:
    """Of the largest angle between two spaces of orthonormal columns (n, k)."""
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    found = np.linalg.qr(found)[0]
    # What of one lies outside the other; 1 − cosine² would lose half of the digits.
    return float(np.linalg.norm(found - exact @ (exact.T @ found), 2))


def spectra(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Eigenvalues and leading subspaces, by both methods."""
    krylov = na.spectral.eigendecompose(
        given.kernel.astype(np.float32), rank=LEADING, method="lanczos", key=jax.random.key(0)
    )
    for method, found in (("dense", single), ("lanczos", krylov)):
        made = {"method": method, **case}
        exact = np.asarray(double.eigenvalues)[: found.rank]
        yield row("spectral.eigendecompose: eigenvalues", made, TOP, found.eigenvalues, exact)
        angle = sine(found.eigenvectors[:, :LEADING], double.eigenvectors[:, :LEADING])
        yield Row("spectral.eigendecompose: eigenvectors", made, SINE, angle)
    yield row("spectral.eigendecompose: trace", case, EACH, single.trace, double.trace)
    found = [na.spectral.project(es, given.clean)[:LEADING] for es in (single, double)]
    # Signs of eigenvectors, and bases of near-equal ones, are arbitrary: the energy is not.
    found = [np.linalg.norm(np.asarray(one, np.float64)) for one in found]
    yield row("spectral.project: energy of the leading 5", case, EACH, found[0], found[1])
    overlap = na.spectral.subspace_overlap(single, krylov, LEADING)
    yield row("spectral.subspace_overlap: with itself", case, SHARE, overlap, 1.0)


def measures(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Alignment, dimension, complexity and the AIR profile."""
    room = na.spectral
    y, seen = given.clean, given.observed
    narrow = [array.astype(np.float32) for array in (given.kernel, y, seen)]
    kernel32, y32, seen32 = narrow
    found = room.kernel_target_alignment(kernel32, y32)
    exact = room.kernel_target_alignment(given.kernel, y, precision="float64")
    yield row("spectral.kernel_target_alignment", case, EACH, found, exact)
    level = given.condition**-0.5
    pair = [room.effective_dimension(es, level) for es in (single, double)]
    yield row("spectral.effective_dimension", case, EACH, pair[0], pair[1])
    complexity = room.supervision_complexity(double, y)
    found = or_nan(lambda: room.supervision_complexity(single, y32))
    yield row("spectral.supervision_complexity", case, EACH, found, complexity)
    profile = room.air_profile(single, y32, seen32)
    reference = room.air_profile(double, y, seen)
    for field in ("cumulative_signal", "cumulative_noise", "index"):
        pair = getattr(profile, field), getattr(reference, field)
        if field != "index":
            # Where more is asked of float32, its directions are any of those that are left.
            pair = [curve[: single.trusted_rank] for curve in pair]
        yield row(f"spectral.air_profile: {field}", case, SHARE, pair[0], pair[1])
    exact = in_double(lambda: room.retention_of(y, seen))
    yield row("spectral.retention_of", case, EACH, room.retention_of(y32, seen32), exact)


def function_space(given: Problem, case: Mapping[str, Any]) -> Rows:
    """A hundred steps of self-distillation in function space."""
    single, double = (
        quietly(
            lambda precision=precision: na.distillation.kernel_self_distill(
                given.kernel,
                given.observed,
                learning_rate=1.0,
                num_steps=100,
                alpha=0.5,
                label_fn=na.distillation.softmax(1.0),
                record_every=100,
                record_outputs=True,
                precision=precision,
            )
        )[0]
        for precision in ("float32", "float64")
    )
    outputs = [np.asarray(one.outputs)[-1] for one in (single, double)]
    yield row("distillation.kernel_self_distill: outputs", case, NORM, outputs[0], outputs[1])
