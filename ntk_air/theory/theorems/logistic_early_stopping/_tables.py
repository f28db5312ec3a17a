"""Tables of the report on early-stopped logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import LogisticPath, above
from ._logistic import Risks


def stopping_rows(path: LogisticPath) -> list[dict[str, Any]]:
    """One row for w = 0, the stopped solution and the last step."""
    untrained = {
        "seed": path.seed,
        "solution": "no training",
        "step": 0,
        "|w|": 0.0,
        "min margin": 0.0,
        "training loss": float(np.log(2)),
        **_risk_columns(path, path.untrained),
        "|w - u| / |w|": None,
        "cosine to ridge": None,
    }
    trained = [
        {
            "seed": path.seed,
            "solution": name,
            "step": int(path.steps[record]),
            "|w|": float(path.norms[record]),
            "min margin": float(path.margins[record]),
            "training loss": float(path.losses[record]),
            **_risk_columns(path, path.risks[record]),
            "|w - u| / |w|": float(path.ridge_distance[record]),
            "cosine to ridge": float(path.ridge_cosine[record]),
        }
        for name, record in (("stopped", path.stop), ("last", len(path.steps) - 1))
    ]
    return [untrained, *trained]


def _risk_columns(path: LogisticPath, risks: Risks) -> dict[str, float]:
    return {
        "excess risk": above(path, risks, "logistic"),
        "excess error": above(path, risks, "error"),
        "calibration error": risks.calibration,
    }


def path_rows(path: LogisticPath) -> list[dict[str, Any]]:
    """Every fourth record."""
    return [
        {
            "seed": path.seed,
            "step": int(path.steps[record]),
            "training loss": float(path.losses[record]),
            "excess risk": above(path, path.risks[record], "logistic"),
            "calibration error": path.risks[record].calibration,
            "|w - u| / |w|": float(path.ridge_distance[record]),
        }
        for record in range(0, len(path.steps), 4)
    ]
