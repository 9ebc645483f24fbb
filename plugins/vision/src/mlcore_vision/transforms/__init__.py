"""Transforms of images: arrays or tensors (C, H, W), batches (N, C, H, W) of them, and PIL images where it says so.

What goes in as a Tensor comes out as one, on the same device; no gradient flows through. The random ones draw from
mlcore's seeded stream, or from their own `generator`: one draw for each image of a batch, and the same seed gives the
same images on every device.

>>> import numpy as np
>>> augment = Compose([Resize(8), RandomRotation(10), Normalize([0.5], [0.5])])
>>> augment(np.ones((1, 16, 16), np.float32)).shape
(1, 8, 8)
"""

from mlcore_vision.transforms.fixed import (
    CenterCrop,
    Compose,
    ConvertDtype,
    Grayscale,
    ImageClassification,
    Normalize,
    Pad,
    Resize,
    ToTensor,
)
from mlcore_vision.transforms.random import (
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
)

__all__ = [
    "CenterCrop",
    "Compose",
    "ConvertDtype",
    "Grayscale",
    "ImageClassification",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "Resize",
    "ToTensor",
]
