"""VGG (Simonyan and Zisserman 2014), with and without batch normalisation.

Parameters have torchvision's names (`features.0.weight`, `classifier.0.weight`, ...) and start as torchvision's do, so
its weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import mlcore as ml
from mlcore import nn

# For each of the five stages, how many 3x3 convolutions it has.
DEPTHS: Final = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS: Final = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Input (N, in_channels, H, W) float, at least 32x32 and usually 224x224; output (N, num_classes) logits.

    `depth` is 11, 13, 16 or 19. With `init_weights=False` the layers keep their own initialisation, which is quicker.
    """

    def __init__(
        self, depth: int = 16, batch_norm: bool = False, num_classes: int = 1000, init_weights: bool = True,
        dropout: float = 0.5, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        if depth not in DEPTHS:
            raise ml.errors.ArgumentError(f"VGG: depth {depth}", known=", ".join(map(str, DEPTHS)))
        layers: list[nn.Module] = []
        channels = in_channels
        for wide, count in zip(WIDTHS, DEPTHS[depth]):
            for _ in range(count):
                layers += [
                    nn.Conv2d(channels, wide, 3, padding=1), *([nn.BatchNorm2d(wide)] if batch_norm else []), nn.ReLU(),
                ]  # fmt: skip
                channels = wide
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(4096, num_classes),
        )  # fmt: skip
        for module in self.modules() if init_weights else ():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Any) -> Any:
        """The maps before pooling, (N, 512, H / 32, W / 32)."""
        return self.features(x)

    def forward(self, x: Any) -> Any:
        return self.classifier(ml.flatten(self.avgpool(self.forward_features(x)), 1))


def _factory(depth: int, batch_norm: bool) -> Callable[..., VGG]:
    def make(**options: Any) -> VGG:
        return VGG(depth, batch_norm, **options)

    make.__name__ = f"vgg{depth}" + "_bn" * batch_norm
    make.__doc__ = f"VGG-{depth}{' with batch normalisation' * batch_norm}."
    return make


vgg11, vgg13, vgg16, vgg19 = (_factory(depth, False) for depth in DEPTHS)
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (_factory(depth, True) for depth in DEPTHS)
