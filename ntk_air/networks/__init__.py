"""Networks: flax modules to train, in standard or NTK parameterisation, and their augmentation."""

from ._activations import ACTIVATIONS
from ._augment import Augmentation, pad_crop_flip
from ._create import NETWORKS, create
from ._layers import NTKConv, NTKDense
from ._mlp import MLP
from ._network import PARAMETERIZATIONS, Network
from ._resnet import ResNet, ResNet18, ResNet34
from ._small_cnn import SmallCNN
from ._wide_resnet import WideResNet

__all__ = [
    # networks
    "MLP",
    "SmallCNN",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "WideResNet",
    "Network",
    "create",
    # layers
    "NTKDense",
    "NTKConv",
    # augmentation
    "pad_crop_flip",
    "Augmentation",
    # choices
    "NETWORKS",
    "ACTIVATIONS",
    "PARAMETERIZATIONS",
]
