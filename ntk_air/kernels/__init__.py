"""Kernels: what kernel (architectures, infinite and finite width) apart from how it is computed."""

from ._infinite import InfiniteKernels, infinite_diagonal, infinite_ntk
from .architectures._registry import (
    ARCHITECTURES,
    ArchitectureMaker,
    architecture,
    architecture_names,
    find_architecture,
)

# isort: off
from .architectures._architectures import (
    ACTIVATIONS,
    Architecture,
    as_architecture,
    convolutional,
    fully_connected,
    myrtle,
)
from .architectures._residual import residual, wide_resnet
from .architectures._attention import self_attention

# isort: on
from .finite._empirical import empirical_ntk
from .finite._functional import functional
from .finite._implementations import (
    IMPLEMENTATIONS,
    Costs,
    cheapest_implementation,
    implementation_costs,
)
from .finite._operator import NTKOperator
from .store._reader import StoredKernel, open_kernel
from .store._tile_count import count_tiles
from .tiling._ring import ShardedKernel, gather

__all__ = [
    # architectures
    "Architecture",
    "fully_connected",
    "convolutional",
    "myrtle",
    "residual",
    "wide_resnet",
    "self_attention",
    "as_architecture",
    "ARCHITECTURES",
    "ArchitectureMaker",
    "architecture",
    "architecture_names",
    "find_architecture",
    "functional",
    # kernels
    "infinite_ntk",
    "InfiniteKernels",
    "infinite_diagonal",
    "empirical_ntk",
    "NTKOperator",
    "cheapest_implementation",
    "implementation_costs",
    "Costs",
    # kernels on disk and on many devices
    "StoredKernel",
    "open_kernel",
    "count_tiles",
    "ShardedKernel",
    "gather",
    # choices
    "ACTIVATIONS",
    "IMPLEMENTATIONS",
]
