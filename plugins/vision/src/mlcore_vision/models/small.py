"""Small convolutional networks for digits.

Layers are called as a PyTorch user would call them (`features.0.weight`, `classifier.1.bias`, ...), so a
state_dict moves both ways.
"""

from __future__ import annotations

from typing import Any

from mlcore import nn
from mlcore.errors import ArgumentError


class SmallCNN(nn.Module):
    """Convolutions with batch normalisation, halved by pooling after each stage, then two linear layers.

    `stages` has one list for each stage: the (channels, kernel) of its convolutions, each followed by BatchNorm2d and
    ReLU; 2x2 max pooling ends the stage. Input (N, in_channels, *size) float; output (N, num_classes) logits.

    >>> net = SmallCNN(size=(8, 8), stages=[[(4, 3)], [(8, 3)]], hidden=16)
    >>> import mlcore as ml
    >>> net(ml.zeros((2, 1, 8, 8))).shape
    (2, 10)
    """

    def __init__(
        self, size: tuple[int, int], stages: list[list[tuple[int, int]]], hidden: int = 128, dropout: float = 0.3,
        num_classes: int = 10, in_channels: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        height, width = size
        if min(height, width) >> len(stages) < 1:
            raise ArgumentError(f"SmallCNN: {len(stages)} halvings leave nothing of {height}x{width}")
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in stages:
            for wide, kernel in stage:
                # Batch normalisation removes any bias that a convolution before it would add.
                layers += [
                    nn.Conv2d(channels, wide, kernel, padding=kernel // 2, bias=False),
                    nn.BatchNorm2d(wide),
                    nn.ReLU(),
                ]
                channels = wide
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = channels * (height >> len(stages)) * (width >> len(stages))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x))


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) in its usual modern form: ReLU, max pooling, no connection table.

    Input (N, in_channels, 28, 28) float; output (N, num_classes) logits.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x))


def digits_cnn(num_classes: int = 10, in_channels: int = 1, dropout: float = 0.3) -> SmallCNN:
    """For 8x8 images: 62,378 parameters, 99.7 % on the digits held out of `datasets.Digits`."""
    return SmallCNN((8, 8), [[(32, 3), (32, 3)], [(64, 3)]], 128, dropout, num_classes, in_channels)


def mnist_cnn(num_classes: int = 10, in_channels: int = 1, dropout: float = 0.25) -> SmallCNN:
    """For 28x28 images, after LeNet: 422,250 parameters, above 99 % on MNIST's test images in a few epochs."""
    return SmallCNN((28, 28), [[(32, 5)], [(64, 3)]], 128, dropout, num_classes, in_channels)


def lenet5(num_classes: int = 10, in_channels: int = 1) -> LeNet5:
    """LeNet-5 for 28x28 images."""
    return LeNet5(num_classes, in_channels)
