"""Image files: decoding with Pillow, and to arrays (C, H, W) and back."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mlcore.errors import ArgumentTypeError, FormatError, ShapeError, UnsafeFileError
from mlcore.io import MissingFileError, atomic_write

Array = np.ndarray[Any, Any]


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Decode an image file of any format that Pillow reads, turned upright as its EXIF data says.

    Raises `MissingFileError`, `FormatError` for what is no (whole) image, `UnsafeFileError` for one whose claimed
    size would exhaust the memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise MissingFileError(f"no image file {os.fspath(path)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnsafeFileError(f"{os.fspath(path)} claims to be enormous: {error}") from error
    except UnidentifiedImageError as error:
        raise FormatError(f"{os.fspath(path)} is no image in a known format") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise FormatError(f"{os.fspath(path)} cannot be decoded: {error}") from error


def to_array(image: Image.Image) -> Array:
    """The pixels as an array (C, H, W): uint8, or what the mode has ("I;16" uint16, "F" float32).

    >>> to_array(Image.new("RGB", (4, 2))).shape
    (3, 2, 4)
    """
    if not isinstance(image, Image.Image):
        raise ArgumentTypeError(f"expected a PIL image, got a {type(image).__name__}")
    if image.mode in ("1", "P", "PA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(image)
    return np.array(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0), order="C")


def to_image(array: Any) -> Image.Image:
    """A PIL image of an array or tensor (C, H, W) or (H, W): uint8, or floats where 1.0 is white (clipped).

    >>> to_image(np.ones((1, 2, 3), np.float32)).getpixel((0, 0))
    255
    """
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        pixels = pixels[0] if pixels.shape[0] == 1 else np.moveaxis(pixels, 0, -1)
    elif pixels.ndim != 2:
        raise ShapeError(f"to_image: expected (H, W), (1, H, W) or (3, H, W), got {pixels.shape}")
    if pixels.dtype.kind == "f" or pixels.dtype.name == "bfloat16":
        pixels = np.rint(np.clip(np.nan_to_num(pixels.astype(np.float32)), 0, 1) * 255)
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))


def save_image(array: Any, path: str | os.PathLike[str]) -> None:
    """Write an array, tensor or PIL image to a file, atomically; the name's ending says the format."""
    image = array if isinstance(array, Image.Image) else to_image(array)
    suffix = Path(path).suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind is None:
        raise ArgumentTypeError(f"save_image: unknown ending {suffix!r} of {os.fspath(path)}", fix="use .png")
    with atomic_write(path) as file:
        image.save(file, format=kind)
