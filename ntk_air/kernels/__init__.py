"""Kernels: what kernel (architectures, infinite and finite width) apart from how it is computed."""

from ._architectures import (
    ACTIVATIONS,
    Architecture,
    as_architecture,
    convolutional,
    fully_connected,
    myrtle,
)
from ._empirical import IMPLEMENTATIONS, cheapest_implementation, empirical_ntk
from ._functional import functional
from ._infinite import infinite_diagonal, infinite_ntk

__all__ = [
    # architectures
    "Architecture",
    "fully_connected",
    "convolutional",
    "myrtle",
    "as_architecture",
    "functional",
    # kernels
    "infinite_ntk",
    "infinite_diagonal",
    "empirical_ntk",
    "cheapest_implementation",
    # choices
    "ACTIVATIONS",
    "IMPLEMENTATIONS",
]
