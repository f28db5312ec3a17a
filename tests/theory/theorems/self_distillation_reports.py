"""Small runs of `check_self_distillation`, and what is read off their reports."""

from __future__ import annotations

import ntk_air as na

DATA = na.datasets.clusterable(
    num_points=80, num_clusters=4, dimension=10, radius=0.02, noise_rate=0.2, seed=1
)
REACHES = "self-distillation reaches the clean labels"
LATE = "enough steps once the labels are right"
MARGIN = "enough steps for the margin"
TRUSTED = "the network is not trusted too early"


def run(data=DATA, **options):
    small = {"width": 200, "num_steps": 800, "time_constant": 60, "controls": False, "seeds": 1}
    return na.theory.check_self_distillation(data, **(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def rows(report, method):
    return [row for row in report.tables["methods"] if row["method"] == method]


def control(report, name):
    return [row for row in report.tables["controls"] if row["control"] == name]


def missed(report):
    return {c.name for c in report.assumptions if not c.holds}


def failed(report):
    return {c.name for c in report.conclusions if not c.holds}
