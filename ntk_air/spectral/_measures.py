"""Scalar measures of a spectrum, and of labels against it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite, check_in_range, check_same_length, check_size, check_square
from .._numerics import as_float, in_precision, power_of_two
from .._typing import Array, ArrayLike, Float
from ._eigensystem import Eigensystem
from ._profile import project


@in_precision
def effective_dimension(eigensystem: Eigensystem, strength: float) -> Float[Array, ""]:
    """Σ λ/(λ + γ): the number of directions that ridge regression of strength γ leaves free.

    Directions outside a partial eigensystem are not counted.

    Raises:
        ValueError: if ``strength`` is not positive.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> round(float(na.spectral.effective_dimension(es, 1.0)), 6)
        1.25
    """
    check_in_range("strength", strength, 0.0, low_open=True)
    values = jnp.maximum(eigensystem.eigenvalues, 0.0)
    return jnp.sum(values / (values + strength))


@in_precision
def kernel_target_alignment(
    kernel: Float[ArrayLike, "n n"],
    targets: Float[ArrayLike, "n C"],
    *,
    precision: str | None = None,
) -> Float[Array, ""]:
    """⟨Θ, yyᵀ⟩ / (‖Θ‖_F ‖yyᵀ‖_F), in [−1, 1]; the scales of Θ and y do not matter.

    Args:
        kernel: Θ (n, n).
        targets: y (n, C).
        precision: ``"float64"`` computes in float64 whatever JAX's default is.

    Raises:
        ValueError: on shapes that do not match, values that are not finite, or a kernel or targets
            that are zero everywhere: they have no direction.

    Source: Cristianini et al., On kernel-target alignment, NeurIPS 2001.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> y = np.array([[1.0], [-1.0]])
        >>> float(na.spectral.kernel_target_alignment(y @ y.T, y))
        1.0
    """
    check_square("kernel", kernel)
    check_same_length("kernel", kernel, "targets", targets)
    kernel, targets = _of_unit_size("kernel", kernel), _of_unit_size("targets", targets)
    inner = jnp.sum(targets * jnp.matmul(kernel, targets, precision="highest"))
    gram = jnp.matmul(targets.T, targets, precision="highest")
    return inner / (jnp.linalg.norm(kernel) * jnp.linalg.norm(gram))


def _of_unit_size(name: str, value: ArrayLike) -> Array:
    """The array over a power of two, so that its largest magnitude lies in [1, 2)."""
    check_finite(name, value)
    if not isinstance(value, jax.Array) and np.asarray(value).dtype == np.float64:
        # Before it is narrowed: float32 may not hold it.
        value = np.asarray(value)
        exponent = np.frexp(np.abs(value).max(initial=0.0))[1]
        value = np.ldexp(value, 1 - exponent)
    array = as_float(value, name)
    if not bool(jnp.any(array)):
        raise ValueError(f"{name} is zero everywhere, so it is aligned with nothing.")
    return array / power_of_two(array)


@in_precision
def supervision_complexity(
    eigensystem: Eigensystem, targets: Float[ArrayLike, "n C"]
) -> Float[Array, ""]:
    """sqrt(Σ_c ȳ_cᵀ Θ⁻¹ ȳ_c · tr Θ) / n: how hard targets are for a student of this kernel.

    Raises:
        ValueError: if the eigensystem is partial, or eigenvalues are within round-off of zero:
            Θ⁻¹ is then not known.

    Source: Harutyunyan, Rawat, Menon, Kim, Kumar (arXiv:2301.12245).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([4.0, 1.0]))
        >>> complexity = na.spectral.supervision_complexity(es, np.array([[2.0], [1.0]]))
        >>> round(float(complexity), 4)  # sqrt((2 ** 2 / 4 + 1 ** 2 / 1) / 2 ...
        1.5811
    """
    n = eigensystem.num_points
    if eigensystem.trusted_rank < n:
        raise ValueError(
            f"supervision_complexity needs the inverse kernel, but only {eigensystem.trusted_rank} "
            f"of {n} eigenvalues are above round-off; decompose all of them in float64."
        )
    coefficients = project(eigensystem, targets)
    scale = power_of_two(coefficients)
    shares = eigensystem.eigenvalues[:, None] / eigensystem.trace
    return scale * jnp.sqrt(jnp.sum((coefficients / scale) ** 2 / shares)) / n


@in_precision
def subspace_overlap(first: Eigensystem, second: Eigensystem, k: int) -> Float[Array, ""]:
    """‖U_kᵀ V_k‖²_F / k in [0, 1]: how far the two leading k-dimensional subspaces agree.

    Single eigenvectors of near-equal eigenvalues are arbitrary; the subspace is not.

    Raises:
        ValueError: if ``k`` is no whole number or exceeds either rank, or the numbers of points
            differ.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> first = na.spectral.eigendecompose(np.diag([3.0, 2.0, 1.0]))
        >>> second = na.spectral.eigendecompose(np.diag([3.0, 1.0, 2.0]))
        >>> [round(float(na.spectral.subspace_overlap(first, second, k)), 6) for k in (1, 2, 3)]
        [1.0, 0.5, 1.0]
    """
    check_same_length("first", first.eigenvectors, "second", second.eigenvectors)
    check_size("k", k, 1, min(first.rank, second.rank))
    overlap = jnp.matmul(
        first.eigenvectors[:, :k].T, second.eigenvectors[:, :k], precision="highest"
    )
    return jnp.sum(overlap**2) / k
