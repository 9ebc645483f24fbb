"""A folder of images, one subfolder a class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import mlcore as ml
from mlcore.data import Dataset
from mlcore.errors import DataError, OutOfRangeError
from mlcore.io import MissingFileError
from mlcore_vision.datasets.base import Transform
from mlcore_vision.images import open_image, to_array

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class ImageFolder(Dataset[tuple[Any, int]]):
    """Images in ``root/CLASS/**/*.png`` and other formats, in the order of their names; labels count the classes.

    Item `i` is (image, label int): the image is a uint8 Tensor (C, H, W) with 1 or 3 channels as `mode` says ("L"
    or "RGB"), or what `transform` makes of it (which is given the PIL image). Hidden files are passed over.

    Raises `MissingFileError` for a missing root, `DataError` for one without class folders or images, and on
    reading, `FormatError` naming a file that is no image.
    """

    def __init__(
        self, root: str | os.PathLike[str], transform: Transform | None = None, mode: str = "RGB"
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise MissingFileError(f"ImageFolder: no folder {self.root}")
        self.classes = tuple(
            sorted(
                entry.name
                for entry in self.root.iterdir()
                if entry.is_dir() and not entry.name.startswith(".")
            )
        )
        if not self.classes:
            raise DataError(
                f"ImageFolder: {self.root} has no subfolders", expected="one folder for each class"
            )
        self.samples: list[tuple[Path, int]] = [
            (path, label) for label, name in enumerate(self.classes) for path in _images(self.root / name)
        ]
        present = {label for _, label in self.samples}
        empty = [name for label, name in enumerate(self.classes) if label not in present]
        if empty:
            raise DataError(
                f"ImageFolder: no images in {', '.join(map(repr, empty[:5]))} of {self.root}",
                known=" ".join(SUFFIXES),
            )
        self.transform = transform
        self.mode = mode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if not -len(self) <= index < len(self):
            raise OutOfRangeError(f"ImageFolder: index {index} is out of range for {len(self)} images")
        path, label = self.samples[index]
        image = open_image(path).convert(self.mode)
        return (self.transform(image) if self.transform else ml.asarray(to_array(image))), label

    def __repr__(self) -> str:
        return f"ImageFolder({self.root}: {len(self)} images, {len(self.classes)} classes)"


def _images(folder: Path) -> list[Path]:
    found = (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    return sorted(path for path in found if path.is_file())
