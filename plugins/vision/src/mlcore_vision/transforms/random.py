"""The transforms that draw: augmentations for training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ShapeError
from mlcore_vision.transforms import functional as F
from mlcore_vision.transforms.functional import Array, Size, on_arrays, pair


def draw(shape: tuple[int, ...], generator: Any) -> Array:
    """Uniform numbers in [0, 1), float64, from mlcore's stream; bit-equal whatever the default device is."""
    return np.asarray(ml.random.uniform(shape, generator=generator, device="reference")).astype(np.float64)


class _Random:
    """Batches the image, has `_batch` change it, and takes the batch away again."""

    generator: Any = None

    def __call__(self, image: Any) -> Any:
        return on_arrays(image, self._on_array, type(self).__name__)

    def _on_array(self, array: Array) -> Array:
        return self._batch(array) if array.ndim == 4 else self._batch(array[None])[0]

    def _batch(self, images: Array) -> Array:
        raise TypeError(f"{type(self).__name__} does not say what it does")


class RandomHorizontalFlip(_Random):
    """Mirrored left to right with probability `p`.

    >>> RandomHorizontalFlip(p=1.0)(np.arange(3).reshape(1, 1, 3)).tolist()
    [[[2, 1, 0]]]
    """

    def __init__(self, p: float = 0.5, generator: Any = None) -> None:
        self.p, self.generator = _probability(p, "RandomHorizontalFlip"), generator

    def _batch(self, images: Array) -> Array:
        flipped = draw((len(images),), self.generator) < self.p
        result = images.copy()
        result[flipped] = images[flipped][..., ::-1]
        return result

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class RandomCrop(_Random):
    """A part of (height, width) somewhere in the image, which is first padded by `padding` on all sides.

    >>> RandomCrop(8, padding=1)(np.ones((5, 1, 8, 8), np.float32)).shape
    (5, 1, 8, 8)
    """

    def __init__(self, size: Size, padding: Size = 0, fill: float = 0, generator: Any = None) -> None:
        self.size = pair(size, "RandomCrop")
        self.padding = pair(padding, "RandomCrop padding", least=0)
        self.fill, self.generator = fill, generator

    def _batch(self, images: Array) -> Array:
        (height, width), (y, x) = self.size, self.padding
        padded = F.pad(images, y, y, x, x, self.fill) if y or x else images
        room = padded.shape[-2] - height, padded.shape[-1] - width
        if min(room) < 0:
            raise ShapeError(
                f"RandomCrop: {self.size} out of {padded.shape[-2:]}", fix="raise padding, or resize first"
            )
        where = draw((len(images), 2), self.generator)
        result = np.empty((*images.shape[:-2], height, width), images.dtype)
        for index, (down, right) in enumerate(where):
            top, left = int(down * (room[0] + 1)), int(right * (room[1] + 1))
            result[index] = padded[index, :, top : top + height, left : left + width]
        return result

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, padding={self.padding})"


class RandomAffine(_Random):
    """Turned, moved, scaled and sheared around the centre, bilinearly; outside of the image there is `fill`.

    `degrees`: at most so far either way. `translate`: at most these fractions of (height, width). `scale`: between
    (least, most). `shear`: at most so many degrees, along x.

    >>> RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1))(np.ones((1, 8, 8), np.float32)).shape
    (1, 8, 8)
    """

    def __init__(
        self, degrees: float = 0.0, translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0), shear: float = 0.0, fill: float = 0.0, generator: Any = None,
    ) -> None:  # fmt: skip
        low, high = scale
        if not (0 < low <= high < math.inf and 0 <= degrees <= 180 and 0 <= shear < 90):
            raise ArgumentError(
                f"{type(self).__name__}: degrees={degrees}, scale={scale}, shear={shear}",
                expected="degrees in 0..180, 0 < least <= most, shear in 0..90",
            )
        if not all(0 <= part <= 1 for part in translate):
            raise ArgumentError(
                f"{type(self).__name__}: translate={translate}", expected="two fractions in 0..1"
            )
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear
        self.fill, self.generator = fill, generator

    def _batch(self, images: Array) -> Array:
        return F.affine(images, self.matrices(*images.shape[:1], *images.shape[-2:]), self.fill)

    def matrices(self, count: int, height: int, width: int) -> Array:
        """The drawn maps (count, 2, 3) from places of the result to the source, in pixels from the centre."""
        turn, grow, lean, down, right = draw((5, count), self.generator) * 2 - 1
        angle = turn * math.radians(self.degrees)
        low, high = self.scale
        size = (low + high) / 2 + grow * (high - low) / 2
        slope = np.tan(lean * math.radians(self.shear))
        cos, sin = np.cos(angle) / size, np.sin(angle) / size
        x = right * self.translate[1] * width
        y = down * self.translate[0] * height
        # The inverse of: scale, turn by -angle, shear by slope, then move by (x, y).
        rows = [cos, cos * slope + sin, -sin, cos - sin * slope]
        a, b, c, d = rows
        return np.stack([a, b, -(a * x + b * y), c, d, -(c * x + d * y)], 1).reshape(count, 2, 3)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degrees}, {self.translate}, {self.scale}, shear={self.shear})"


class RandomRotation(RandomAffine):
    """Turned by at most `degrees` either way.

    >>> RandomRotation(0.0)(np.ones((1, 2, 2), np.float32)).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """

    def __init__(self, degrees: float, fill: float = 0.0, generator: Any = None) -> None:
        super().__init__(degrees, fill=fill, generator=generator)


class RandomErasing(_Random):
    """With probability `p`, a rectangle of `value`: `scale` is its share of the area, `ratio` its height by width.

    Zhong et al. 2017, Random Erasing Data Augmentation.

    >>> RandomErasing(p=1.0)(np.ones((1, 16, 16), np.float32)).min().item()
    0.0
    """

    def __init__(
        self, p: float = 0.5, scale: tuple[float, float] = (0.02, 0.33), ratio: tuple[float, float] = (0.3, 3.3),
        value: float = 0.0, generator: Any = None,
    ) -> None:  # fmt: skip
        self.p = _probability(p, "RandomErasing")
        if not (0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1] < math.inf):
            raise ArgumentError(f"RandomErasing: scale={scale}, ratio={ratio}", expected="0 < least <= most")
        self.scale, self.ratio, self.value, self.generator = scale, ratio, value, generator

    def _batch(self, images: Array) -> Array:
        height, width = images.shape[-2:]
        result = images.copy()
        for image, (erase, part, shape, down, right) in zip(result, draw((len(images), 5), self.generator)):
            if erase >= self.p:
                continue
            area = height * width * (self.scale[0] + part * (self.scale[1] - self.scale[0]))
            low, high = map(math.log, self.ratio)
            proportion = math.exp(low + shape * (high - low))
            tall = min(height, max(1, round(math.sqrt(area * proportion))))
            wide = min(width, max(1, round(math.sqrt(area / proportion))))
            top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
            image[:, top : top + tall, left : left + wide] = self.value
        return result

    def __repr__(self) -> str:
        return f"RandomErasing(p={self.p}, scale={self.scale}, ratio={self.ratio})"


def _probability(p: float, who: str) -> float:
    if not 0 <= p <= 1:
        raise ArgumentError(f"{who}: p={p}", expected="a probability in 0..1")
    return p
