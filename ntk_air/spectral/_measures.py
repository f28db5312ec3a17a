"""Scalar measures of a spectrum, and of labels against it."""

from __future__ import annotations

import jax.numpy as jnp

from .._checks import check_in_range, check_same_length, check_square
from .._numerics import as_float
from .._typing import Array, ArrayLike, Float
from ._eigensystem import Eigensystem
from ._profile import project


def effective_dimension(eigensystem: Eigensystem, strength: float) -> Float[Array, ""]:
    """Σ λ/(λ + γ): the number of directions that ridge regression of strength γ leaves free.

    Directions outside a partial eigensystem are not counted.

    Raises:
        ValueError: if ``strength`` is not positive.
    """
    check_in_range("strength", strength, 0.0, low_open=True)
    values = jnp.maximum(eigensystem.eigenvalues, 0.0)
    return jnp.sum(values / (values + strength))


def kernel_target_alignment(
    kernel: Float[ArrayLike, "n n"], targets: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """⟨Θ, yyᵀ⟩ / (‖Θ‖_F ‖yyᵀ‖_F), in [−1, 1].

    Raises:
        ValueError: on shapes that do not match.

    Source: Cristianini et al., On kernel-target alignment, NeurIPS 2001.
    """
    check_square("kernel", kernel)
    check_same_length("kernel", kernel, "targets", targets)
    kernel, targets = as_float(kernel), as_float(targets)
    inner = jnp.sum(targets * jnp.matmul(kernel, targets, precision="highest"))
    gram = jnp.matmul(targets.T, targets, precision="highest")
    return inner / (jnp.linalg.norm(kernel) * jnp.linalg.norm(gram))


def supervision_complexity(
    eigensystem: Eigensystem, targets: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """sqrt(Σ_c ȳ_cᵀ Θ⁻¹ ȳ_c · tr Θ) / n: how hard targets are for a student of this kernel.

    Raises:
        ValueError: if the eigensystem is partial, or eigenvalues are within round-off of zero:
            Θ⁻¹ is then not known.

    Source: Harutyunyan, Rawat, Menon, Kim, Kumar (arXiv:2301.12245).
    """
    n = eigensystem.num_points
    if eigensystem.trusted_rank < n:
        raise ValueError(
            f"supervision_complexity needs the inverse kernel, but only {eigensystem.trusted_rank} "
            f"of {n} eigenvalues are above round-off; decompose all of them in float64."
        )
    coefficients = project(eigensystem, targets)
    quadratic = jnp.sum(coefficients**2 / eigensystem.eigenvalues[:, None])
    return jnp.sqrt(quadratic * eigensystem.trace) / n


def subspace_overlap(first: Eigensystem, second: Eigensystem, k: int) -> Float[Array, ""]:
    """‖U_kᵀ V_k‖²_F / k in [0, 1]: how far the two leading k-dimensional subspaces agree.

    Single eigenvectors of near-equal eigenvalues are arbitrary; the subspace is not.

    Raises:
        ValueError: if ``k`` exceeds either rank, or the numbers of points differ.
    """
    check_same_length("first", first.eigenvectors, "second", second.eigenvectors)
    check_in_range("k", k, 1, min(first.rank, second.rank))
    overlap = jnp.matmul(
        first.eigenvectors[:, :k].T, second.eigenvectors[:, :k], precision="highest"
    )
    return jnp.sum(overlap**2) / k
