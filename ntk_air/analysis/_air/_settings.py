"""What the main job can be told, with the defaults that every caller shares."""

from __future__ import annotations

import dataclasses
import math

from ..._checks import check_in_range, check_seed, check_size
from ..._numerics import check_precision

_OF_TRAINING = ("learning_rate", "momentum", "time_constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `air`.

    Attributes:
        depth: hidden ReLU layers of the fully connected network.
        width: units of each hidden layer of the real network (the kernel is of infinite width).
        weight_std: standard deviation of the weights in NTK parameterisation.
        bias_std: standard deviation of the biases.
        rank: eigenpairs to compute; None is all of them.
        steps: training steps of each network; 0 trains none.
        learning_rate: for the loss summed over points; None is 1/λ_1 of the kernel.
        momentum: β of heavy-ball gradient descent in [0, 1); one step then advances the time by
            about learning_rate / (1 − β).
        time_constant: τ of the self-distillation, in steps: the given labels have weight 1 for the
            first τ steps and exp(−(s − τ)/τ) after them; None is the stopping time that
            generalised cross-validation chooses from the noisy labels.
        memory_budget: bytes for the kernel and its eigensystem; None is half of what is free.
        seed: of the network's initial parameters.
        precision: ``"float64"`` computes all of it in float64, whatever JAX's default is;
            ``"float32"`` likewise; None is JAX's default.

    Raises:
        ValueError: on a setting out of range, or one of training where ``steps`` is 0.

    Example:
        >>> import ntk_air as na
        >>> na.analysis.Settings(depth=2, steps=100).width
        2048
    """

    depth: int = 1
    width: int = 2048
    weight_std: float = 1.4
    bias_std: float = 0.1
    rank: int | None = None
    steps: int = 1000
    learning_rate: float | None = None
    momentum: float = 0.0
    time_constant: float | None = None
    memory_budget: float | None = None
    seed: int = 0
    precision: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError on a number out of range, or one that nothing would read."""
        check_precision(self.precision)
        check_seed("seed", self.seed)
        check_size("steps", self.steps, 0)
        check_in_range("momentum", self.momentum, 0.0, 1.0, high_open=True)
        for name in ("learning_rate", "time_constant"):
            value = getattr(self, name)
            if value is not None:
                check_in_range(name, value, 0.0, math.inf, low_open=True, high_open=True)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = [name for name in _OF_TRAINING if getattr(self, name) != defaults[name]]
        if given and self.steps == 0:
            raise ValueError(
                f"{', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect where steps "
                "is 0: no network is trained; leave it out."
            )
