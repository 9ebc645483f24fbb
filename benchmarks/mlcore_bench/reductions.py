"""Reductions of 4096 x 1024 float32, and softmax, layer norm and cross-entropy with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore_bench.rows import Inputs, Task, both, normal

GROUP = "reductions"
SHAPE = (4096, 1024)


def _fold(name: str, axis: int | None) -> Any:
    def build(lib: Any, data: Inputs) -> Task:
        x = lib.tensor(data["x"])
        if axis is None:
            return lib.task(lambda: lib.call(name, x))  # type: ignore[no-any-return]
        return lib.task(lambda: lib.call(name, x, axis=axis))  # type: ignore[no-any-return]

    return build


for _name in ("sum", "mean", "max"):
    for _axis, _text in ((None, "all"), (0, "first axis"), (-1, "last axis")):
        both(GROUP, f"{_name}, {_text}", _fold(_name, _axis), normal(x=SHAPE), tolerance=1e-4)


def _softmax(lib: Any, data: Inputs) -> Task:
    x, g = lib.tensor(data["x"], True), lib.tensor(data["g"])

    def step() -> Any:
        x.grad = None
        y = lib.functional.softmax(x, -1)
        y.backward(g)
        return y, x.grad

    return lib.task(step)  # type: ignore[no-any-return]


def _layer_norm(lib: Any, data: Inputs) -> Task:
    x, w, b = (lib.tensor(data[key], True) for key in "xwb")
    g = lib.tensor(data["g"])

    def step() -> Any:
        x.grad = w.grad = b.grad = None
        y = lib.functional.layer_norm(x, SHAPE[-1:], w, b)
        y.backward(g)
        return y, x.grad, w.grad, b.grad

    return lib.task(step)  # type: ignore[no-any-return]


def _cross_entropy(lib: Any, data: Inputs) -> Task:
    x, target = lib.tensor(data["x"], True), lib.tensor(data["target"])

    def step() -> Any:
        x.grad = None
        loss = lib.functional.cross_entropy(x, target)
        loss.backward()
        return loss, x.grad

    return lib.task(step)  # type: ignore[no-any-return]


def _classified(rng: np.random.Generator) -> Inputs:
    return {"x": rng.standard_normal(SHAPE, np.float32), "target": rng.integers(0, SHAPE[1], SHAPE[0])}


_BOTH_WAYS = "forward + backward"
both(GROUP, f"softmax, {_BOTH_WAYS}", _softmax, normal(x=SHAPE, g=SHAPE))
both(
    GROUP,
    f"layer_norm, {_BOTH_WAYS}",
    _layer_norm,
    normal(x=SHAPE, g=SHAPE, w=SHAPE[-1:], b=SHAPE[-1:]),
    tolerance=1e-4,
)
both(GROUP, f"cross_entropy, {_BOTH_WAYS}", _cross_entropy, _classified)
