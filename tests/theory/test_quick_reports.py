"""Reports as they are run by default, quickly: those that take seconds."""

from __future__ import annotations

import pytest

import ntk_air as na


@pytest.mark.parametrize(
    "name",
    [
        "jacobian_bimodality",
        "overfitting_distance",
        "ntk_concentration",
        "noise_isotropy",
        "logistic_early_stopping",
        "noise_level_stopping",
    ],
)
def test_confirmed(name):
    report = getattr(na.theory, f"check_{name}")(quick=True)
    assert report.verdict == "confirmed", report.to_markdown()
    report.raise_if_violated()
