"""``ntk-air distill``: self-distillation, or a method to compare with, under label noise."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from . import _distill_specs as specs
from ._options import DATASET_DEFAULTS, add_dataset_options, add_numbers, options_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..distillation import DistillationResult
    from ._distill_training import Problem

DEFAULTS: dict[str, Any] = {
    **DATASET_DEFAULTS,
    "test_size": None,
    "noise": "symmetric:0.4",
    "network": "mlp",
    "method": specs.SELF_DISTILL,
    "alpha": "agreement",
    "label_fn": "hard",
    "loss": "cross_entropy",
    "teacher": "step",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": 128,
    "epochs": 20,
    "seeds": 1,
    "one_by_one": False,
    "validation": 0.1,
    "augment": "none",
    "precision": None,
    "checkpoint": None,
    "seed": 0,
    "out": None,
}


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    one = commands.add_parser(
        "distill",
        help="trains networks on noisy labels by self-distillation or another method",
        description="Trains one network for each seed, all together, on noisy labels, and prints "
        "test accuracy at its best, at the end, and at the step at which held-out noisy labels "
        "are predicted best, which needs no clean label.",
        argument_default=argparse.SUPPRESS,
    )
    add_dataset_options(one)
    one.add_argument("--test-size", type=int, help="test points")
    one.add_argument(
        "--noise",
        help="none, symmetric:RATE (wrong labels from the other classes; default 0.4), "
        "uniform:RATE (from all classes), asymmetric:RATE (CIFAR-10's pairs), pair_flip:RATE, "
        "instance:RATE, human:worst, human_transition:worst; drawn anew for each seed",
    )
    one.add_argument("--network", help="mlp (default), small_cnn, resnet18, resnet34, ...")
    one.add_argument(
        "--method",
        help="self_distill (default), cross_entropy, gce, elr, ...; numbers of a method as in "
        "gce/q=0.5",
    )
    _add_self_distillation(one)
    one.add_argument("--optimizer", help=f"{', '.join(specs.OPTIMIZERS)} (default adam)")
    add_numbers(
        one,
        ("--learning-rate", float, "constant (default 0.001)"),
        ("--batch-size", int, "points per step (default 128)"),
        ("--epochs", int, "passes over the points (default 20)"),
        ("--seeds", int, "networks, each with its own noise (default 1)"),
        ("--validation", float, "share of the noisy points held out, to stop by (default 0.1)"),
        ("--seed", int, "of the draw of points, and the first of the seeds (default 0)"),
    )
    one.add_argument("--one-by-one", action="store_true", help="the seeds after one another")
    one.add_argument("--augment", help=f"{', '.join(specs.AUGMENTATIONS)} (default none)")
    one.add_argument("--precision", help="to compute in, e.g. bfloat16")
    one.add_argument("--checkpoint", help="folder to store the run in, and to go on from")
    one.add_argument("--config", help="TOML file with any of these settings; flags win")
    one.add_argument("--out", help="folder for distill.json, history.png and result.ntkair")
    one.set_defaults(run=run)


def _add_self_distillation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--alpha",
        help="weight of the observed labels: agreement (default), a number, exponential:STEPS, "
        "inverse_time:STEPS, linear:START:END:STEPS, cosine",
    )
    parser.add_argument("--label-fn", help="hard (default), softmax:TEMPERATURE, identity, ...")
    parser.add_argument("--loss", help="cross_entropy (default) or mse")
    parser.add_argument("--teacher", help="step (default): the current network; or epoch: the last")


def run(arguments: argparse.Namespace) -> int:
    """Trains, prints a table, and writes it where asked."""
    options = options_of(arguments, DEFAULTS)
    check(options)
    from .. import reports

    began = time.perf_counter()
    if options["out"] is None:
        print(_table(_measure(options)[0]))
        return 0
    with reports.output_folder(options["out"]) as out:
        numbers, result = _measure(options)
        from .. import save

        save(result, out / "result.ntkair")
        _figure(result, numbers).savefig(out / "history.png")
        text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
        (out / "distill.json").write_text(text, encoding="utf-8")
    print(_table(numbers))
    print(f"{out} ({time.perf_counter() - began:.0f} s)")
    sys.stdout.flush()
    return 0


def check(options: dict[str, Any]) -> None:
    """Raises ValueError on settings that can be judged before anything is loaded."""
    from .._checks import check_choice
    from ..networks import NETWORKS

    name, values = specs.parse_method(options["method"])
    given = [word for word in specs.WORDS if options[word] != DEFAULTS[word]]
    if name != specs.SELF_DISTILL and given:
        raise ValueError(
            f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} of self_distill, and the "
            f"method is {name}; leave out, or give numbers of a method as in gce/q=0.5."
        )
    if twice := [word for word in given if word in values]:
        raise ValueError(f"method {options['method']!r} and the option both say {twice[0]}.")
    if name == specs.SELF_DISTILL:
        words = {word: values.get(word, options[word]) for word in specs.WORDS}
        specs.parse_alpha(words["alpha"], 1)
        specs.parse_label_fn(words["label_fn"])
        check_choice("loss", words["loss"], ("mse", "cross_entropy"))
        check_choice("teacher", words["teacher"], ("step", "epoch"))
    check_choice("network", options["network"], tuple(NETWORKS))
    check_choice("optimizer", options["optimizer"], specs.OPTIMIZERS)
    check_choice("augment", options["augment"], specs.AUGMENTATIONS)
    if options["precision"] is not None:
        import jax.numpy as jnp

        try:
            known = jnp.issubdtype(jnp.dtype(options["precision"]), jnp.floating)
        except TypeError:
            known = False
        if not known:
            raise ValueError(
                f"precision is {options['precision']!r}, expected bfloat16, float16 or float32."
            )


def _measure(options: dict[str, Any]) -> tuple[dict[str, Any], DistillationResult]:
    import jax.numpy as jnp

    from ..distillation import DistillationResult, History
    from ._distill_numbers import numbers_of
    from ._distill_training import prepare, train

    problem = prepare(options)
    outcome = train(problem, options)
    history = History(**{name: jnp.asarray(column) for name, column in outcome.history.items()})
    return _described(problem, options) | numbers_of(outcome), DistillationResult(
        outcome.params, history
    )


def _described(problem: Problem, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": problem.dataset.name,
        "num_points": problem.count,
        "num_held_out": len(problem.dataset.train_labels) - problem.count,
        "num_classes": problem.dataset.num_classes,
        "noise_rate": sum(problem.noise_rates) / len(problem.noise_rates),
        "settings": {k: v for k, v in options.items() if k not in ("out", "checkpoint", "root")},
    }


def _figure(result: DistillationResult, numbers: dict[str, Any]) -> Figure:
    """Test accuracy and distance to the clean labels over time, one line for each seed."""
    from .. import reports

    settings = numbers["settings"]
    runs = {
        f"seed {settings['seed'] + i}": result.replica(i)
        for i in range(len(numbers["final"]["test_accuracy"]["each"]))
    }
    titles = (f"{numbers['dataset']}, {settings['noise']}", settings["method"])
    return reports.training_figure(runs, titles)


def _table(numbers: dict[str, Any]) -> str:
    settings = numbers["settings"]
    lines = [
        f"{numbers['dataset']}: {numbers['num_points']} points, {numbers['noise_rate']:.1%} wrong "
        f"labels ({settings['noise']}), {numbers['num_held_out']} noisy points held out to stop by",
        f"{settings['method']}, {settings['network']}, {settings['epochs']} epochs, "
        f"{settings['seeds']} seed{'s' * (settings['seeds'] > 1)}",
        "",
        f"{'':<28} {'test accuracy':>16} {'l2 to clean':>16}",
    ]
    titles = {
        "best": "best (needs clean labels)",
        "final": "last",
        "stopped": "at stopping (noisy labels)",
    }
    for key, title in titles.items():
        accuracy, distance = numbers[key]["test_accuracy"], numbers[key]["l2_to_clean"]
        lines.append(
            f"{title:<28} {_spread(accuracy, 100, 2):>16} {_spread(distance, 1, 3):>16}".rstrip()
        )
    return "\n".join(lines)


def _spread(values: dict[str, Any], factor: float, digits: int) -> str:
    if values["mean"] is None:
        return "–"
    text = f"{factor * values['mean']:.{digits}f}"
    return text if values["sd"] is None else f"{text} ± {factor * values['sd']:.{digits}f}"
