"""Reductions of 4096 x 1024 float32, normalisations and losses with their gradients, cumulative sums and sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.bench.libraries import Library
from mlcore.bench.rows import Inputs, Task, Work, both, elements, normal

GROUP = "reductions"
SHAPE = (4096, 1024)
SIZE = elements(SHAPE)
BOTH_WAYS = "forward + backward"
Function = Callable[..., Any]


def _fold(name: str, **how: Any) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        return lib.forward(lambda x: lib.call(name, x, **how), lib.tensor(data["x"]))

    return build


for _name, _flops in (("sum", 1), ("mean", 1), ("max", 1), ("var", 3), ("argmax", 1)):
    for _axis, _text in ((None, "all"), (0, "first axis"), (-1, "last axis")):
        _how: dict[str, Any] = {} if _axis is None else {"axis": _axis}
        if _name == "var":
            _how["correction"] = 0
        both(GROUP, f"{_name}, {_text}", _fold(_name, **_how), normal(x=SHAPE), Work(_flops * SIZE, 4 * SIZE),
             tolerance=1e-4, also=("numpy", "jax") if _name != "var" else (), quick=_name == "sum")  # fmt: skip


def _backward(function: Callable[[Library], Function], *grad: str) -> Callable[[Library, Inputs], Task]:
    """Forward + backward of a function of the inputs, "g" the gradient that comes in."""

    def build(lib: Library, data: Inputs) -> Task:
        made = {key: lib.tensor(value, key in grad) for key, value in data.items()}
        incoming = made.pop("g", None)
        return lib.both_ways(function(lib), list(made.values()), incoming)

    return build


def _classified(rng: np.random.Generator) -> Inputs:
    return {"x": rng.standard_normal(SHAPE, np.float32), "target": rng.integers(0, SHAPE[1], SHAPE[0])}


_ROW = SHAPE[-1:]
_NORMED = dict(x=SHAPE, w=_ROW, b=_ROW, g=SHAPE)
# Forward reads x and writes y; backward reads the gradient and one of them, and writes a gradient.
_FIVE = Work(30 * SIZE, 5 * 4 * SIZE)
both(GROUP, f"softmax, {BOTH_WAYS}", _backward(lambda lib: lambda x: lib.functional.softmax(x, -1), "x"),
     normal(x=SHAPE, g=SHAPE), _FIVE)  # fmt: skip
both(GROUP, f"log_softmax, {BOTH_WAYS}", _backward(lambda lib: lambda x: lib.functional.log_softmax(x, -1), "x"),
     normal(x=SHAPE, g=SHAPE), _FIVE)  # fmt: skip
both(GROUP, f"layer_norm, {BOTH_WAYS}",
     _backward(lambda lib: lambda x, w, b: lib.functional.layer_norm(x, _ROW, w, b), *"xwb"),
     normal(**_NORMED), _FIVE, tolerance=1e-4)  # fmt: skip
both(GROUP, f"rms_norm, {BOTH_WAYS}",
     _backward(lambda lib: lambda x, w: lib.functional.rms_norm(x, _ROW, w, 1e-6), *"xw"),
     normal(x=SHAPE, w=_ROW, g=SHAPE), _FIVE, tolerance=1e-4)  # fmt: skip
both(GROUP, f"batch_norm, {BOTH_WAYS}",
     _backward(lambda lib: lambda x, w, b: lib.functional.batch_norm(x, None, None, w, b, True), *"xwb"),
     normal(**_NORMED), _FIVE, tolerance=1e-4)  # fmt: skip
both(GROUP, f"cross_entropy, {BOTH_WAYS}",
     _backward(lambda lib: lambda x, target: lib.functional.cross_entropy(x, target), "x"),
     _classified, Work(25 * SIZE, 3 * 4 * SIZE))  # fmt: skip

for _axis, _text in ((0, "first axis"), (1, "last axis")):
    both(GROUP, f"cumsum, {_text}", _fold("cumulative_sum", axis=_axis), normal(x=SHAPE), Work(SIZE, 8 * SIZE),
         tolerance=1e-4, quick=_axis == 1)  # fmt: skip
both(
    GROUP,
    "sort, last axis",
    _fold("sort", axis=-1),
    normal(x=SHAPE),
    Work(10 * SIZE, 8 * SIZE),
    also=("numpy",),
)


def _topk(lib: Library, data: Inputs) -> Task:
    return lib.forward(lambda x: lib.call("topk", x, 10, axis=-1)[0], lib.tensor(data["x"]))


both(GROUP, "topk 10, last axis", _topk, normal(x=SHAPE), Work(SIZE, 4 * SIZE))
