"""Elementwise operations: from what a call costs to what memory gives."""

from __future__ import annotations

from typing import Any

from mlcore_bench.rows import Inputs, Task, both, normal

GROUP = "elementwise"
SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
OPERATIONS = ("add", "multiply", "exp", "tanh", "gelu")


def _call(name: str) -> Any:
    def build(lib: Any, data: Inputs) -> Task:
        inputs = [lib.tensor(one) for one in data.values()]
        return lib.task(lambda: lib.call(name, *inputs))  # type: ignore[no-any-return]

    return build


for _size in SIZES:
    for _name in OPERATIONS:
        _shapes = dict.fromkeys("xy" if _name in ("add", "multiply") else "x", (_size,))
        both(GROUP, f"{_name}, {_size:.0e} float32".replace("e+0", "e"), _call(_name), normal(**_shapes))
