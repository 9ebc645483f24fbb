"""Data sets of images: `Digits` (shipped), `MNIST` (files of yours, or fetched by hash), `ImageFolder`."""

from mlcore_vision.datasets.base import ImageDataset
from mlcore_vision.datasets.digits import Digits
from mlcore_vision.datasets.folder import ImageFolder
from mlcore_vision.datasets.idx import read_idx, write_idx
from mlcore_vision.datasets.mnist import MNIST

__all__ = ["MNIST", "Digits", "ImageDataset", "ImageFolder", "read_idx", "write_idx"]
