"""The network and the kernel that a command studies: by name, or of the user's own code."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Options, add_numbers

if TYPE_CHECKING:
    from ..datasets import Dataset

NETWORK_DEFAULTS: dict[str, Any] = {
    "network": None,
    "kernel": "auto",
    "depth": None,
    "width": None,
    "weight_std": None,
    "bias_std": None,
    "rank": None,
    "memory_budget": None,
    "seed": 0,
    "precision": None,
}
_FACTORY_ARGUMENTS = ("num_outputs", "input_shape")


def add_network_options(parser: argparse.ArgumentParser, seed: str) -> None:
    """Which network and which kernel; ``seed`` says what --seed draws."""
    parser.add_argument(
        "--network",
        metavar="NAME|MODULE:FACTORY",
        help="fc (default), conv, conv-gap, myrtle, wide-resnet, attention and others in "
        "ntk_air.kernels.ARCHITECTURES; mlp, small_cnn, resnet18 and others in "
        "ntk_air.networks.NETWORKS; or package.module:factory, a function of yours that returns a "
        "module of flax or equinox, or a pair (apply_fn, params); arguments named num_outputs and "
        "input_shape are filled in",
    )
    parser.add_argument(
        "--kernel",
        metavar="KIND|FILE|MODULE:FUNCTION",
        help="infinite (default where one is known), finite (the network's own at initialisation), "
        "nngp; a kernel of your own: kernel.npy, a folder of 'ntk-air kernel', or "
        "package.module:function, k(x1, x2) on rows of inputs",
    )
    add_numbers(
        parser,
        ("--depth", int, "hidden layers (default 1 of fc; else the network's own)"),
        ("--width", int, "units or channels of the layers (default 2048 of fc)"),
        ("--weight-std", float, "standard deviation of weights (default 1.4 of fc)"),
        ("--bias-std", float, "standard deviation of biases (default 0.1 of fc)"),
        ("--rank", int, "eigenpairs (default all)"),
        ("--memory-budget", float, "bytes (default half of what is free)"),
        ("--seed", int, seed),
    )


def network_of(options: Options, dataset: Dataset) -> dict[str, Any]:
    """``network`` and ``kernel`` as the analysis takes them, of what was said.

    Raises:
        ValueError: if a file or function is not there, or is another thing.
    """
    network, kernel = options["network"], options["kernel"]
    if isinstance(network, str) and ":" in network:
        network = _made(network, dataset)
    if isinstance(kernel, str):
        kernel = _kernel(kernel)
    return {"network": network, "kernel": kernel}


def _made(text: str, dataset: Dataset) -> Any:
    factory = imported("--network", text)
    if not callable(factory):
        raise ValueError(
            f"--network {text} is a {type(factory).__name__}, expected a function that returns a "
            "network."
        )
    known = {
        "num_outputs": dataset.num_classes,
        "input_shape": tuple(dataset.train_inputs.shape[1:]),
    }
    parameters = inspect.signature(factory).parameters.values()
    wanted = [p.name for p in parameters if p.name in _FACTORY_ARGUMENTS]
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in wanted
    ]
    if missing:
        raise ValueError(
            f"--network {text} takes {', '.join(missing)}, expected a function without arguments, "
            f"or with {' and '.join(_FACTORY_ARGUMENTS)}; wrap it in one."
        )
    return factory(**{name: known[name] for name in wanted})


def _kernel(text: str) -> Any:
    if text.endswith(".npy"):
        import numpy as np

        try:
            return np.load(text, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"--kernel {text} is not an array of NumPy: {error}.") from error
    if ":" in text and not Path(text).exists():
        return imported("--kernel", text)
    if os.sep in text or Path(text).is_dir():
        from .. import kernels

        return kernels.open_kernel(text)
    return text


def imported(flag: str, text: str) -> Any:
    """What ``package.module:name`` names, the current folder searched first.

    Raises:
        ValueError: if there is no such module or name.
    """
    module, _, name = text.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{flag} {text}: cannot import {module} ({error}); run the command from the folder "
            "that holds it, or install it."
        ) from error
    except ValueError as error:
        raise ValueError(f"{flag} {text}: expected package.module:name.") from error
    if not name or not hasattr(found, name):
        raise ValueError(f"{flag} {text}: {module} has no {name or 'name after the colon'}.")
    return getattr(found, name)
