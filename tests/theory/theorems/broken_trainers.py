"""Faults of a trainer: each takes its options and returns those that it runs instead."""

from __future__ import annotations

import functools

import numpy as np

import ntk_air as na


def half_the_rate(options):
    return options | {k: options[k] / 2 for k in ("learning_rate", "optimizer") if k in options}


@functools.cache  # one function for one, so that a report compiles it once
def wrong_sign(label_fn):
    return lambda outputs: -label_fn(outputs)


def reverse(alpha):
    return (lambda s: 1 - alpha(s)) if callable(alpha) else 1 - np.asarray(alpha)


BROKEN = {
    "half the rate": half_the_rate,
    "identity": lambda o: o | {"label_fn": na.distillation.identity},
    "wrong sign": lambda o: o | {"label_fn": wrong_sign(o["label_fn"])},
    "reversed weights": lambda o: o | {"alpha": reverse(o["alpha"])},
}
