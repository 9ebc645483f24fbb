"""MobileNetV2 (Sandler et al. 2018): inverted residuals with depthwise convolutions.

Parameters have torchvision's names (`features.0.0.weight`, `features.1.conv.0.0.weight`, `classifier.1.weight`, ...)
and start as torchvision's do, so its weights load as they are.
"""

from __future__ import annotations

from typing import Any, Final

import mlcore as ml
from mlcore import nn

# Each row: expansion, channels, blocks, stride of the first.
SETTING: Final = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def make_divisible(value: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one of it, and never a tenth below `value`.

    >>> make_divisible(33.6), make_divisible(11), make_divisible(2)
    (32, 16, 8)
    """
    near = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * value else near


def conv_norm(inp: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inp, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; with a shortcut where the shapes allow."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        hidden = round(inp * expand_ratio)
        self.stride = stride
        self.use_res_connect = stride == 1 and inp == oup
        widen = [conv_norm(inp, hidden, 1)] if expand_ratio != 1 else []
        self.conv = nn.Sequential(
            *widen,
            conv_norm(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, oup, 1, bias=False),
            nn.BatchNorm2d(oup),
        )

    def forward(self, x: Any) -> Any:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """Input (N, in_channels, H, W) float, usually 3x224x224; output (N, num_classes) logits.

    `width_mult` scales the channels, each rounded to a multiple of `round_nearest`.

    >>> net = MobileNetV2(num_classes=5, width_mult=0.25)
    >>> net(ml.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0, round_nearest: int = 8, dropout: float = 0.2,
        in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = make_divisible(32 * width_mult, round_nearest)
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [conv_norm(in_channels, channels, stride=2)]
        for expand, wide, count, stride in SETTING:
            out = make_divisible(wide * width_mult, round_nearest)
            for number in range(count):
                features.append(InvertedResidual(channels, out, 1 if number else stride, expand))
                channels = out
        features.append(conv_norm(channels, self.last_channel, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.last_channel, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Any) -> Any:
        """The maps before pooling, (N, last_channel, H / 32, W / 32)."""
        return self.features(x)

    def forward(self, x: Any) -> Any:
        pooled = nn.functional.adaptive_avg_pool2d(self.forward_features(x), (1, 1))
        return self.classifier(ml.flatten(pooled, 1))


def mobilenet_v2(**options: Any) -> MobileNetV2:
    """MobileNetV2: 3.5 million parameters."""
    return MobileNetV2(**options)
