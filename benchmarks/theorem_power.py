"""Size and power of the theorem reports: ``python -m benchmarks.theorem_power``.

Random schedules, label functions, data and widths for `check_self_distillation`: none may be called
a violation. And the floor of early stopping on that report's default data, by filters and networks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ntk_air as na
from benchmarks import _report

_STEPS = 800
_LABELS = {
    "hard": na.distillation.hard,
    "sign": na.distillation.sign,
    "softmax": na.distillation.softmax(0.2),
    "tanh 5": na.distillation.tanh(5.0),
    "tanh 20": na.distillation.tanh(20.0),
    "tanh 40": na.distillation.tanh(40.0),
    "identity": na.distillation.identity,
}
_METHODS = ((1.0, 0.0), (1.5, 0.0), (1.9, 0.0), (1.0, 0.5), (1.0, 0.9), (1.0, 0.99))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both and writes them; returns 1 if a random schedule is called a violation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.theorem_power", description=__doc__)
    parser.add_argument("--reports", type=int, default=100, help="random reports")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/theorem-power.json"))
    parser.add_argument("--only", choices=("schedules", "floor"))
    options = parser.parse_args(arguments)
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.only != "floor":
        found["schedules"] = _schedules(options.reports, options.seed)
    if options.only != "schedules":
        found["floor"] = _floor()
    found["environment"] = _report.environment("", None)
    _report.write_json(options.out, found)
    print(json.dumps(found, indent=1))
    return int(found.get("schedules", {}).get("verdicts", {}).get("violated", 0) > 0)


def _schedule(rng: np.random.Generator) -> tuple[str, Any]:
    """A random weight for every step, or the agreement with the observed labels."""
    s = np.arange(_STEPS + 1)
    kinds = {
        "constant": lambda: np.full(len(s), rng.random()),
        "linear": lambda: np.clip(1 - s / rng.integers(5, _STEPS), 0, 1),
        "exponential": lambda: np.exp(-s / 10 ** rng.uniform(0, 2.3)),
        "inverse time": lambda: 1 / (1 + s / 10 ** rng.uniform(-1, 1.5)),
        "cosine": lambda: (1 + np.cos(np.pi * np.minimum(s / rng.integers(3, _STEPS), 1))) / 2,
        "early step": lambda: np.where(s < rng.integers(0, 40), rng.uniform(0.5, 0.8), 0.0),
        "late step": lambda: np.where(s < rng.integers(0, _STEPS), rng.random(), 0.0),
        "random": lambda: rng.random(len(s)) * (s < rng.integers(1, _STEPS)),
        "agreement": lambda: na.distillation.agreement(rng.random()),
    }
    name = str(rng.choice(list(kinds)))
    return name, kinds[name]()


def _schedules(reports: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    verdicts, missed, violated = Counter(), Counter(), []
    for index in range(reports):
        data = na.datasets.clusterable(
            num_points=60,
            num_clusters=4,
            dimension=10,
            radius=float(rng.choice([0.01, 0.02, 0.05])),
            noise_rate=float(rng.choice([0.1, 0.2, 0.3, 0.4])),
            seed=int(rng.integers(1000)),
        )
        kind, alpha = _schedule(rng)
        label = str(rng.choice(list(_LABELS))) if rng.random() < 0.4 else "hard"
        setting = {"width": int(rng.choice([20, 100, 200])), "seeds": [int(rng.integers(1000))]}
        report = na.theory.check_self_distillation(
            data,
            num_steps=_STEPS,
            alpha=alpha,
            label_fn=_LABELS[label],
            accuracy=0.1,
            controls=index % 4 == 0,
            **setting,
        )
        verdicts[report.verdict] += 1
        missed.update(c.name for c in report.assumptions if not c.holds)
        if report.verdict == "violated":
            failed = [c.name for c in report.conclusions if not c.holds]
            violated.append({"schedule": kind, "label": label, "failed": failed, **setting})
    return {
        "reports": reports,
        "seed": seed,
        "verdicts": dict(verdicts),
        "assumptions that fail": dict(missed),
        "violated": violated,
    }


def _floor() -> list[dict[str, Any]]:
    """Least |f - y| / sqrt(n) of early stopping on 400 points, infinite width and width 2000."""
    data = na.datasets.clusterable(
        num_points=400, num_clusters=8, dimension=20, radius=0.05, noise_rate=0.2, seed=0
    )
    rows = []
    with jax.enable_x64(True):
        inputs = jnp.asarray(data.inputs, float)
        clean, observed = (np.asarray(v, np.float64) for v in (data.clean, data.observed))
        half = na.theory.two_layer_init(jax.random.key(0), 1000, 20)
        weights = jnp.concatenate([half, half])  # outputs of zero
        limit = np.asarray(na.theory.cluster_kernel(np.asarray(inputs)).matrix)
        own = na.theory.two_layer_ntk(weights, inputs)
        systems = [na.spectral.eigendecompose(jnp.asarray(k)) for k in (limit, own)]
        for size, momentum in _METHODS:
            found, rate = [], np.nan
            for system in systems:
                rate = size / float(system.eigenvalues[0])
                filters = [na.dynamics.heavy_ball(rate, step, momentum) for step in range(31)]
                errors = na.dynamics.risk(system, filters, clean, observed).clean_error
                found.append(float(np.sqrt(np.min(errors))))
            trained = na.distillation.self_distill(
                na.theory.two_layer_apply,
                weights,
                inputs,
                observed,
                optimizer=optax.sgd(rate, momentum=momentum or None),
                num_steps=30,
                alpha=1.0,
                clean=clean,
                record_every=1,
            )
            rows.append(
                {
                    "eta lambda_1": size,
                    "momentum": momentum,
                    "predicted, infinite width": found[0],
                    "predicted, own kernel": found[1],
                    "network": float(np.min(trained.history.l2_to_clean)),
                }
            )
    return rows


if __name__ == "__main__":
    sys.exit(main())
