"""Networks by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from .._checks import check_choice
from ._mlp import MLP
from ._network import Network
from ._resnet import ResNet18, ResNet34
from ._small_cnn import SmallCNN
from ._wide_resnet import WideResNet

NETWORKS: dict[str, Callable[..., Network]] = {
    "mlp": MLP,
    "small_cnn": SmallCNN,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "wide_resnet_16_4": functools.partial(WideResNet, depth=16, widen=4),
    "wide_resnet_28_10": functools.partial(WideResNet, depth=28, widen=10),
}


def create(name: str, *, num_outputs: int, **options: Any) -> Network:
    """A network by name, as the command line asks for it.

    Args:
        name: one of `NETWORKS`.
        num_outputs: outputs C.
        **options: attributes of its class, for example ``parameterization="ntk"``.

    Returns:
        An unbound flax linen module.

    Raises:
        ValueError: on an unknown name or option, or a value that the class refuses.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> module = na.networks.create("small_cnn", num_outputs=10)
        >>> images = jax.ShapeDtypeStruct((8, 28, 28, 1), jnp.float32)
        >>> outputs, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
        >>> outputs.shape
        (8, 10)
    """
    check_choice("name", name, tuple(NETWORKS))
    make = NETWORKS[name]
    fixed = make.keywords if isinstance(make, functools.partial) else {}
    kind: Any = make.func if isinstance(make, functools.partial) else make
    known = {field.name for field in dataclasses.fields(kind)} - {"parent", "name", *fixed}
    if unknown := sorted(set(options) - known):
        raise ValueError(
            f"{name} has no option {', '.join(unknown)}, expected some of "
            f"{', '.join(sorted(known - {'num_outputs'}))}."
        )
    return make(num_outputs=num_outputs, **options)
