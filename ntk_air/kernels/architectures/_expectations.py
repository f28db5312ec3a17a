"""Expectations E f(u) f(v) and E f'(u) f'(v) of two Gaussians, for activations with no closed form.

Smooth activations are expanded in Hermite polynomials, of which those of u and of v are correlated
only with their equals: the expectation is a power series in the correlation (Mehler 1866; Daniely,
Frostig, Singer, arXiv:1602.05897). Its coefficients belong to one point each, so a pair of points
costs a multiplication and an addition per term, where quadrature in the plane evaluates the
activation hundreds of times. ELU, whose slope has a kink at 0, is integrated over the angle within
each quadrant, where it is smooth; along the radius that is a formula.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfcx

from ..._typing import Array
from ._activations import Dual, arctan2, correlation, root

# The coefficients of f(sqrt(q) z) fall the more slowly the larger the variance q is. tanh is the
# slowest: with so many its kernels are within 1e-12 at variances up to 1, 1e-8 at 4, 1e-4 at 16.
_TERMS = 192
# The trapezoidal rule converges geometrically for such integrands; the weight is 1e-34 at its end.
_REACH, _NODES = 12.5, 301
# Of Gauss-Legendre along an arc of at most half a circle.
_ANGLES = 16


@functools.cache
def _hermite() -> tuple[np.ndarray, np.ndarray]:
    """Nodes (nodes,), and weights times normalised Hermite polynomials there (nodes, terms)."""
    nodes = np.linspace(-_REACH, _REACH, _NODES)
    weights = np.exp(-(nodes**2) / 2) * (nodes[1] - nodes[0]) / math.sqrt(2 * math.pi)
    polynomials = [weights, nodes * weights]
    for k in range(1, _TERMS - 1):
        following = nodes * polynomials[k] - math.sqrt(k) * polynomials[k - 1]
        polynomials.append(following / math.sqrt(k + 1))
    return nodes, np.stack(polynomials, axis=1)


def smooth(function: Callable[[Array], Array]) -> Dual:
    """The expectations of an elementwise function that is analytic near the real line."""

    def coefficients(variances: Array) -> Array:
        """(2, terms, ...): of the function and of its derivative."""
        nodes, polynomials = (jnp.asarray(a, variances.dtype) for a in _hermite())
        points = root(variances)[..., None] * nodes
        both = jnp.stack(jax.jvp(function, (points,), (jnp.ones_like(points),)))
        found = jnp.matmul(both, polynomials, precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(found, -1, 1)

    def dual(
        covariances: Array, var1: Array, var2: Array, ntk: Array | None
    ) -> tuple[Array, Array | None]:
        cosine = correlation(covariances, var1, var2)
        first, second = coefficients(var1), coefficients(var2)
        after = _series(cosine, first[0], second[0])
        return after, None if ntk is None else _series(cosine, first[1], second[1]) * ntk

    return dual


def _series(cosine: Array, first: Array, second: Array) -> Array:
    """Sum over k of first[k] · second[k] · cosine^k, by Horner's rule."""

    def step(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        return total * cosine + pair[0] * pair[1], None

    total, _ = jax.lax.scan(step, jnp.zeros_like(cosine), (first, second), reverse=True, unroll=8)
    return total


def elu(
    covariances: Array, var1: Array, var2: Array, ntk: Array | None
) -> tuple[Array, Array | None]:
    """Of max(x, 0) + expm1(min(x, 0)).

    With u = σ₁ r cos α and v = σ₂ r cos(α - φ), where cos φ is the correlation, the angle α is
    uniform and r exp(-r²/2) the density of r.
    """
    dev1, dev2 = root(var1), root(var2)
    cosine = correlation(covariances, var1, var2)
    sine = root((1 - cosine) * (1 + cosine))
    angle = (arctan2 if sine.dtype == jnp.float32 else jnp.arctan2)(sine, cosine)
    rest = math.pi - angle

    def step(totals: tuple[Array, Array], rule: Array) -> tuple[tuple[Array, Array], None]:
        node, weight = rule
        after, slope = totals
        # From the ray where one of them is 0 to that where the other is.
        rising, falling = jnp.sin(node * angle), jnp.sin((1 - node) * angle)
        for positive, negative in (
            (dev1 * rising, dev2 * falling),
            (dev2 * rising, dev1 * falling),
        ):
            after += weight * angle * positive * _radial_slope(negative)
            slope += weight * angle * (1 + _radial(negative))
        one, two = dev1 * jnp.sin(node * rest), dev2 * jnp.sin((1 - node) * rest)
        both = _radial(one + two)
        after += weight * rest * (both - _radial(one) - _radial(two))
        return (after, slope + weight * rest * (1 + both)), None

    nodes, weights = np.polynomial.legendre.leggauss(_ANGLES)
    rules = jnp.asarray(np.stack([(nodes + 1) / 2, weights / 2], axis=1), sine.dtype)
    # Both positive first: the arc-cosine kernel.
    (after, slope), _ = jax.lax.scan(step, (dev1 * dev2 * (sine + rest * cosine), rest), rules)
    circle = 2 * math.pi
    return after / circle, None if ntk is None else slope / circle * ntk


def _radial(rate: Array) -> Array:
    """The mean of expm1(-rate · r), r as above."""
    return -math.sqrt(math.pi / 2) * rate * erfcx(rate / math.sqrt(2))


def _radial_slope(rate: Array) -> Array:
    """The mean of r · expm1(-rate · r)."""
    half = math.sqrt(math.pi / 2)
    return half * ((1 + rate**2) * erfcx(rate / math.sqrt(2)) - 1) - rate
