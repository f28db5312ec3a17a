"""Spectra: eigensystems of kernels, projections onto them, and AIR profiles."""

from ._eigensystem import Eigensystem, eigendecompose
from ._measures import (
    effective_dimension,
    kernel_target_alignment,
    subspace_overlap,
    supervision_complexity,
)
from ._profile import AIRProfile, air_profile, project, resolve_retention, retention_of
from ._residuals import residual_norms

__all__ = [
    # eigensystems
    "Eigensystem",
    "eigendecompose",
    "residual_norms",
    # AIR
    "AIRProfile",
    "air_profile",
    "project",
    "retention_of",
    "resolve_retention",
    # measures
    "effective_dimension",
    "kernel_target_alignment",
    "supervision_complexity",
    "subspace_overlap",
]
