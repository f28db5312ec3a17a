"""Kernels: what kernel (architectures, infinite and finite width) apart from how it is computed.

`ARCHITECTURES` lists the architectures in the order of the imports here: a new one is a file with a
maker under `architecture`, and a line below.
"""

from ._infinite import InfiniteKernels, infinite_ntk
from ._infinite_diagonal import infinite_diagonal
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
    convolutional as convolutional,
    fully_connected as fully_connected,
    myrtle as myrtle,
)
from .architectures._residual import residual as residual, wide_resnet as wide_resnet
from .architectures._attention import self_attention as self_attention

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

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    # architectures
    "Architecture",
    *ARCHITECTURES,
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
