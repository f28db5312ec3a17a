"""Faults in what is trained are violations of the self-distillation theorem, not its premises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from broken_trainers import BROKEN
from self_distillation_reports import failed, missed, run

import ntk_air as na

t, d = na.theory, na.distillation

SMALL = na.datasets.clusterable(
    num_points=24, num_clusters=3, dimension=6, radius=0.02, noise_rate=0.25, seed=0
)


def small_run():
    return run(SMALL, width=1000, num_steps=600, accuracy=0.1)


@pytest.mark.parametrize("trainer", ["kernel_self_distill", "self_distill"])
@pytest.mark.parametrize("fault", BROKEN)
def test_broken_dynamics_are_violations(fault, trainer, monkeypatch):
    """Each fault in one trainer only: a premise that fails on broken runs must not excuse them."""
    right = getattr(d, trainer)
    monkeypatch.setattr(d, trainer, lambda *a, **options: right(*a, **BROKEN[fault](options)))
    report = small_run()
    assert report.verdict == "violated", report.to_markdown()
    with pytest.raises(t.TheoremViolationError, match="the algorithm's steps"):
        report.raise_if_violated()
    space = "function space" if trainer == "kernel_self_distill" else "network"
    assert f"the algorithm's steps ({space})" in failed(report)
    other = "network" if trainer == "kernel_self_distill" else "function space"
    assert f"the algorithm's steps ({other})" not in failed(report)


def late(history, **values):
    """The history with other values after step 300, the last record excepted."""
    step = np.asarray(history.step)
    there = (step > 300) & (step < step[-1])
    return dataclasses.replace(
        history, **{k: np.where(there, v, getattr(history, k)) for k, v in values.items()}
    )


def drift(history):
    """The history with outputs that are off by 1e-6 after step 300."""
    off = 1e-6 * (np.asarray(history.step) > 300)
    return dataclasses.replace(history, outputs=history.outputs + off[:, None, None])


def is_constant(options):
    return options["alpha"] == 0.25


def is_distilled(options):
    return getattr(options["alpha"], "kind", None) == "exponential"


@pytest.mark.parametrize(
    ("trainer", "which", "fault", "conclusion"),
    [
        ("kernel_self_distill", is_constant, drift, "limit of a constant alpha (function space)"),
        ("kernel_self_distill", is_distilled, lambda h: late(h, l2_to_clean=3.0),
            "rate (function space)"),
        ("self_distill", is_distilled, lambda h: late(h, l2_to_clean=3.0), "rate (network)"),
    ],
)  # fmt: skip
def test_late_faults_are_violations(trainer, which, fault, conclusion, monkeypatch):
    """One run alone goes wrong, after the steps that are held against the algorithm."""
    right = getattr(d, trainer)

    def broken(*arguments, **options):
        made = right(*arguments, **options)
        if not which(options):
            return made
        if trainer == "kernel_self_distill":
            return fault(made)
        return dataclasses.replace(made, history=fault(made.history))

    monkeypatch.setattr(d, trainer, broken)
    report = small_run()
    assert report.verdict == "violated"
    assert failed(report) == {conclusion}


def test_labels_that_are_lost_at_a_constant_alpha(monkeypatch):
    """A premise where they are lost late; a violation where the label function is not the one."""
    right = d.kernel_self_distill

    def lost(*arguments, **options):
        history = right(*arguments, **options)
        return late(history, label_to_clean=1.0) if is_constant(options) else history

    monkeypatch.setattr(d, "kernel_self_distill", lost)
    report = small_run()
    assert missed(report) == {"labels stay clean at a constant alpha"}
    assert failed(report) == set()

    def identity(*arguments, **options):
        other = {"label_fn": d.identity} if is_constant(options) else {}
        return right(*arguments, **options | other)

    monkeypatch.setattr(d, "kernel_self_distill", identity)
    report = small_run()
    assert report.verdict == "violated"
    assert "the algorithm's steps (function space)" in failed(report)
