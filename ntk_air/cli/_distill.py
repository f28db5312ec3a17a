"""``ntk-air distill``: self-distillation, or a method to compare with, under label noise."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from .._text import one_line
from ._options import (
    DATASET_DEFAULTS,
    add_dataset_options,
    add_numbers,
    load_dataset,
    options_of,
    refuse_idle,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..analysis import NoisySettings, NoisyTraining
    from ..distillation import DistillationResult

_DEFAULTS: dict[str, Any] = {
    **DATASET_DEFAULTS,
    "test_size": None,
    "checkpoint": None,
    "out": None,
}
_OF_SELF_DISTILLATION = ("alpha", "label_fn", "loss", "teacher")


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
    one.add_argument("--optimizer", help="sgd, momentum (0.9), adam (default)")
    add_numbers(
        one,
        ("--learning-rate", float, "at the first step (default 0.001)"),
        ("--schedule", str, "of the learning rate: constant (default), cosine, steps:0.1:0.5:0.75"),
        ("--weight-decay", float, "of all parameters (default 0)"),
        ("--batch-size", int, "points per step (default 128)"),
        ("--epochs", int, "passes over the points (default 20)"),
        ("--seeds", int, "networks, each with its own noise (default 1)"),
        ("--validation", float, "share of the noisy points held out, to stop by (default 0.1)"),
        ("--seed", int, "of the draw of points, and the first of the seeds (default 0)"),
    )
    one.add_argument("--one-by-one", action="store_true", help="the seeds after one another")
    one.add_argument("--augment", help="none (default), crop, crop_flip")
    one.add_argument("--precision", help="to compute in: float64, bfloat16, ... (default float32)")
    one.add_argument("--checkpoint", help="folder to store the run in, and to go on from")
    one.add_argument("--config", help="TOML file with any of these settings; flags win")
    one.add_argument("--out", help="folder for distill.json, history.png and result.ntkair")
    one.set_defaults(run=run, parser=one)


def _add_self_distillation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--alpha",
        help="weight of the observed labels: agreement (default), a number, exponential:STEPS, "
        "inverse_time:STEPS, linear:START:END:STEPS, cosine, or posterior (found for each label), "
        "posterior:RATE",
    )
    parser.add_argument("--label-fn", help="hard (default), softmax:TEMPERATURE, identity, ...")
    parser.add_argument("--loss", help="cross_entropy (default) or mse")
    parser.add_argument("--teacher", help="step (default): the current network; or epoch: the last")


def run(arguments: argparse.Namespace) -> int:
    """Trains, prints a table, and writes it where asked."""
    from .. import analysis

    names = [field.name for field in dataclasses.fields(analysis.NoisySettings)]
    options = options_of(arguments, _DEFAULTS)
    settings = analysis.NoisySettings(**{k: v for k, v in options.items() if k in names})
    if settings.method.partition("/")[0] != "self_distill":
        refuse_idle(options, _OF_SELF_DISTILLATION, f"on {settings.method}")
    from .. import reports

    began = time.perf_counter()
    if options["out"] is None:
        print(_table(_measure(options, settings)[0]))
        return 0
    with reports.output_folder(options["out"]) as out:
        numbers, training = _measure(options, settings)
        from .. import save
        from ..distillation import DistillationResult

        result = DistillationResult(training.params, training.history)
        save(result, out / "result.ntkair")
        _figure(result, numbers).savefig(out / "history.png")
        text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
        (out / "distill.json").write_text(text, encoding="utf-8")
    print(_table(numbers))
    print(f"{out} ({time.perf_counter() - began:.0f} s)")
    sys.stdout.flush()
    return 0


def _measure(
    options: dict[str, Any], settings: NoisySettings
) -> tuple[dict[str, Any], NoisyTraining]:
    from .. import analysis

    dataset = load_dataset(
        options, test_size=options["test_size"], seed=settings.seed, noise=str(settings.noise)
    )
    training = analysis.noisy_training(
        dataset, settings, checkpoint=options["checkpoint"], progress=True
    )
    said = {k: options[k] for k in ("dataset", "classes", "train_size", "test_size", "purpose")}
    numbers = {
        "dataset": dataset.name,
        "num_points": training.num_points,
        "num_held_out": training.num_held_out,
        "num_classes": dataset.num_classes,
        "noise_rate": float(training.noise_rate.mean()),
        "settings": said | dataclasses.asdict(settings),
    }
    return numbers | analysis.noisy_training_summary(training), training


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
        f"{one_line(numbers['dataset'])}: {numbers['num_points']} points, "
        f"{numbers['noise_rate']:.1%} wrong labels ({settings['noise']}), "
        f"{numbers['num_held_out']} noisy points held out to stop by",
        f"{settings['method']}, {settings['network']}, {settings['epochs']} "
        f"epoch{'s' * (settings['epochs'] > 1)}, "
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
