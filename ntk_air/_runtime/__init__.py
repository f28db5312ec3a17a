"""What this package needs of XLA beyond what XLA promises, guarded and checked."""

from __future__ import annotations

from ._guard import install

__all__ = ["install"]
