"""From a picture of one digit (any size, any colours) to what the networks were trained on.

The ink is what differs from the background, whichever of the two is darker. It is cut out and framed as the data sets
did: `frame_digits` for the UCI digits (stretched to 20x32 of a 32x32 bitmap, counted in 4x4 blocks, Garris et al.
1994), `frame_mnist` for MNIST (fitted into 20x20, centre of mass in the middle of 28x28, LeCun et al. 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFilter

from mlcore.errors import DataError

Array = np.ndarray[Any, Any]
LONGEST: Final = 256  # pixels: larger pictures are scaled down first
USUAL_INK: Final = 19.6  # black of the 64 pixels of a UCI digit: the median over the data set
FAINTEST: Final = 0.08  # of the range from black to white: less contrast than this is no ink


def find_ink(image: Image.Image) -> Array:
    """The ink of the largest mark, 0 to 1, cut to its bounding box: float32 (H, W).

    Raises `DataError` for a picture without a mark: all of one colour, or hardly any contrast.

    >>> page = Image.new("RGB", (60, 40), "white"); page.paste((0, 0, 120), (10, 5, 20, 35))
    >>> find_ink(page).shape
    (30, 10)
    """
    gray = _flat_gray(image)
    ink = _from_background(gray)
    mask = _largest_marks(ink > _otsu(ink))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    # The soft edge of the strokes belongs to the ink: one pixel around what is certain.
    soft = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.where(soft, ink, 0).astype(np.float32)[box]


def _flat_gray(image: Image.Image) -> Array:
    """Gray values 0..1 (H, W), transparency on white (or on black where what is visible is light)."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        alpha = np.asarray(layered.getchannel("A"), np.float32) / 255
        visible = np.asarray(layered.convert("L"), np.float32)
        seen = float((visible * alpha).sum() / max(float(alpha.sum()), 1.0))
        page = Image.new("RGBA", layered.size, "black" if alpha.min() < 0.5 and seen > 127 else "white")
        image = Image.alpha_composite(page, layered).convert("RGB")
    if image.mode in ("I;16", "I", "F"):
        values = np.asarray(image, np.float32)
        image = Image.fromarray(np.uint8(255 * (values - values.min()) / max(float(np.ptp(values)), 1e-9)))
    gray = image.convert("L")
    if max(gray.size) > LONGEST:
        gray = gray.copy()
        gray.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
    return np.asarray(gray, np.float32) / 255


def _from_background(gray: Array) -> Array:
    """How far each pixel is from the background, on the side where the mark is; the strongest is 1."""
    height, width = gray.shape
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    edge = np.zeros(gray.shape, bool)
    edge[[0, -1]], edge[:, [0, -1]] = True, True
    # The background is a plane through the pixels of the edge, so that a shadow across the page does not count. The
    # mark may touch the edge: what is far from the median there is left out.
    middle = np.median(gray[edge])
    paper = edge & (np.abs(gray - middle) < 0.2)
    terms = np.stack([np.ones(gray.size), xs.ravel(), ys.ravel()], 1)
    chosen = paper.ravel()
    plane = (
        np.linalg.lstsq(terms[chosen], gray.ravel()[chosen], rcond=None)[0]
        if chosen.sum() > 8
        else [middle, 0, 0]
    )
    away = (terms @ plane).reshape(gray.shape) - gray
    if -away.min() > away.max():
        away = -away  # light on dark
    strongest = float(np.quantile(away, 0.998)) if gray.size > 5000 else float(away.max())
    if not strongest >= FAINTEST:
        raise DataError(
            "no digit found: the picture has hardly any contrast",
            contrast=f"{max(strongest, 0):.3f} of the range from black to white, at least {FAINTEST} is needed",
        )
    return np.clip(away / strongest, 0, 1)


def _otsu(ink: Array) -> float:
    """The threshold that parts the values best in two groups (Otsu 1979)."""
    counts, edges = np.histogram(ink, 64, (0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nanargmax(between)])


def _largest_marks(mask: Array) -> Array:
    """The largest connected mark, and those of a tenth of its size or more (a 5 whose bar does not touch)."""
    labels = np.zeros(mask.shape, np.int32)
    sizes = [0]
    for start in zip(*np.nonzero(mask)):
        if labels[start]:
            continue
        sizes.append(_flood(mask, labels, start, len(sizes)))
    keep = np.asarray(sizes) >= 0.1 * max(sizes)
    keep[0] = False
    result: Array = keep[labels]
    return result


