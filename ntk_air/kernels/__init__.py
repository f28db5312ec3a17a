"""Kernels: what kernel (architectures, infinite and finite width) apart from how it is computed."""

from ._architectures import (
    ACTIVATIONS,
    Architecture,
    as_architecture,
    convolutional,
    fully_connected,
    myrtle,
)
from ._empirical import empirical_ntk
from ._functional import functional
from ._implementations import IMPLEMENTATIONS, cheapest_implementation
from ._infinite import InfiniteKernels, infinite_diagonal, infinite_ntk

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
    "InfiniteKernels",
    "infinite_diagonal",
    "empirical_ntk",
    "cheapest_implementation",
    # choices
    "ACTIVATIONS",
    "IMPLEMENTATIONS",
]
