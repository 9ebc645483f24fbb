"""A few lines of plotting on Pillow: axes with ticks, lines, a table of counts. No plotting library is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Place = tuple[float, float]
INK: Final[Color] = (38, 43, 51)
SOFT: Final[Color] = (110, 117, 128)
GRID: Final[Color] = (228, 231, 236)
FRAME: Final[Color] = (190, 196, 204)
BLUE: Final[Color] = (0, 114, 178)  # Okabe and Ito's palette, which colour-blind people can tell apart
ORANGE: Final[Color] = (213, 94, 0)
FINE: Final = 3  # drawn so many times larger and scaled down: that smooths the lines


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot."""

    name: str
    values: Sequence[float]
    color: Color


class Canvas:
    """A white page of width x height pixels; all coordinates are in those pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.image = Image.new("RGB", (width * FINE, height * FINE), "white")
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, text: str, size: float = 13, color: Color = INK, anchor: str = "lm"
    ) -> None:
        """Text at (x, y); `anchor` as in Pillow: l, m, r and a, m, b, s."""
        self.draw.text((x * FINE, y * FINE), text, fill=color, font=_font(size), anchor=anchor)

    def text_width(self, text: str, size: float = 13) -> float:
        """How wide the text will be."""
        return float(self.draw.textlength(text, font=_font(size))) / FINE

    def vertical(self, x: float, y: float, text: str, size: float = 13, color: Color = INK) -> None:
        """Text turned to read upwards, its middle at (x, y)."""
        width, height = int(self.text_width(text, size) * FINE) + 4, int(size * 1.6 * FINE)
        part = Image.new("L", (width, height), 0)
        ImageDraw.Draw(part).text((width / 2, height / 2), text, fill=255, font=_font(size), anchor="mm")
        part = part.transpose(Image.Transpose.ROTATE_90)
        place = int(x * FINE - part.width / 2), int(y * FINE - part.height / 2)
        self.image.paste(Image.new("RGB", part.size, color), place, part)

    def line(self, points: Sequence[Place], color: Color, width: float = 1) -> None:
        """A line through the points."""
        scaled = [(x * FINE, y * FINE) for x, y in points]
        self.draw.line(scaled, fill=color, width=max(1, round(width * FINE)), joint="curve")

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: Color | None,
        outline: Color | None = None,
    ) -> None:
        """A rectangle."""
        corners = (x * FINE, y * FINE, (x + width) * FINE - 1, (y + height) * FINE - 1)
        self.draw.rectangle(corners, fill=fill, outline=outline, width=FINE)

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        """A filled circle."""
        corners = [(v + s * radius) * FINE for s in (-1, 1) for v in (x, y)]
        self.draw.ellipse(corners, fill=color)

    def finish(self) -> Image.Image:
        """The page, smooth."""
        return self.image.resize((self.width, self.height), Image.Resampling.BOX)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * FINE)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that cover low..high, at most about `most` of them.

    >>> nice_ticks(0, 1, 6), nice_ticks(92.3, 100, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [92.0, 94.0, 96.0, 98.0, 100.0])
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 0.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that cover low..high; only the powers where those would be too many.

    >>> log_ticks(0.02, 1.5)
    [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [round(factor * 10.0**power, 12) for power in range(first, last + 1) for factor in (1, 2, 5)]
    below = [tick for tick in fine if tick <= low * 1.0001]
    above = [tick for tick in fine if tick >= high * 0.9999]
    inner = [tick for tick in fine if below[-1] <= tick <= above[0]]
    return inner if len(inner) <= 10 else [10.0**power for power in range(first, last + 1)]


def curves(
    canvas: Canvas, x: float, y: float, width: float, height: float, title: str, series: Sequence[Series], *,
    log: bool = False, percent: bool = False, label: str = "epoch",
) -> None:  # fmt: skip
    """Lines over epochs 1, 2, ... inside the given rectangle, with axes, ticks, grid, title and legend."""
    shown = [one for one in series if any(map(math.isfinite, one.values))]
    flat = [v for one in shown for v in _settled(one.values, log) if math.isfinite(v) and (v > 0 or not log)]
    low, high = (min(flat), max(flat)) if flat else (0.1, 1.0)
    ticks = log_ticks(low, max(high, low * 1.5)) if log else nice_ticks(low, max(high, low + 1e-3))
    left, top, right, bottom = x + 58, y + 34, x + width - 12, y + height - 46
    scale: Callable[[float], float] = math.log10 if log else float

    def at_y(value: float) -> float:
        floor, roof = scale(ticks[0]), scale(ticks[-1])
        return bottom - (scale(value) - floor) / (roof - floor) * (bottom - top)

    count = max((len(one.values) for one in shown), default=1)

    def at_x(epoch: float) -> float:
        return left + (epoch - 0.5) / count * (right - left)

    canvas.text(left, y + 12, title, 15)
    for tick in ticks:
        canvas.line([(left, at_y(tick)), (right, at_y(tick))], GRID)
        canvas.text(left - 8, at_y(tick), f"{tick:g} %" if percent else f"{tick:g}", 11, SOFT, "rm")
    for epoch in _epoch_ticks(count):
        canvas.line([(at_x(epoch), bottom), (at_x(epoch), bottom + 4)], FRAME)
        canvas.text(at_x(epoch), bottom + 13, str(epoch), 11, SOFT, "mm")
    canvas.line([(left, top), (left, bottom), (right, bottom)], FRAME)
    canvas.text((left + right) / 2, bottom + 33, label, 12, SOFT, "mm")
    for one in shown:
        points = [
            (at_x(i), at_y(v)) for i, v in enumerate(one.values, 1) if math.isfinite(v) and (v > 0 or not log)
        ]
        for start, stop in pairwise(points):
            if min(start[1], stop[1]) < bottom:
                canvas.line([_cut(start, stop, bottom), _cut(stop, start, bottom)], one.color, 2)
        for point in points if count <= 40 else points[-1:]:
            if point[1] <= bottom + 0.5:
                canvas.dot(*point, 2.6, one.color)
    _legend(canvas, right, y + 12, shown)


def _cut(point: Place, other: Place, bottom: float) -> Place:
    """`point`, or where the line to `other` crosses the lower edge if it lies below that."""
    if point[1] <= bottom:
        return point
    share = (point[1] - bottom) / (point[1] - other[1])
    return point[0] + share * (other[0] - point[0]), bottom


def _settled(values: Sequence[float], log: bool) -> Sequence[float]:
    """Without the first epoch of a long run, whose low accuracy would flatten all that follows."""
    return values if log or len(values) < 6 else values[1:]


def _epoch_ticks(count: int) -> list[int]:
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count / s <= 10), 1000)
    return sorted({1, *range(step, count + 1, step)})


def _legend(canvas: Canvas, right: float, y: float, series: Sequence[Series]) -> None:
    for one in reversed(series):
        right -= canvas.text_width(one.name, 12)
        canvas.text(right, y, one.name, 12, SOFT)
        canvas.line([(right - 24, y), (right - 7, y)], one.color, 2.5)
        right -= 38


def counts(
    canvas: Canvas, x: float, y: float, size: float, title: str, table: Sequence[Sequence[int]], names:
    Sequence[str], *, rows: str, columns: str,
) -> None:  # fmt: skip
    """A square table of counts, the diagonal in blue and what is off it in orange, the darker the more."""
    left, top = x + 46, y + 34
    side = size - 46 - 12
    cell = side / len(names)
    most = max(1, *(max(row) for row in table))
    worst = max([1, *(n for i, row in enumerate(table) for j, n in enumerate(row) if i != j)])
    canvas.text(left, y + 12, title, 15)
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            share = count / most if i == j else 0.25 + 0.75 * count / worst
            color = _tint(BLUE if i == j else ORANGE, share) if count else (250, 251, 252)
            canvas.box(left + j * cell, top + i * cell, cell, cell, color, (255, 255, 255))
            if count and cell >= 12:
                shade = (255, 255, 255) if share > 0.55 else INK
                canvas.text(
                    left + (j + 0.5) * cell,
                    top + (i + 0.5) * cell,
                    str(count),
                    min(12, cell * 0.4),
                    shade,
                    "mm",
                )
    for index, name in enumerate(names):
        middle = (index + 0.5) * cell
        canvas.text(left - 8, top + middle, name, 12, SOFT, "rm")
        canvas.text(left + middle, top + side + 12, name, 12, SOFT, "mm")
    canvas.text(left + side / 2, top + side + 33, columns, 12, SOFT, "mm")
    canvas.vertical(x + 12, top + side / 2, rows, 12, SOFT)


def _tint(color: Color, share: float) -> Color:
    r, g, b = (round(255 + (channel - 255) * (0.08 + 0.92 * share)) for channel in color)
    return r, g, b
