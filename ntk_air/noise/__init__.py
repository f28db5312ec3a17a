"""Label-noise models: clean class labels in, observed labels and what is known of them out."""

from ._apply import SPECS, apply
from ._conditional import asymmetric, from_transition, pair_flip
from ._human import human_cifar10, recorded
from ._instance import instance_dependent
from ._labels import NoisyLabels
from ._symmetric import symmetric

__all__ = [
    "NoisyLabels",
    "symmetric",
    "asymmetric",
    "pair_flip",
    "from_transition",
    "instance_dependent",
    "human_cifar10",
    "recorded",
    "apply",
    "SPECS",
]
