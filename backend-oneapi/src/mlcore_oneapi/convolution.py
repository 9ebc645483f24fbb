"""Convolutions and their gradients: matrix products of panels that are made from the picture in one pass.

The columns that an unfolded picture has are written as the panels a product reads, so nothing is packed twice; a batch
goes through in pieces that stay small.
"""

from __future__ import annotations

import math
from typing import Any, Final

from mlcore.dtypes import DType
from mlcore.shapes import windows
from mlcore_oneapi import windows_source as source
from mlcore_oneapi.planes_source import fold_planes
from mlcore_oneapi.products import VECTORS, Bias, Grid, Operand, Panels, packed, panels, product, width
from mlcore_oneapi.products_source import ROW_BIAS
from mlcore_oneapi.tools import Tools, numbers

PIECE: Final = 2 << 20  # bytes of unfolded pictures at a time: what stays in a cache
CHUNK: Final = 64  # rows of a panel that one work-item makes

Three = tuple[int, int, int]


def three(values: Any, fill: int) -> Three:
    """One to three numbers as three, the first ones filled up."""
    values = tuple(values)
    return (*(fill,) * (3 - len(values)), *values)


class Geometry:
    """A convolution's sizes, of three dimensions whatever it has, and the words that describe them."""

    __slots__ = (
        "before", "channels", "dilation", "elements", "groups", "images", "kernel", "out_sizes", "outputs", "places",
        "sizes", "step",
    )  # fmt: skip

    def __init__(
        self,
        x_shape: Any,
        weight_shape: Any,
        counts: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> None:
        self.images, self.groups = x_shape[0], groups
        self.channels, self.outputs = weight_shape[1], weight_shape[0] // groups  # of a group
        self.sizes, self.kernel = three(x_shape[2:], 1), three(weight_shape[2:], 1)
        self.step, self.dilation = three(stride, 1), three(dilation, 1)
        self.before = three([one[0] for one in padding], 0)
        self.out_sizes = three(counts, 1)
        self.places = math.prod(self.out_sizes)
        self.elements = self.channels * math.prod(self.kernel)

    def words(self, x: Any) -> list[int]:
        """What `IMAGE` names, for a picture."""
        return self.described(x.offset, x.strides[0], x.strides[1], x.strides[2:])

    def described(self, at: int, image: int, channel: int, spatial: Any) -> list[int]:
        """The same from strides."""
        return [
            at, image, self.channels * channel, channel, *three(spatial, 0), *self.sizes, *self.kernel, *self.step,
            *self.dilation, *self.before, *self.out_sizes,
        ]  # fmt: skip

    @property
    def is_product(self) -> bool:
        """Whether each place is made from one element of each channel, as it stands."""
        return (
            math.prod(self.kernel) == 1
            and max(self.step) == 1
            and not any(self.before)
            and self.out_sizes == self.sizes
        )

    def pieces(self, bytes_each: int, least: int = 0) -> list[tuple[int, int]]:
        """(first image, images) of each piece of the batch; a piece has at least `least` bytes."""
        count = max(1, min(self.images, max(PIECE, least) // max(1, bytes_each)))
        return [(i, min(count, self.images - i)) for i in range(0, self.images, count)]


def convolution(
    tools: Tools, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Cross-correlation of x (N, C, *sizes) with weight, plus bias."""
    counts = [
        windows("convolution", *one) for one in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    ]
    shape = (x.shape[0], weight.shape[0], *counts)
    y = tools.arrays.empty(shape, x.dtype)
    if not math.prod(shape):
        return y
    weight = tools.arrays.contiguous(weight)
    geometry = Geometry(x.shape, weight.shape, shape[2:], stride, padding, dilation, groups)
    more = None if bias is None else Bias(ROW_BIAS, bias, bias.offset, bias.strides[0])
    left = Operand(weight, weight.offset, geometry.elements, 1, 0, 0, geometry.outputs * geometry.elements)
    side, whole = geometry.places, groups * geometry.outputs * geometry.places
    if geometry.is_product and _joined(x):
        size = Grid(geometry.outputs, side, geometry.channels, 1, geometry.images, groups)
        channel = x.strides[1]
        right = Operand(x, x.offset, channel, _last(x), 0, x.strides[0], geometry.channels * channel)
        product(tools, x.dtype, size, left, right, _result(y, 0, side, whole, geometry), more)
        return y
    each = geometry.elements * side * x.dtype.itemsize * groups
    for first, count in geometry.pieces(each):
        size = Grid(geometry.outputs, side, geometry.elements, 1, count, groups)
        made = _unfolded(tools, x.dtype, geometry, geometry.words(x), x, first, count)
        panels(tools, x.dtype, size, left, made, _result(y, first, side, whole, geometry), more)
    return y


def _result(y: Any, first: int, side: int, whole: int, geometry: Geometry) -> Operand:
    return Operand(y, y.offset + first * whole, side, 1, 0, whole, geometry.outputs * side)


def _joined(x: Any) -> bool:
    """Whether a picture's sizes are one walk."""
    step = None
    size = 1
    for have, stride in zip(reversed(x.shape[2:]), reversed(x.strides[2:])):
        if have == 1:
            continue
        if step is not None and stride != step * size:
            return False
        step = stride if step is None else step
        size *= have
    return True


def _last(x: Any) -> int:
    return next((s for d, s in zip(reversed(x.shape[2:]), reversed(x.strides[2:])) if d != 1), 1)


def _unfolded(
    tools: Tools, dtype: DType, geometry: Geometry, words: list[int], x: Any, first: int, count: int
) -> Panels:
    """Panels whose columns are places and whose rows are (channel, kernel element)."""
    side = width(dtype)
    across = -(-geometry.places // side)
    one = geometry.elements * side
    made = tools.arrays.empty((count * geometry.groups * across * one,), dtype)
    chunks = -(-geometry.elements // CHUNK)
    kernel = tools.get(source.unfold, dtype, VECTORS, joined=False)
    tools.run(
        kernel, (x, made),
        numbers(*words, geometry.places, geometry.elements, geometry.groups, CHUNK, chunks, count, first),
        (across, chunks, count * geometry.groups),
    )  # fmt: skip
    return Panels(made, 0, one, side, 0, geometry.groups * across * one, across * one)


def convolution_grad_input(
    tools: Tools,
    grad: Any,
    weight: Any,
    input_shape: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Any:
    """The gradient of the input: the columns that the product of the turned weight makes, folded."""
    y = tools.arrays.empty(input_shape, grad.dtype)
    if not math.prod(input_shape):
        return y
    if not math.prod(grad.shape):
        return tools.arrays.zeros(input_shape, grad.dtype)
    weight = tools.arrays.contiguous(weight)
    geometry = Geometry(input_shape, weight.shape, grad.shape[2:], stride, padding, dilation, groups)
    turned = _turned_padding(geometry, grad.shape[2:], input_shape[2:], padding)
    if turned is not None and geometry.outputs <= 2 * geometry.channels:
        shape = (input_shape[1], geometry.outputs, *weight.shape[2:])
        around = tools.arrays.contiguous(_turned(weight, groups)).view(shape)
        return convolution(tools, grad, around, None, stride, turned, dilation, groups)
    if not _joined(grad):
        grad = tools.arrays.contiguous(grad)
    side, dtype = geometry.places, grad.dtype
    left = Operand(weight, weight.offset, 1, geometry.elements, 0, 0, geometry.outputs * geometry.elements)
    one = geometry.elements * side
    plane = math.prod(geometry.sizes)
    for first, count in geometry.pieces(one * groups * dtype.itemsize):
        direct = geometry.is_product
        made = y if direct else tools.arrays.empty((count * groups * one,), dtype)
        at = y.offset + first * groups * one if direct else 0
        right = Operand(
            grad, grad.offset + first * grad.strides[0], grad.strides[1], _last(grad), 0, grad.strides[0],
            geometry.outputs * grad.strides[1],
        )  # fmt: skip
        size = Grid(geometry.elements, side, geometry.outputs, 1, count, groups)
        product(tools, dtype, size, left, right, Operand(made, at, side, 1, 0, groups * one, one))
        if direct:
            continue
        _folded(tools, geometry, made, y, first * groups * geometry.channels * plane, count)
    return y


def _folded(tools: Tools, geometry: Geometry, columns: Any, y: Any, at: int, images: int) -> None:
    """Add the columns of some images up in their pictures."""
    planes = images * geometry.groups * geometry.channels
    plane = math.prod(geometry.sizes)
    words = numbers(*geometry.described(0, 0, 0, (0, 0, 0)), planes * plane, y.offset + at, 0)
    if tools.processor:
        size, _ = tools.shares(planes, plane * math.prod(geometry.kernel))
        tools.run(tools.get(fold_planes, y.dtype), (columns, y), words, (size, 1, 1))
    else:
        kernel = tools.get(source.fold, y.dtype, local=(source.GROUP, 1, 1))
        tools.run(kernel, (columns, y), words, items(tools, planes * plane))


def _turned_padding(geometry: Geometry, counts: Any, sizes: Any, padding: Any) -> Any | None:
    """The padding with which a convolution of the gradient gives the input's gradient; None where none does."""
    if max(geometry.step) > 1 or geometry.is_product:
        return None
    rank = len(counts)
    found = []
    for n, size, kernel, dilation, pad in zip(
        counts, sizes, geometry.kernel[3 - rank :], geometry.dilation[3 - rank :], padding, strict=True
    ):
        reach = (kernel - 1) * dilation
        before = reach - pad[0]
        after = size + reach - n - before
        if before < 0 or after < 0:
            return None
        found.append((before, after))
    return tuple(found)


def _turned(weight: Any, groups: int) -> Any:
    """The weight with its channels exchanged and its kernel turned round, as a view."""
    outputs, channels, *kernel = weight.shape
    grouped = weight.view((groups, outputs // groups, channels, *kernel))
    axes = (0, 2, 1, *range(3, 3 + len(kernel)))
    whole = [(0, d, 1) for d in (groups, channels, outputs // groups)]
    return grouped.permuted(axes).sliced([*whole, *((d - 1, None, -1) for d in kernel)])


def items(tools: Tools, count: int) -> tuple[int, int, int]:
    """Work-items for a loop over `count` elements, in whole groups."""
    most = 64 * tools.units if tools.processor else 1024 * tools.units
    return source.GROUP * max(1, min(-(-count // source.GROUP), most)), 1, 1


def convolution_grad_weight(
    tools: Tools, grad: Any, x: Any, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """The gradient of the weight: the unfolded pictures, whose places are what is summed over, times the gradient.
    It comes out turned, since the large operand is then read as it was unfolded."""
    if not math.prod(weight_shape) or not math.prod(grad.shape):
        return tools.arrays.zeros(weight_shape, grad.dtype)
    geometry = Geometry(x.shape, weight_shape, grad.shape[2:], stride, padding, dilation, groups)
    if not _joined(grad):
        grad = tools.arrays.contiguous(grad)
    elements, outputs = geometry.elements, geometry.outputs
    shape = (groups, elements, outputs)
    made: Any = None
    each = groups * elements * geometry.places * grad.dtype.itemsize
    for first, count in geometry.pieces(each, 8 * math.prod(shape) * grad.dtype.itemsize):
        part = _weight_part(tools, geometry, grad, x, first, count, shape)
        made = part if made is None else tools.arrays.add(made, part)
    return tools.arrays.contiguous(made.permuted((0, 2, 1))).view(tuple(weight_shape))


def _weight_part(
    tools: Tools, geometry: Geometry, grad: Any, x: Any, first: int, count: int, shape: tuple[int, int, int]
) -> Any:
    """The turned gradient (groups, elements, outputs) from some images."""
    groups, elements, outputs = shape
    dtype, side, places = grad.dtype, width(grad.dtype), count * geometry.places
    across, chunks = -(-places // side), -(-elements // CHUNK)
    unfolded = tools.arrays.empty((groups * across * elements * side,), dtype)
    tools.run(
        tools.get(source.unfold, dtype, VECTORS, joined=True), (x, unfolded),
        numbers(*geometry.words(x), places, elements, groups, CHUNK, chunks, count, first),
        (across, chunks, groups),
    )  # fmt: skip
    step = grad.strides[1]
    right = packed(
        tools, dtype, Grid(elements, outputs, geometry.places, count, 1, groups),
        Operand(
            grad, grad.offset + first * grad.strides[0], _last(grad), step, grad.strides[0], 0, outputs * step
        ),
        always=True,
    )  # fmt: skip
    found = tools.arrays.empty(shape, dtype)
    left = Operand(unfolded, 0, side, 1, elements * side, 0, across * elements * side)
    size = Grid(elements, outputs, side, across, 1, groups, places - (across - 1) * side)
    right = right._replace(repeat=side * right.inner)
    panels(tools, dtype, size, left, right, Operand(found, 0, outputs, 1, 0, 0, elements * outputs))
    return found
