"""Elementwise operations: from what a call costs to what memory gives; strided and broadcast inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.bench.libraries import Library
from mlcore.bench.rows import Inputs, Task, Work, both, elements, normal

GROUP = "elementwise"
SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
STREAMED = ("add,", "multiply,")  # nothing but traffic
ALSO = ("numpy", "jax")

# name: inputs, arithmetic an element in a polynomial of this accuracy, bytes an element of the result, arguments
OPERATIONS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "add": ("xy", 1, 4, {}),
    "multiply": ("xy", 1, 4, {}),
    "exp": ("x", 20, 4, {}),
    "tanh": ("x", 30, 4, {}),
    "gelu": ("x", 40, 4, {}),
    "gelu (tanh)": ("x", 40, 4, {"approximate": "tanh"}),
    "sigmoid": ("x", 25, 4, {}),
    "greater": ("xy", 1, 1, {}),
}


def _call(name: str, **how: Any) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        inputs = [lib.tensor(one) for one in data.values()]
        return lib.forward(lambda *tensors: lib.call(name, *tensors, **how), *inputs)

    return build


def _astype(lib: Library, data: Inputs) -> Task:
    kind = lib.dtype("float64")
    return lib.forward(lambda x: lib.call("astype", x, kind), lib.tensor(data["x"]))


def _choice(size: int) -> Callable[[np.random.Generator], Inputs]:
    def inputs(rng: np.random.Generator) -> Inputs:
        x, y = (rng.standard_normal(size, np.float32) for _ in "xy")
        return {"c": rng.random(size, np.float32) < 0.5, "x": x, "y": y}

    return inputs


def _sized(name: str, size: int) -> str:
    return f"{name}, {size:.0e} float32".replace("e+0", "e")


for _size in SIZES:
    for _name, (_keys, _flops, _bytes, _how) in OPERATIONS.items():
        both(GROUP, _sized(_name, _size), _call(_name.partition(" ")[0], **_how),
             normal(**dict.fromkeys(_keys, (_size,))), Work(_flops * _size, (4 * len(_keys) + _bytes) * _size),
             also=() if "(" in _name else ALSO, quick=_name in ("add", "exp", "tanh") and _size != 100_000)  # fmt: skip
    both(GROUP, _sized("where", _size), _call("where"), _choice(_size), Work(_size, 13 * _size), also=ALSO,
         quick=False)  # fmt: skip
    both(GROUP, _sized("astype float64", _size), _astype, normal(x=(_size,)), Work(_size, 12 * _size),
         also=("numpy",), quick=False)  # fmt: skip


def _view(change: Callable[[Any], Any]) -> Callable[[Library, Inputs], Task]:
    """The sum of a view of x and y. The view is made once: what is timed is the reading through it."""

    def build(lib: Library, data: Inputs) -> Task:
        x, y = change(lib.tensor(data["x"])), lib.tensor(data["y"])
        return lib.forward(lambda a, b: lib.call("add", a, b), x, y)

    return build


_SIDE = (1000, 1000)
_VIEWS: list[tuple[str, Callable[[Any], Any], tuple[int, ...], tuple[int, ...]]] = [
    ("every second column + y, 1e6", lambda x: x[:, ::2], (1000, 2000), _SIDE),
    ("transposed + y, 1e6", lambda x: x.T, _SIDE, _SIDE),
    ("a row broadcast + y, 1e6", lambda x: x, (1000,), _SIDE),
    ("a column broadcast + y, 1e6", lambda x: x, (1000, 1), _SIDE),
    ("a column + a row, 1e6", lambda x: x, (1000, 1), (1, 1000)),
]
for _name, _change, _x, _y in _VIEWS:
    both(
        GROUP,
        _name,
        _view(_change),
        normal(x=_x, y=_y),
        Work(1e6, 4 * (elements(_x, _y) + 1e6)),
        also=("numpy",),
    )
