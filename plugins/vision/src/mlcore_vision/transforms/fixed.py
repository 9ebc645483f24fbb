"""The transforms that do the same every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from mlcore.tensor import Tensor
from mlcore_vision.images import to_array
from mlcore_vision.transforms import functional as F
from mlcore_vision.transforms.functional import Array, Size, on_arrays, pair


class Compose:
    """One after the other.

    >>> Compose([CenterCrop(2), ConvertDtype("float32")])(np.full((1, 4, 4), 255, np.uint8)).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        for transform in transforms:
            if not callable(transform):
                raise ArgumentTypeError(f"Compose: {transform!r} is not callable")
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class ToTensor:
    """A PIL image, or an array (H, W) or (H, W, C), as a float32 Tensor (C, H, W) in 0..1; a Tensor stays.

    Unsigned integers are divided by their maximum; floats are taken as they are.

    >>> ToTensor()(Image.new("RGB", (4, 2), "white")).shape
    (3, 2, 4)
    """

    def __init__(self, device: Any = None) -> None:
        self.device = device

    def __call__(self, image: Any) -> Tensor:
        if isinstance(image, Tensor):
            return image
        if isinstance(image, Image.Image):
            array = to_array(image)
        elif isinstance(image, np.ndarray) and image.ndim in (2, 3):
            array = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
        else:
            what = (
                f"an array of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            )
            raise ArgumentTypeError(
                f"ToTensor: expected a PIL image or an array (H, W) or (H, W, C), got {what}"
            )
        tensor: Tensor = ml.asarray(F.convert_dtype(array, dtypes.float32), device=self.device)
        return tensor

    def __repr__(self) -> str:
        return "ToTensor()"


class ConvertDtype:
    """To another dtype. With `scale`, 0..255 (or 0..65535) of unsigned integers and 0..1 of floats correspond.

    >>> ConvertDtype("uint8")(np.full((1, 1, 1), 0.5, np.float32)).tolist()
    [[[128]]]
    """

    def __init__(self, dtype: Any = dtypes.float32, scale: bool = True) -> None:
        self.dtype = dtypes.as_dtype(dtype)
        self.scale = scale

    def __call__(self, image: Any) -> Any:
        return on_arrays(image, lambda array: F.convert_dtype(array, self.dtype, self.scale), "ConvertDtype")

    def __repr__(self) -> str:
        return f"ConvertDtype({self.dtype}, scale={self.scale})"


class Normalize:
    """``(x - mean) / std`` for each channel (or one value for all) of a floating image.

    >>> Normalize([0.5], [0.25])(np.ones((1, 1, 1), np.float32)).item()
    2.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = np.asarray(mean, np.float64).ravel(), np.asarray(std, np.float64).ravel()
        if self.mean.shape != self.std.shape or not self.mean.size:
            raise ShapeError(f"Normalize: {self.mean.size} means and {self.std.size} deviations")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            raise ArgumentError(
                f"Normalize: mean {list(mean)} and std {list(std)}", expected="finite numbers, std above 0"
            )

    def __call__(self, image: Any) -> Any:
        return on_arrays(image, lambda array: F.normalize(array, self.mean, self.std), "Normalize")

    def __repr__(self) -> str:
        return f"Normalize({self.mean.tolist()}, {self.std.tolist()})"


class Resize:
    """Bilinear resizing. An int sets the shorter side and keeps the proportions; a pair is (height, width).

    With `antialias` (the default), shrinking averages, as Pillow and torchvision do. Takes PIL images too.

    >>> Resize(4)(np.ones((3, 8, 16), np.float32)).shape, Resize((4, 5))(Image.new("L", (9, 9))).size
    ((3, 4, 8), (5, 4))
    """

    def __init__(self, size: Size, antialias: bool = True) -> None:
        pair(size, "Resize")
        self.size = size
        self.antialias = antialias

    def __call__(self, image: Any) -> Any:
        if isinstance(image, Image.Image):
            height, width = self.target(image.height, image.width)
            if self.antialias:
                return image.resize((width, height), Image.Resampling.BILINEAR)
        return on_arrays(
            image,
            lambda array: F.resize(array, self.target(*array.shape[-2:]), self.antialias),
            "Resize",
            pil=True,
        )

    def target(self, height: int, width: int) -> tuple[int, int]:
        """The new (height, width) of an image of this size."""
        if not isinstance(self.size, int):
            return pair(self.size, "Resize")
        if min(height, width) < 1:
            raise ShapeError(f"Resize: the image has no pixels, its size is {(height, width)}")
        short = min(height, width)
        return max(1, int(self.size * height / short)), max(1, int(self.size * width / short))

    def __repr__(self) -> str:
        return f"Resize({self.size}, antialias={self.antialias})"


class CenterCrop:
    """The middle, of (height, width) or a square; a smaller image is first padded with zeros.

    >>> CenterCrop(1)(np.arange(9).reshape(1, 3, 3)).tolist()
    [[[4]]]
    """

    def __init__(self, size: Size) -> None:
        self.size = pair(size, "CenterCrop")

    def __call__(self, image: Any) -> Any:
        return on_arrays(image, self._crop, "CenterCrop", pil=True)

    def _crop(self, array: Array) -> Array:
        height, width = self.size
        more_y, more_x = max(0, height - array.shape[-2]), max(0, width - array.shape[-1])
        if more_y or more_x:
            array = F.pad(array, more_y // 2, more_y - more_y // 2, more_x // 2, more_x - more_x // 2)
        top, left = round((array.shape[-2] - height) / 2), round((array.shape[-1] - width) / 2)
        return F.crop(array, top, left, height, width)

    def __repr__(self) -> str:
        return f"CenterCrop({self.size})"


class Pad:
    """`fill` on all four sides: one width, or (up and down, left and right).

    >>> Pad(1)(np.ones((1, 1, 1), np.float32)).shape
    (1, 3, 3)
    """

    def __init__(self, padding: Size, fill: float = 0) -> None:
        self.padding = pair(padding, "Pad", least=0)
        self.fill = fill

    def __call__(self, image: Any) -> Any:
        (y, x), fill = self.padding, self.fill
        return on_arrays(image, lambda array: F.pad(array, y, y, x, x, fill), "Pad", pil=True)

    def __repr__(self) -> str:
        return f"Pad({self.padding}, fill={self.fill})"


class Grayscale:
    """One channel, the luma of red, green and blue (ITU-R 601, as Pillow's "L"); gray images stay. PIL images too.

    >>> Grayscale()(np.ones((3, 2, 2), np.float32)).shape
    (1, 2, 2)
    """

    def __call__(self, image: Any) -> Any:
        if isinstance(image, Image.Image):
            return image.convert("L")
        return on_arrays(image, self._luma, "Grayscale")

    @staticmethod
    def _luma(array: Array) -> Array:
        if array.shape[-3] == 1:
            return array.copy()
        if array.shape[-3] != 3:
            raise DTypeError(f"Grayscale: expected 1 or 3 channels, got {array.shape[-3]}")
        weights = np.asarray([0.299, 0.587, 0.114])[:, None, None]
        return F.as_before((array * weights).sum(-3, keepdims=True), array.dtype)

    def __repr__(self) -> str:
        return "Grayscale()"


class ImageClassification:
    """A picture as networks trained on ImageNet expect it: (3, crop_size, crop_size) float32.

    The shorter side is resized to `resize_size` (bilinear, with antialiasing), the middle is cut out, and each channel
    is normalised. Takes PIL images of any mode, and arrays or tensors (3, H, W) or (N, 3, H, W), uint8 or 0..1 floats.
    torchvision's preset of this name does the same.

    >>> ImageClassification()(Image.new("RGB", (400, 300))).shape
    (3, 224, 224)
    """

    def __init__(
        self, crop_size: int = 224, resize_size: int = 256, mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225), antialias: bool = True,
    ) -> None:  # fmt: skip
        self.resize, self.crop = Resize(resize_size, antialias), CenterCrop(crop_size)
        self.normalize = Normalize(mean, std)

    def __call__(self, image: Any) -> Any:
        if isinstance(image, Image.Image):
            image = ToTensor()(self.resize(image.convert("RGB")))
        else:
            image = ConvertDtype()(self.resize(image))
        return self.normalize(self.crop(image))

    def __repr__(self) -> str:
        return f"ImageClassification(crop_size={self.crop.size[0]}, resize_size={self.resize.size})"
