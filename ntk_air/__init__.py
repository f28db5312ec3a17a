"""ntk_air: how much signal and how much label noise a network retrieves, when, and why.

Labels and a kernel go in; anisotropic information retrieval (AIR), early stopping and
self-distillation come out, each computed in closed form from the spectrum of the Neural Tangent
Kernel and measured on real networks. After Dong, Hou, Lu, Zhang (arXiv:1910.01255).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import _neural_tangents, _runtime
from ._results import load, save
from ._runtime import RuntimeReport, check_runtime
from ._version import __version__

if TYPE_CHECKING:
    from . import (
        analysis,
        datasets,
        distillation,
        dynamics,
        kernels,
        networks,
        noise,
        plots,
        reports,
        spectral,
        theory,
    )

_ROOMS = (
    "datasets",
    "noise",
    "kernels",
    "networks",
    "spectral",
    "dynamics",
    "distillation",
    "theory",
    "analysis",
    "plots",
    "reports",
)

__all__ = [
    "datasets",
    "noise",
    "kernels",
    "networks",
    "spectral",
    "dynamics",
    "distillation",
    "theory",
    "analysis",
    "plots",
    "reports",
    "save",
    "load",
    "check_runtime",
    "RuntimeReport",
    "__version__",
]

# From here on programs for CPUs are compiled without a fusion of XLA that sums wrongly.
_runtime.install()

# From here on `import neural_tangents` gives the one that works on today's JAX.
_neural_tangents.install()


def __getattr__(name: str) -> Any:
    """Imports a room on first use: `import ntk_air` itself stays light."""
    if name in _ROOMS:
        return importlib.import_module(f"ntk_air.{name}")
    raise AttributeError(f"module 'ntk_air' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
