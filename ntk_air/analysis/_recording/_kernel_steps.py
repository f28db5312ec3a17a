"""The empirical NTK of the parameters of one step, and what is measured on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import dynamics, kernels, spectral
from ..._checks import check_size
from ..._numerics import double_precision, share
from ..._typing import Array, ArrayLike, PyTree
from ...spectral import Eigensystem
from ._record import KernelMovement
from ._watched import Watched

Row = dict[str, Any]
_OVERLAP_RANKS = (1, 10, 100)


class KernelMeter:
    """Measures kernels of one network against its first one and against the targets.

    Everything handed back is NumPy, so that float64 kernels work where JAX's default is float32.
    """

    def __init__(
        self,
        network: Watched,
        inputs: ArrayLike,
        targets: tuple[np.ndarray, np.ndarray],
        *,
        retention: float,
        rank: int | None,
        overlap_ranks: tuple[int, ...],
        dtype: str | None,
        options: dict[str, Any],
    ) -> None:
        """Takes what does not change over training; ``targets`` are clean and observed (n, C)."""
        self._network, self._inputs, self._options = network, inputs, options
        self._clean, self._observed = targets
        self._retention, self._rank, self._dtype = retention, rank, dtype
        self.overlap_ranks = overlap_ranks
        self._first: tuple[np.ndarray, Eigensystem] | None = None

    @property
    def first(self) -> Eigensystem:
        """The eigensystem of the first kernel measured."""
        assert self._first is not None
        return self._first[1]

    def measure(self, params: PyTree, outputs: np.ndarray, initial: np.ndarray) -> Row:
        """One row of a `KernelMovement`, without step and time."""
        apply_fn, params = self._network.function(params)
        with self._precision() as convert:
            kernel: Any = kernels.empirical_ntk(
                apply_fn,
                jax.tree.map(convert, params),
                convert(self._inputs),
                **self._options,
            )
            es = spectral.eigendecompose(kernel, rank=self._rank)
            if self._first is None:
                self._first = (np.asarray(kernel), jax.device_get(es))
            clean, observed = convert(self._clean), convert(self._observed)
            row = self._against_targets(
                kernel, es, clean, observed, convert(outputs), convert(initial)
            )
            row |= self._against_first(kernel, es)
            return jax.device_get(row)

    @contextlib.contextmanager
    def _precision(self) -> Iterator[Callable[[Any], Array]]:
        if self._dtype is None:
            yield jnp.asarray
            return
        with double_precision():
            yield _as_float64

    def _against_targets(
        self,
        kernel: Array,
        es: Eigensystem,
        clean: Array,
        observed: Array,
        outputs: Array,
        initial: Array,
    ) -> Row:
        profile = spectral.air_profile(es, clean, observed, retention=self._retention)
        # At any two times: the fractions per direction know of none.
        retrieved = dynamics.measured_retrieval(
            jnp.stack([initial, outputs]),
            clean,
            observed,
            [0.0, 1.0],
            retention=self._retention,
            eigensystem=es,
        )
        signal, noise = by_direction(
            es.eigenvectors, (outputs - initial)[None], clean, observed, self._retention
        )
        known = es.trusted_rank == es.num_points
        complexities = {
            f"complexity_{name}": spectral.supervision_complexity(es, target) if known else np.nan
            for name, target in (("clean", clean), ("observed", observed), ("outputs", outputs))
        }
        return complexities | {
            "eigenvalues": es.eigenvalues,
            "alignment_clean": spectral.kernel_target_alignment(kernel, clean),
            "alignment_observed": spectral.kernel_target_alignment(kernel, observed),
            "air_index": profile.index,
            "signal_energy": profile.signal_energy,
            "noise_energy": profile.noise_energy,
            "per_direction": retrieved.per_direction[1],
            "signal_by_direction": signal[0],
            "noise_by_direction": noise[0],
            "trusted_rank": es.trusted_rank,
        }

    def _against_first(self, kernel: Array, es: Eigensystem) -> Row:
        assert self._first is not None
        first, first_es = jnp.asarray(self._first[0]), self._first[1]
        distance, similarity = _movement(kernel, first)
        overlaps = [spectral.subspace_overlap(es, first_es, k) for k in self.overlap_ranks]
        return {
            "distance": distance,
            "similarity": similarity,
            "subspace_overlap": jnp.asarray(overlaps, kernel.dtype),
        }


def ranks_to_compare(given: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """The numbers of leading directions to compare; by default up to 100 of those there are."""
    if given is None:
        return tuple(k for k in _OVERLAP_RANKS if k <= rank)
    return tuple(check_size("overlap_ranks", k, 1, rank) for k in given)


def movement_of(
    rows: list[Row],
    steps: Sequence[int],
    times: Sequence[float],
    *,
    ranks: tuple[int, ...],
    num_points: int,
) -> KernelMovement:
    """The rows of a `KernelMeter` at increasing steps as one `KernelMovement`."""
    columns: dict[str, Any] = {
        name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]
    }
    return KernelMovement(
        steps=jnp.asarray(steps, jnp.int32),
        times=jnp.asarray(times),
        overlap_ranks=ranks,
        complexity_missing=_complexity_missing(rows, num_points),
        **columns,
    )


def _complexity_missing(rows: list[Row], num_points: int) -> str:
    """Why supervision complexities of these rows are NaN; empty where none is."""
    least = min(int(row["trusted_rank"]) for row in rows)
    if least == num_points:
        return ""
    if len(rows[0]["eigenvalues"]) < num_points:
        return (
            f"the inverse kernel needs all {num_points} eigenpairs, {len(rows[0]['eigenvalues'])} "
            "were computed; leave rank out."
        )
    return (
        f"the inverse kernel is not known: as few as {least} of {num_points} eigenvalues are above "
        f"round-off in {rows[0]['eigenvalues'].dtype}"
        + ("." if rows[0]["eigenvalues"].dtype == np.float64 else '; use kernel_dtype="float64".')
    )


@jax.jit
def by_direction(
    eigenvectors: Array, moved: Array, clean: Array, observed: Array, retention: float | Array
) -> tuple[Array, Array]:
    """Each direction's share (T, r) of the signal and of the noise in ``moved`` (T, n, C)."""
    noise = observed - retention * clean
    done = jnp.einsum("nr,tnc->trc", eigenvectors, moved, precision="highest")

    def shares(target: Array, scale: Array | float) -> Array:
        total = scale * jnp.sum(target**2)
        wanted = jnp.matmul(eigenvectors.T, target, precision="highest")
        return share(jnp.sum(done * wanted, axis=2), total)

    return shares(clean, retention), shares(noise, 1.0)


@jax.jit
def _movement(kernel: Array, first: Array) -> tuple[Array, Array]:
    norm, first_norm = jnp.linalg.norm(kernel), jnp.linalg.norm(first)
    distance = jnp.linalg.norm(kernel - first) / first_norm
    return distance, jnp.sum(kernel * first) / (norm * first_norm)


def _as_float64(value: Any) -> Array:
    return jnp.asarray(value) if _is_whole(value) else jnp.asarray(value, jnp.float64)


def _is_whole(value: Any) -> bool:
    """Whether these are integers, such as tokens, or booleans: they stay what they are."""
    return not jnp.issubdtype(jnp.result_type(value), jnp.inexact)
