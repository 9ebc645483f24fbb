"""The five 3x3 convolutions of ResNet-18 on 32x32 images, batch 32, and a pooling."""

from __future__ import annotations

from typing import Any

from mlcore_bench.rows import Inputs, Task, both, normal

GROUP = "convolution"
# input channels, output channels, size of the image
LAYERS = [(3, 64, 32), (64, 64, 32), (128, 128, 16), (256, 256, 8), (512, 512, 4)]
BATCH = 32


def _forward(lib: Any, data: Inputs) -> Task:
    x, w = lib.tensor(data["x"]), lib.tensor(data["w"])
    return lib.task(lambda: lib.functional.conv2d(x, w, padding=1))  # type: ignore[no-any-return]


def _both_ways(lib: Any, data: Inputs) -> Task:
    w, g = lib.tensor(data["w"], True), lib.tensor(data["g"])
    x = lib.tensor(data["x"], data["x"].shape[1] > 3)  # nobody asks for the gradient of the images

    def step() -> Any:
        x.grad = w.grad = None
        y = lib.functional.conv2d(x, w, padding=1)
        y.backward(g)
        return (y, w.grad) if x.grad is None else (y, w.grad, x.grad)

    return lib.task(step)  # type: ignore[no-any-return]


for _in, _out, _size in LAYERS:
    _shapes = dict(x=(BATCH, _in, _size, _size), w=(_out, _in, 3, 3), g=(BATCH, _out, _size, _size))
    _name = f"conv 3x3, {_in} to {_out}, {_size}x{_size}"
    both(GROUP, _name, _forward, normal(**_shapes), tolerance=1e-4)
    both(GROUP, f"{_name}, forward + backward", _both_ways, normal(**_shapes), tolerance=1e-4)


def _pool(lib: Any, data: Inputs) -> Task:
    x, g = lib.tensor(data["x"], True), lib.tensor(data["g"])

    def step() -> Any:
        x.grad = None
        y = lib.functional.max_pool2d(x, 2)
        y.backward(g)
        return y, x.grad

    return lib.task(step)  # type: ignore[no-any-return]


both(GROUP, "max_pool 2x2, 64 channels, 32x32, forward + backward", _pool,
     normal(x=(BATCH, 64, 32, 32), g=(BATCH, 64, 16, 16)))  # fmt: skip