def _flood(mask: Array, labels: Array, start: tuple[int, ...], label: int) -> int:
    """Label the pixels connected with `start` (diagonals too); returns how many they are."""
    height, width = mask.shape
    waiting, count = [start], 0
    labels[start] = label
    while waiting:
        y, x = waiting.pop()
        count += 1
        for ny in range(max(y - 1, 0), min(y + 2, height)):
            for nx in range(max(x - 1, 0), min(x + 2, width)):
                if mask[ny, nx] and not labels[ny, nx]:
                    labels[ny, nx] = label
                    waiting.append((ny, nx))
    return count


def _scaled(ink: Array, height: int, width: int) -> Array:
    """Resized to (height, width), averaging when shrinking."""
    picture = Image.fromarray(np.ascontiguousarray(ink))
    method = (
        Image.Resampling.BOX if height < ink.shape[0] and width < ink.shape[1] else Image.Resampling.BILINEAR
    )
    return np.asarray(picture.resize((max(1, width), max(1, height)), method))


def frame_digits(ink: Array) -> Array:
    """The ink as a UCI digit: float32 (1, 8, 8) in sixteenths.

    A thin pen is made as thick as theirs, and half of the slant taken away. Measured on MNIST's test images, which come
    from other people and other scanners: 86 % are read right by `digits-cnn`, 79 % without these two steps.

    >>> frame_digits(np.ones((30, 6), np.float32))[0, 4].tolist()
    [0.0, 0.0, 0.0, 0.75, 0.75, 0.0, 0.0, 0.0]
    """
    ink = _upright(ink, 0.6)
    height, width = ink.shape
    # Digits were stretched to 20x32, all but slim ones (a 1), which keep their proportions.
    wide = 20 if width > 0.42 * height else max(4, round(32 * width / height))
    left = (32 - wide) // 2
    page = np.zeros((32, 32), np.float32)
    page[:, left : left + wide] = _scaled(ink, 32, wide)
    bitmap = page > 0.5
    usual = int(USUAL_INK * 16 * wide / 20)
    if bitmap.sum() < usual:
        blurred = Image.fromarray(np.uint8(page * 255)).filter(ImageFilter.GaussianBlur(1.2))
        spread = np.asarray(blurred, np.float32) + page  # the page decides between equals
        bitmap |= spread > max(np.sort(spread, axis=None)[-usual], 8)
    counted: Array = bitmap.reshape(8, 4, 8, 4).sum((1, 3))
    return (counted / 16).astype(np.float32)[None]


def _upright(ink: Array, share: float) -> Array:
    """Sheared along x so that `share` of the slant is gone: the slope of x over y, weighted by the ink."""
    height, width = ink.shape
    ys, xs = np.mgrid[:height, :width].astype(np.float64)
    total = max(float(ink.sum()), 1e-9)
    y, x = float((ink * ys).sum()) / total, float((ink * xs).sum()) / total
    spread = float((ink * (ys - y) ** 2).sum())
    slope = share * float((ink * (ys - y) * (xs - x)).sum()) / max(spread, 1e-9)
    margin = int(abs(slope) * height) + 2
    page = Image.fromarray(np.pad(ink, ((0, 0), (margin, margin))))
    moved = np.asarray(
        page.transform(
            page.size, Image.Transform.AFFINE, (1, slope, -slope * y, 0, 1, 0), Image.Resampling.BILINEAR
        )
    )
    columns = np.flatnonzero(moved.max(0) > 0.3)
    return moved[:, columns[0] : columns[-1] + 1] if columns.size else ink


def frame_mnist(ink: Array) -> Array:
    """The ink as an MNIST digit: float32 (1, 28, 28) in 0..1.

    >>> frame_mnist(np.ones((40, 40), np.float32)).sum().item()
    400.0
    """
    height, width = ink.shape
    factor = 20 / max(height, width)
    small = _scaled(ink, round(height * factor), round(width * factor))
    ys, xs = np.mgrid[: small.shape[0], : small.shape[1]]
    weight = max(float(small.sum()), 1e-9)
    top = int(np.clip(round(13.5 - float((small * ys).sum()) / weight), 0, 28 - small.shape[0]))
    left = int(np.clip(round(13.5 - float((small * xs).sum()) / weight), 0, 28 - small.shape[1]))
    framed = np.zeros((1, 28, 28), np.float32)
    framed[0, top : top + small.shape[0], left : left + small.shape[1]] = small
    return framed


FRAMES: Final[Mapping[str, Callable[[Array], Array]]] = {"digits": frame_digits, "mnist": frame_mnist}


def as_text(image: Array) -> str:
    """A small picture in characters, for a terminal: what the network was shown.

    >>> as_text(np.array([[[0.0, 0.5, 1.0]]]))
    '  ▒▒██'
    """
    shades = " ░▒▓█"
    levels = np.clip(np.rint(np.asarray(image)[0] * 4), 0, 4).astype(int)
    return "\n".join("".join(shades[level] * 2 for level in row).rstrip() for row in levels)
