"""What the data sets that fit in memory share: bytes in, float tensors out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.data import Dataset, default_collate
from mlcore.errors import ArgumentError, OutOfRangeError

Transform = Callable[[Any], Any]
Array = np.ndarray[Any, Any]


class ImageDataset(Dataset[tuple[Any, int]]):
    """Images held as bytes, (N, H, W), whose largest value `white` becomes 1.0, with integer labels (N,).

    Item `i` is the pair (image Tensor (1, H, W) float32 in 0..1, label int); `transform`, if given, is applied to the
    image. `tensors()` gives all of it at once.
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]

    def __init__(
        self,
        images: Array,
        labels: Array,
        classes: tuple[str, ...],
        white: int,
        transform: Transform | None = None,
    ) -> None:
        self.images = images
        self.labels = labels.astype(np.int64)
        self.classes = classes
        self.white = white
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if not -len(self) <= index < len(self):
            raise OutOfRangeError(
                f"{type(self).__name__}: index {index} is out of range for {len(self)} images"
            )
        image = ml.asarray(self._scaled(self.images[index][None]))
        return (self.transform(image) if self.transform else image), int(self.labels[index])

    def batch(self, indices: Array) -> Any:
        """The images (n, 1, H, W) and labels (n,) at these places, as tensors: what a DataLoader asks for."""
        if self.transform is not None:
            return default_collate([self[int(index)] for index in indices])
        return ml.asarray(self._scaled(self.images[indices, None])), ml.asarray(self.labels[indices])

    def tensors(self, device: Any = None) -> tuple[ml.Tensor, ml.Tensor]:
        """All images (N, 1, H, W) float32 in 0..1, and all labels (N,) int64. No transform is applied."""
        images = ml.asarray(self._scaled(self.images[:, None]), device=device)
        return images, ml.asarray(self.labels, device=device)

    def _scaled(self, raw: Array) -> Array:
        return raw.astype(np.float32) / np.float32(self.white)

    def __repr__(self) -> str:
        height, width = self.images.shape[1:]
        return f"{type(self).__name__}({len(self)} images of {height}x{width}, {len(self.classes)} classes)"


def check_split(split: str, known: tuple[str, ...], who: str) -> str:
    """`split`, or an error that lists the ones there are."""
    if split not in known:
        raise ArgumentError(f"{who}: unknown split {split!r}", known=", ".join(known))
    return split
