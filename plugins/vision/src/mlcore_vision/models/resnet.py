"""Residual networks (He et al. 2015), wide ones (Zagoruyko and Komodakis 2016) and ResNeXt (Xie et al. 2016).

Parameters have torchvision's names (`layer1.0.conv1.weight`, `layer1.0.downsample.0.weight`, `fc.weight`, ...) and
start as torchvision's do, so its weights load as they are.
"""

from __future__ import annotations

from typing import Any, ClassVar

import mlcore as ml
from mlcore import nn


def fitting(inplanes: int, outplanes: int, stride: int) -> nn.Module | None:
    """What a shortcut needs where the shapes differ: a strided 1x1 convolution, normalised."""
    if stride == 1 and inplanes == outplanes:
        return None
    return nn.Sequential(nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes))


class _Block(nn.Module):
    expansion: ClassVar[int]
    downsample: nn.Module | None

    def shortcut(self, x: Any) -> Any:
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(_Block):
    """Two 3x3 convolutions beside a shortcut: the block of ResNet-18 and -34."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, groups: int = 1, base_width: int = 64
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ml.errors.ArgumentError(
                f"BasicBlock: groups={groups}, base_width={base_width}",
                expected="1 and 64",
                fix="Bottleneck has them",
            )
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = fitting(inplanes, planes, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Any) -> Any:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(_Block):
    """1x1, 3x3 (which has the stride) and 1x1 convolutions beside a shortcut: the block from ResNet-50 on."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, groups: int = 1, base_width: int = 64
    ) -> None:
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = fitting(inplanes, planes * self.expansion, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Any) -> Any:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Input (N, in_channels, H, W) float, usually 3x224x224; output (N, num_classes) logits.

    `layers` are the numbers of blocks in the four stages. With `zero_init_residual` each block begins as its shortcut.

    >>> net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    >>> net(ml.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: list[int], num_classes: int = 1000,
        zero_init_residual: bool = False, groups: int = 1, width_per_group: int = 64, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inplanes, self.groups, self.base_width = 64, groups, width_per_group
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(block, 64, layers[0], 1)
        self.layer2 = self._stage(block, 128, layers[1], 2)
        self.layer3 = self._stage(block, 256, layers[2], 2)
        self.layer4 = self._stage(block, 512, layers[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)

    def _stage(
        self, block: type[BasicBlock] | type[Bottleneck], planes: int, count: int, stride: int
    ) -> nn.Module:
        made: list[nn.Module] = []
        for number in range(count):
            made.append(block(self.inplanes, planes, 1 if number else stride, self.groups, self.base_width))
            self.inplanes = planes * block.expansion
        return nn.Sequential(*made)

    def forward_features(self, x: Any) -> Any:
        """The maps before pooling, (N, 512 * expansion, H / 32, W / 32)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Any) -> Any:
        return self.fc(ml.flatten(self.avgpool(self.forward_features(x)), 1))


def resnet18(**options: Any) -> ResNet:
    """ResNet-18: 11.7 million parameters."""
    return ResNet(BasicBlock, [2, 2, 2, 2], **options)


def resnet34(**options: Any) -> ResNet:
    """ResNet-34: 21.8 million parameters."""
    return ResNet(BasicBlock, [3, 4, 6, 3], **options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50 (the stride in the 3x3 convolution): 25.6 million parameters."""
    return ResNet(Bottleneck, [3, 4, 6, 3], **options)


def resnet101(**options: Any) -> ResNet:
    """ResNet-101: 44.5 million parameters."""
    return ResNet(Bottleneck, [3, 4, 23, 3], **options)


def resnet152(**options: Any) -> ResNet:
    """ResNet-152: 60.2 million parameters."""
    return ResNet(Bottleneck, [3, 8, 36, 3], **options)


def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt-50, 32 groups of 4: 25.0 million parameters."""
    return ResNet(Bottleneck, [3, 4, 6, 3], groups=32, width_per_group=4, **options)


def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt-101, 32 groups of 8: 88.8 million parameters."""
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=8, **options)


def resnext101_64x4d(**options: Any) -> ResNet:
    """ResNeXt-101, 64 groups of 4: 83.5 million parameters."""
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=64, width_per_group=4, **options)


def wide_resnet50_2(**options: Any) -> ResNet:
    """ResNet-50, twice as wide in the 3x3 convolutions: 68.9 million parameters."""
    return ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=128, **options)


def wide_resnet101_2(**options: Any) -> ResNet:
    """ResNet-101, twice as wide in the 3x3 convolutions: 126.9 million parameters."""
    return ResNet(Bottleneck, [3, 4, 23, 3], width_per_group=128, **options)
