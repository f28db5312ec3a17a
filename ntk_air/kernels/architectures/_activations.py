"""Layers of activations; those that need an angle are several times faster in float32.

XLA computes ``arctan2`` of one entry at a time on a CPU, at ten times the cost of all else in a
layer. Here it is a polynomial, which vectorises, and as accurate to within rounding. Everything
else is neural-tangents': the network itself, float64, masks, and kernels of any other layout.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ... import _neural_tangents
from ..._typing import Array

_ABRELU = {"relu": (0.0, 1.0), "leaky_relu": (0.1, 1.0), "abs": (-1.0, 1.0)}
# scale a, inner scale b and offset c of a·erf(b·x) + c.
_ERF = {"erf": (1.0, 1.0, 0.0), "sigmoid_like": (0.5, 1 / 2.4020563531719796, 0.5)}

# arctan(t) / t in powers of t² on [0, 1], relative error 1.5e-8: a minimax fit in float64.
_ARCTAN = (
    0.9999999847657287,
    -0.33333073344520836,
    0.19992619380462637,
    -0.14203644376550809,
    0.10640933670390434,
    -0.07504293778788626,
    0.042691510256273275,
    -0.016068623395503023,
    0.0028498882259039102,
)
_TINY = float(jnp.finfo(jnp.float32).tiny)

# Of covariances, both variances (they broadcast to the shape of the covariances) and the NTK
# before the activation: covariances and NTK after it. The NTK is None where it is not wanted.
Dual = Callable[[Array, Array, Array, "Array | None"], "tuple[Array, Array | None]"]


def fast_activation(name: str, reference: Any) -> Any:
    """A neural-tangents layer equal to ``reference``, faster in float32 where it is an angle.

    Args:
        name: of the activation; one that is no angle gives ``reference`` itself.
        reference: neural-tangents' own layer of that activation, ``(init_fn, apply_fn,
            kernel_fn)``.

    Returns:
        The layer, again such a triple.
    """
    if name in _ABRELU:
        return _layer(reference, _arc_cosine(*_ABRELU[name]))
    if name in _ERF:
        return _layer(reference, _arc_sine(*_ERF[name]))
    return _layer(reference, _gelu) if name == "gelu" else reference


def _layer(reference: Any, dual: Dual) -> Any:
    stax = _neural_tangents.load().stax
    init_fn, apply_fn, kernel_reference = reference

    @stax.requires(diagonal_spatial=stax.Diagonal())
    def kernel_fn(kernel: Any, **reqs: Any) -> Any:
        plain = _is_plain(kernel)
        if plain:
            kernel = _of_itself(kernel)
        after = kernel_reference(kernel, **reqs)
        if not plain or kernel.nngp.dtype != jnp.float32:
            return after
        # What is replaced here is never computed: jit leaves it out.
        return after.replace(**_propagate(kernel, dual))

    return stax.layer(lambda: (init_fn, apply_fn, kernel_fn))()


def accurate_activation(reference: Any, dual: Dual) -> Any:
    """The neural-tangents layer ``reference`` with expectations that are ours in any precision.

    Masked inputs remain ``reference``'s.
    """
    stax = _neural_tangents.load().stax
    init_fn, apply_fn, kernel_reference = reference

    @stax.requires(diagonal_spatial=stax.Diagonal())
    def kernel_fn(kernel: Any, **reqs: Any) -> Any:
        if not _is_plain(kernel):
            return kernel_reference(kernel, **reqs)
        kernel = _of_itself(kernel)
        fields = _propagate(kernel, dual)
        if kernel.diagonal_spatial:
            for name in ("cov1", "cov2"):
                variances = getattr(kernel, name)
                if variances is not None:
                    fields[name], _ = dual(variances, variances, variances, None)
        return kernel.replace(**fields, is_gaussian=False)

    return stax.layer(lambda: (init_fn, apply_fn, kernel_fn))()


def _is_plain(kernel: Any) -> bool:
    """Whether it is of Gaussians and unmasked, and holds variances, not covariances, of points."""
    masked = kernel.mask1 is not None or kernel.mask2 is not None
    return not masked and kernel.diagonal_batch and kernel.is_gaussian


def _of_itself(kernel: Any) -> Any:
    """The kernel of one point with itself, its covariance the variance to the last digit.

    Both are the same number, computed in two ways; where they differ by rounding the angle between
    them comes out as √eps and not 0, and a deep NTK in float64 is off by 5e-8.
    """
    alone = kernel.cov2 is None and kernel.diagonal_batch and kernel.nngp.shape[:2] == (1, 1)
    if not alone or kernel.nngp[0].shape != kernel.cov1.shape:
        return kernel
    return kernel.replace(nngp=kernel.cov1[None])


def _propagate(kernel: Any, dual: Dual) -> dict[str, Array | None]:
    """The fields of a neural-tangents kernel that differ from one point to another, after."""
    same_position = kernel.diagonal_spatial
    first = _variances(kernel.cov1, same_position)
    second = first if kernel.cov2 is None else _variances(kernel.cov2, same_position)
    rows = _spread(first, 0, True, not same_position)
    columns = _spread(second, 1, True, not same_position)
    fields = {}
    fields["nngp"], fields["ntk"] = dual(kernel.nngp, rows, columns, kernel.ntk)
    if same_position:
        return fields
    # All pairs of positions of one point; variances alone have a formula that is exact.
    for name, variances in (("cov1", first), ("cov2", second)):
        covariances = getattr(kernel, name)
        if covariances is not None:
            rows = _spread(variances, 0, False, True)
            columns = _spread(variances, 1, False, True)
            fields[name], _ = dual(covariances, rows, columns, None)
    return fields


def _variances(covariances: Array, same_position: bool) -> Array:
    """(n, X, X, Y, Y, ...), or the variances (n, X, Y, ...) themselves, to the latter."""
    positions = 0 if same_position else covariances.ndim // 2
    for _ in range(positions):
        # The diagonal becomes the last axis, so the next pair of axes is again in front.
        covariances = jnp.diagonal(covariances, axis1=1, axis2=2)
    return covariances


def _spread(variances: Array, side: int, points: bool, positions: bool) -> Array:
    """Variances (n, X, ...) along the first (0) or second (1) axis of each pair of axes.

    Args:
        variances: of each point and position.
        side: 0 or 1.
        points: whether the points come in pairs.
        positions: whether the positions do.
    """
    shape: list[int] = []
    for axis, size in enumerate(variances.shape):
        paired = points if axis == 0 else positions
        shape += ([size, 1] if side == 0 else [1, size]) if paired else [size]
    return variances.reshape(shape)


def _arc_cosine(negative: float, positive: float) -> Dual:
    """Of ``negative * min(x, 0) + positive * max(x, 0)`` (Cho & Saul 2009; arXiv:1711.09090)."""
    gain = (negative**2 + positive**2) / 2
    bend = (positive - negative) ** 2 / (2 * math.pi)

    def dual(
        covariances: Array, var1: Array, var2: Array, ntk: Array | None
    ) -> tuple[Array, Array | None]:
        scale = root(var1) * root(var2)
        # What XLA divides it keeps; the layers of a deep network would otherwise be computed
        # again from the first one on, in each. So all below is written in the cosine.
        cosine = correlation(covariances, var1, var2)
        sine = root((1 - cosine) * (1 + cosine))
        slope = gain - bend * arctan2(sine, cosine)
        after = scale * (bend * sine + slope * cosine)
        return after, None if ntk is None else slope * ntk

    return dual


def _arc_sine(scale: float, inner: float, offset: float) -> Dual:
    """Of ``scale * erf(inner * x) + offset`` (Williams 1996)."""

    def dual(
        covariances: Array, var1: Array, var2: Array, ntk: Array | None
    ) -> tuple[Array, Array | None]:
        bound = jnp.sqrt(1 + 2 * inner**2 * var1) * jnp.sqrt(1 + 2 * inner**2 * var2)
        sine = jnp.clip(2 * inner**2 * covariances / bound, -1.0, 1.0)
        cosine = root((1 - sine) * (1 + sine))
        after = 2 / math.pi * scale**2 * arctan2(sine, cosine) + offset**2
        slope = 4 / math.pi * (scale * inner) ** 2 / (bound * cosine)
        return after, None if ntk is None else slope * ntk

    return dual


def _gelu(
    covariances: Array, var1: Array, var2: Array, ntk: Array | None
) -> tuple[Array, Array | None]:
    """Of x·Φ(x) (Tsuchida et al., arXiv:2002.08517)."""
    bound = jnp.sqrt(1 + var1) * jnp.sqrt(1 + var2)
    product = var1 * var2
    sine = jnp.clip(covariances / bound, -1.0, 1.0)
    cosine = root((1 - sine) * (1 + sine))
    half = 0.25 + arctan2(sine, cosine) / (2 * math.pi)
    after = (sine**2 / cosine + product * cosine) / (2 * math.pi * bound) + bound * sine * half
    if ntk is None:
        return after, None
    bend = 1 / (bound * cosine) ** 2 + (1 - product) / bound**2 + 1
    return after, (half + bend * sine / cosine / (2 * math.pi)) * ntk


def correlation(covariances: Array, var1: Array, var2: Array) -> Array:
    """Covariances over both deviations, between -1 and 1; 0 where a variance is 0."""
    return jnp.clip(covariances / jnp.maximum(root(var1) * root(var2), _TINY), -1.0, 1.0)


def root(x: Array) -> Array:
    """The square root; 0 below 0, with a derivative of 0 there."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


@jax.custom_jvp
def arctan2(y: Array, x: Array) -> Array:
    """The angle of the float32 point (x, y) to 3 units in the last place; ±π/2 at the origin."""
    rise, run = jnp.abs(y), jnp.abs(x)
    # At most 1, where the polynomial holds, and 0 at the origin.
    quotient = jnp.minimum(rise, run) / jnp.maximum(jnp.maximum(rise, run), _TINY)
    square = quotient**2
    ratio = functools.reduce(lambda total, c: total * square + c, reversed(_ARCTAN))
    angle = quotient * ratio
    angle = jnp.where(rise >= run, math.pi / 2 - angle, angle)
    return jnp.copysign(jnp.where(x < 0, math.pi - angle, angle), y)


@arctan2.defjvp
def _arctan2_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (y, x), (dy, dx) = primals, tangents
    return arctan2(y, x), (x * dy - y * dx) / jnp.maximum(x**2 + y**2, _TINY)
