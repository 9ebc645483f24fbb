"""Convolutions, forward and with their gradients: ResNet-18 on 32x32 images and other kinds; pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.bench.libraries import Library
from mlcore.bench.models import taps_inside
from mlcore.bench.rows import CHANNELS_LAST, Inputs, Task, Work, both, elements, normal

GROUP = "convolution"
BOTH_WAYS = "forward + backward"
RESNET = [(3, 64, 32), (64, 64, 32), (128, 128, 16), (256, 256, 8), (512, 512, 4)]
BATCH = 32

Shape = tuple[int, ...]


def _forward(name: str, how: dict[str, Any]) -> Callable[..., Task]:
    def build(lib: Library, data: Inputs, channels_last: bool = False) -> Task:
        function = getattr(lib.functional, name)
        x, w = (lib.tensor(data[key]) for key in "xw")
        if channels_last:
            x, w = lib.channels_last(x), lib.channels_last(w)
        return lib.forward(lambda x, w: function(x, w, **how), x, w)

    return build


def _both_ways(name: str, how: dict[str, Any]) -> Callable[..., Task]:
    def build(lib: Library, data: Inputs, channels_last: bool = False) -> Task:
        function = getattr(lib.functional, name)
        # Nobody asks for the gradient of images.
        x, w = lib.tensor(data["x"], data["x"].shape[1] > 3), lib.tensor(data["w"], True)
        incoming = lib.tensor(data["g"])
        if channels_last:
            x, w, incoming = (lib.channels_last(one) for one in (x, w, incoming))
        return lib.both_ways(lambda x, w: function(x, w, **how), [x, w], incoming)

    return build


def _scaled(**shapes: Shape) -> Callable[[np.random.Generator], Inputs]:
    """Weights of a size that keeps the results' near 1."""

    def inputs(rng: np.random.Generator) -> Inputs:
        made = normal(**shapes)(rng)
        return {**made, "w": made["w"] / np.float32(np.sqrt(elements(shapes["w"][1:])))}

    return inputs


def _add(
    name: str, x: Shape, w: Shape, y: Shape, function: str = "conv2d", quick: bool = False, **how: Any
) -> None:
    """Two rows of a convolution of x with w to y."""
    large, small = (y, x) if function.startswith("conv_transpose") else (x, y)
    inside = math.prod(
        taps_inside(size, kernel, how.get("stride", 1), how.get("padding", 0))
        for size, kernel in zip(large[2:], w[2:], strict=True)
    )
    flops = 2.0 * elements(small[:2]) * w[1] * inside
    bytes_ = 4.0 * elements(x, w, y)
    passes = 3 if x[1] > 3 else 2
    also = (CHANNELS_LAST,) if len(x) == 4 else ()
    both(GROUP, name, _forward(function, how), _scaled(x=x, w=w), Work(flops, bytes_, "float32"), tolerance=1e-4,
         also=also, quick=quick)  # fmt: skip
    both(GROUP, f"{name}, {BOTH_WAYS}", _both_ways(function, how), _scaled(x=x, w=w, g=y),
         Work(passes * flops, passes * bytes_, "float32"), tolerance=1e-4, also=also,
         quick=quick)  # fmt: skip


for _in, _out, _size in RESNET:
    _add(f"3x3, {_in} to {_out}, {_size}x{_size}", (BATCH, _in, _size, _size), (_out, _in, 3, 3),
         (BATCH, _out, _size, _size), quick=_in == 128, padding=1)  # fmt: skip
_add("1x1, 256 to 64, 28x28", (16, 256, 28, 28), (64, 256, 1, 1), (16, 64, 28, 28))
_add(
    "depthwise 3x3, 96 channels, 56x56", (8, 96, 56, 56), (96, 1, 3, 3), (8, 96, 56, 56), padding=1, groups=96
)
_add(
    "7x7 stride 2, 3 to 64, 224x224", (8, 3, 224, 224), (64, 3, 7, 7), (8, 64, 112, 112), stride=2, padding=3
)
_add("1d 5, 64 to 128, 1000 long", (16, 64, 1000), (128, 64, 5), (16, 128, 1000), "conv1d", padding=2)
_add("transposed 4x4 stride 2, 64 to 32, 16x16", (16, 64, 16, 16), (64, 32, 4, 4), (16, 32, 32, 32),
     "conv_transpose2d", stride=2, padding=1)  # fmt: skip


def _pool(name: str, grad: bool) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        function = getattr(lib.functional, name)
        x = lib.tensor(data["x"], grad)
        if not grad:
            return lib.forward(lambda x: function(x, 2), x)
        return lib.both_ways(lambda x: function(x, 2), [x], lib.tensor(data["g"]))

    return build


_image, _half = (BATCH, 64, 32, 32), (BATCH, 64, 16, 16)
for _name in ("max_pool2d", "avg_pool2d"):
    _bytes = 4.0 * elements(_image, _half)
    both(GROUP, f"{_name} 2x2, 64 channels, 32x32", _pool(_name, False), normal(x=_image),
         Work(elements(_image), _bytes), quick=False)  # fmt: skip
    both(GROUP, f"{_name} 2x2, 64 channels, 32x32, {BOTH_WAYS}", _pool(_name, True), normal(x=_image, g=_half),
         Work(2 * elements(_image), 2 * _bytes), quick=False)  # fmt: skip
