"""Square matrix products in float32 and bfloat16."""

from __future__ import annotations

from typing import Any

from mlcore_bench.rows import Inputs, Task, both, normal

GROUP = "matmul"


def _product(dtype: str) -> Any:
    def build(lib: Any, data: Inputs) -> Task:
        names = {key: lib.tensor(value, dtype=dtype) for key, value in data.items()}
        return lib.task("a @ b", names)  # type: ignore[no-any-return]

    return build


for _dtype, _tolerance in (("float32", 1e-5), ("bfloat16", 2e-2)):
    for _size in (64, 128, 256, 512, 1024):
        both(GROUP, f"matmul {_size}, {_dtype}", _product(_dtype), normal(a=(_size, _size), b=(_size, _size)),
             tolerance=_tolerance)  # fmt: skip
