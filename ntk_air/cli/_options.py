"""Options that several subcommands share: the data set, and the network."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tomllib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from .._archive import open_regular
from ._parser import Parser, checked_setting

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..noise import NoisyLabels

DATASET_DEFAULTS: dict[str, Any] = {
    "dataset": "digits",
    "root": None,
    "classes": None,
    "train_size": None,
    "purpose": None,
    **dict.fromkeys(("label", "test", "group", "identifier", "drop", "image_size", "channels")),
}
# Of these, further labels are columns by name, which have to be asked for.
_TABLES = (".csv", ".tsv", ".parquet")


class Options(dict[str, Any]):
    """Settings by name.

    Attributes:
        said: the names that a flag or a file set, whatever to.
    """

    said: frozenset[str] = frozenset()


_PURPOSE = (
    "selection: judged on a sixth of the training set, kept apart to choose settings on; "
    "reporting: on the test set, trained on the same points (default: the sets as they are)"
)


def add_dataset_options(parser: argparse.ArgumentParser, purpose: str = _PURPOSE) -> None:
    """Which data set, and how much of it; ``purpose`` says what --purpose does."""
    parser.add_argument(
        "--dataset",
        help="digits (default), mnist, cifar10, cifar100, or a path: a folder of images, an .npz "
        "archive, a table (.csv, .tsv, .parquet) with --label",
    )
    parser.add_argument("--root", help="folder of the data files; default $NTK_AIR_DATA")
    parser.add_argument("--classes", help="comma-separated subset, e.g. cat,dog")
    parser.add_argument("--train-size", type=int, help="training points, class-balanced")
    parser.add_argument("--purpose", help=purpose)
    parser.add_argument("--label", help="column of a table that holds the classes")
    parser.add_argument(
        "--test",
        help="test points of a table: a fraction, a column that says which, or a second file; of a "
        "folder of images without a test set: a fraction (default 0.2)",
    )
    parser.add_argument("--group", help="column of a table that must not be cut apart, as patients")
    parser.add_argument("--identifier", help="column of a table that names its rows")
    parser.add_argument("--drop", help="comma-separated columns of a table to leave out")
    parser.add_argument("--image-size", type=int, help="pixels that all images are resized to")
    parser.add_argument(
        "--channels", type=int, choices=(1, 3), help="1: all images grey; 3: all coloured"
    )


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """What to compute in."""
    parser.add_argument("--precision", help="float64 computes in double precision; default float32")


@contextlib.contextmanager
def computing(precision: Any) -> Iterator[None]:
    """JAX's default precision within the block: that of ``--precision``.

    Raises:
        ValueError: if it is neither float32 nor float64.
    """
    from .._numerics import check_precision, computing_in

    with computing_in(check_precision(precision)):
        yield


def add_numbers(parser: argparse.ArgumentParser, *rows: tuple[str, type, str]) -> None:
    """Options that are numbers: (flag, type, help) each."""
    for flag, kind, text in rows:
        parser.add_argument(flag, type=kind, help=text)


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said on the command line; parsers suppress what was not."""
    own = ("run", "parser", "command", "config")
    return {k: v for k, v in vars(arguments).items() if k not in own}


def options_of(arguments: argparse.Namespace, defaults: dict[str, Any]) -> Options:
    """Defaults, then the file, which may set what flags may, then the flags."""
    path = getattr(arguments, "config", None)
    config = {} if path is None else _read(path, arguments.parser, arguments.command)
    options = Options({**defaults, **config, **given(arguments)})
    options.said = frozenset({**config, **given(arguments)})
    return options


def refuse_idle(options: Options, names: Collection[str], why: str) -> None:
    """Raises ValueError if one of the settings was given, which nothing would read."""
    idle = [f"--{name.replace('_', '-')}" for name in names if name in options.said]
    if idle:
        verb, them = ("has", "it") if len(idle) == 1 else ("have", "them")
        raise ValueError(f"{', '.join(idle)} {verb} no effect {why}; leave {them} out.")


def _read(path: str, parser: Parser, command: str) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    values = {key.replace("-", "_"): value for key, value in values.items()}
    known = parser.settings
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(
            f"{path} sets {', '.join(unknown)}, which 'ntk-air {command}' does not have; it has "
            f"{', '.join(sorted(known))}."
        )
    return {key: checked_setting(path, known[key], value) for key, value in values.items()}


def load_dataset(
    options: dict[str, Any],
    *,
    test_size: int | None,
    seed: int,
    noise: str = "none",
    judged: bool = False,
    needs_classes: bool = True,
) -> Dataset:
    """The data set that the options name; ``judged`` if it is its training labels that are judged.

    Where ``noise`` is ``human:COLUMN``, without the points whose annotator named a class outside
    --classes: they have no observed label.
    """
    from .. import datasets

    kind, _, column = noise.partition(":")
    further = (column,) if kind == "human" and str(options["dataset"]).endswith(_TABLES) else None
    dataset = datasets.load(
        options["dataset"],
        root=options["root"],
        train_size=options["train_size"],
        test_size=test_size,
        classes=_classes(options["classes"]),
        seed=seed,
        purpose=options["purpose"],
        judged=judged,
        label=options["label"],
        test=_test_of(options["test"]),
        group=options["group"],
        identifier=options["identifier"],
        drop=_words("drop", options["drop"]),
        extra_labels=further,
        image_size=options["image_size"],
        channels=options["channels"],
    )
    if needs_classes and dataset.train_targets is not None:
        raise ValueError(
            f"--label {options['label']} is a column of numbers to predict, expected one of "
            "classes: name another column."
        )
    if kind == "human" and column in dataset.extra_labels:
        everyone, dataset = len(dataset.train_labels), dataset.labelled_by(column)
        if left := everyone - len(dataset.train_labels):
            print(
                f"{left} of {everyone} points are left out: the class that their "
                "annotator named is not one of --classes",
                file=sys.stderr,
            )
    return dataset


def noisy_labels(spec: str, dataset: Dataset, seed: int) -> NoisyLabels:
    """The observed labels of the training points, by the noise that was said."""
    from .. import noise

    # Of the inputs, only that noise makes use.
    depends = spec.strip().startswith("instance")
    return noise.apply(
        spec,
        dataset.train_labels,
        num_classes=dataset.num_classes,
        seed=seed,
        inputs=dataset.standardized().train_inputs if depends else None,
        extra_labels=dataset.extra_labels,
    )


def _classes(value: Any) -> tuple[str | int, ...] | None:
    """``cat,dog`` or a list from a file."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(int(p) if p.isdecimal() and p.isascii() else p for p in parts)
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(v) in (str, int) for v in value):
        raise ValueError(f"classes is {value!r}, expected names, as in cat,dog, or a list of them.")
    return tuple(value)


def _words(name: str, value: Any) -> tuple[str, ...] | None:
    """``a,b`` or a list from a file."""
    if value is None:
        return None
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{name} is {value!r}, expected names, as in a,b, or a list of them.")
    return tuple(word.strip() for word in words if word.strip())


def _test_of(value: str | None) -> float | str | None:
    """A fraction, or the name of a column or file."""
    with contextlib.suppress(TypeError, ValueError):
        return float(value)  # pyright: ignore[reportArgumentType]
    return value
