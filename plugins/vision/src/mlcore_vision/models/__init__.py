"""Networks, by name: `mlcore.create_model("vision/resnet18")`, `mlcore.list_models("vision/*")`.

Layers are called as a torchvision user would call them, so weights and state_dicts move both ways. The large ones take
`num_classes`, `in_channels` and `weights` ("DEFAULT" where there are any to fetch, or the path of a file).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mlcore import nn
from mlcore_vision.models.mobilenet import MobileNetV2, mobilenet_v2
from mlcore_vision.models.pretrained import WEIGHTS, Weights, find_weights, imagenet_classes, loadable
from mlcore_vision.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from mlcore_vision.models.small import LeNet5, SmallCNN, digits_cnn, lenet5, mnist_cnn
from mlcore_vision.models.vgg import (
    VGG,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)

# For pictures of 3x224x224 and ImageNet's classes; called as torchvision calls them.
_LARGE: Final[tuple[Callable[..., nn.Module], ...]] = (
    resnet18, resnet34, resnet50, resnet101, resnet152, resnext50_32x4d, resnext101_32x8d, resnext101_64x4d,
    wide_resnet50_2, wide_resnet101_2, mobilenet_v2, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn,
)  # fmt: skip

IMAGENET: Final = tuple(f"vision/{factory.__name__}" for factory in _LARGE)
FACTORIES: Final[Mapping[str, Callable[..., nn.Module]]] = {
    "vision/digits-cnn": digits_cnn,
    "vision/mnist-cnn": mnist_cnn,
    "vision/lenet5": lenet5,
    **{name: loadable(name, factory) for name, factory in zip(IMAGENET, _LARGE)},
}

__all__ = [
    "FACTORIES",
    "IMAGENET",
    "VGG",
    "WEIGHTS",
    "BasicBlock",
    "Bottleneck",
    "LeNet5",
    "MobileNetV2",
    "ResNet",
    "SmallCNN",
    "Weights",
    "digits_cnn",
    "find_weights",
    "imagenet_classes",
    "lenet5",
    "mnist_cnn",
]
__all__ += [factory.__name__ for factory in _LARGE]
