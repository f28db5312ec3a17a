"""What this package needs of XLA beyond what XLA promises, guarded and checked."""

from __future__ import annotations

from ._guard import install
from ._report import RuntimeCheck, RuntimeReport, check_runtime

__all__ = ["RuntimeCheck", "RuntimeReport", "check_runtime", "install"]
