"""Activations of the two-layer network: derivatives, and the bounds that the theorems ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_choice
from ..reporting._digest import tell_by_name
from ..reporting._report import Check


class Activation(NamedTuple):
    """phi with its derivative and the bounds |phi(0)|, sup |phi'|, sup |phi''|.

    A bound is infinite where there is none (or, for phi'', no second derivative), NaN where nobody
    has told it.
    """

    name: str
    function: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    at_zero: float
    max_slope: float
    max_curvature: float

    @property
    def gamma(self) -> float:
        """Gamma >= |phi(0)|, |phi'|, |phi''|; infinite or NaN where one of them is."""
        return float(np.max([self.at_zero, self.max_slope, self.max_curvature]))


def _softplus_slope(x: Any) -> Any:
    return jax.nn.sigmoid(x)


def _tanh_slope(x: Any) -> Any:
    return 1.0 - jnp.tanh(x) ** 2


def _erf_slope(x: Any) -> Any:
    return 2.0 / np.sqrt(np.pi) * jnp.exp(-(x**2))


def _gelu(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


def _gelu_slope(x: Any) -> Any:
    return jax.scipy.stats.norm.cdf(x) + x * jax.scipy.stats.norm.pdf(x)


def _relu_slope(x: Any) -> Any:
    return jnp.where(x > 0, 1.0, 0.0).astype(jnp.result_type(x))


_KNOWN = {
    a.name: a
    for a in (
        Activation("softplus", jax.nn.softplus, _softplus_slope, float(np.log(2)), 1.0, 0.25),
        # |tanh''| = 2 |tanh| (1 - tanh^2) peaks at tanh^2 = 1/3, |erf''| at x^2 = 1/2.
        Activation("tanh", jnp.tanh, _tanh_slope, 0.0, 1.0, 4 / (3 * np.sqrt(3))),
        Activation(
            "erf", jax.scipy.special.erf, _erf_slope, 0.0,
            2 / np.sqrt(np.pi), 2 * np.sqrt(2 / (np.pi * np.e)),
        ),
        # x cdf(x) has slope cdf + x pdf, largest at sqrt(2), and curvature (2 - x^2) pdf(x).
        Activation(
            "gelu", _gelu, _gelu_slope, 0.0, 1.1289041962, float(np.sqrt(2 / np.pi)),
        ),
        Activation("relu", jax.nn.relu, _relu_slope, 0.0, 1.0, np.inf),
    )
}  # fmt: skip
tell_by_name(Activation, _KNOWN)


def find_activation(activation: str | Callable[[Any], Any]) -> Activation:
    """The activation of that name, or any elementwise function, whose bounds are then unknown.

    Raises:
        ValueError: for an unknown name.
    """
    if callable(activation):
        return _of_function(activation)
    check_choice("activation", activation, tuple(sorted(_KNOWN)))
    return _KNOWN[activation]


def activation_check(activation: Activation) -> Check:
    """The assumption that phi is smooth: a finding, the report goes on without it."""
    gamma = activation.gamma
    return Check(
        "smooth activation",
        f"|phi(0)|, |phi'|, |phi''| <= Gamma < infinity for {activation.name}",
        required="finite",
        measured="unknown" if np.isnan(gamma) else gamma,
        holds=bool(np.isfinite(gamma)),
    )


def _of_function(function: Callable[[Any], Any]) -> Activation:
    def slope(x: Any) -> Any:
        return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]

    name = getattr(function, "__name__", "a function")
    at_zero = abs(float(function(jnp.zeros(()))))
    return Activation(name, function, slope, at_zero, np.nan, np.nan)
