"""Matrix products: square, tall and thin, batched, transposed, with a vector; four dtypes; Linear + bias + GELU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.bench.libraries import Library
from mlcore.bench.rows import Inputs, Task, Work, both, elements, normal

GROUP = "matmul"
SQUARES = (64, 128, 256, 512, 1024, 2048)
SIZES = {"float32": 4, "bfloat16": 2, "float64": 8, "int8": 1}
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float64": 1e-12}


def product_work(a: tuple[int, ...], b: tuple[int, ...], dtype: str = "float32", out: int = 0) -> Work:
    """Of `a @ b`, matrices or stacks of them; `out` bytes an element of the result.

    >>> product_work((2, 3), (3, 4)).flops
    48.0
    """
    columns = b[-1] if len(b) > 1 else 1
    result = elements(a) // a[-1] * columns
    size = SIZES[dtype]
    return Work(2.0 * result * a[-1], size * elements(a, b) + (out or size) * result, dtype)


def _multiply(a: Any, b: Any) -> Any:
    return a @ b


def _product(dtype: str) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        return lib.forward(_multiply, *(lib.tensor(data[key], dtype=dtype) for key in "ab"))

    return build


for _dtype in ("float32", "bfloat16", "float64"):
    for _n in SQUARES:
        _also = ("onednn", "numpy", "jax") if _dtype == "float32" else ()
        both(GROUP, f"{_n}, {_dtype}", _product(_dtype), normal(a=(_n, _n), b=(_n, _n)),
             product_work((_n, _n), (_n, _n), _dtype), also=_also, tolerance=TOLERANCES[_dtype],
             quick=_dtype != "float64" and _n in (64, 512))  # fmt: skip


def _int8(n: int) -> Callable[[np.random.Generator], Inputs]:
    return lambda rng: {key: rng.integers(-128, 128, (n, n), dtype=np.int8) for key in "ab"}


def _int8_product(lib: Library, data: Inputs) -> Task:
    return lib.forward(lib.int8_product, lib.tensor(data["a"]), lib.tensor(data["b"]))


for _n in (256, 1024):
    both(GROUP, f"{_n}, int8 to int32", _int8_product, _int8(_n), product_work((_n, _n), (_n, _n), "int8", 4),
         tolerance=0.0, quick=False)  # fmt: skip

# name, shapes, statement: the transposed operands are views made once, so it is their reading that is timed
_SHAPES: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("tall 16384x64 @ 64x64", (16384, 64), (64, 64)),
    ("wide 64x16384 @ 16384x64", (64, 16384), (16384, 64)),
    ("thin 4096x1024 @ 1024x16", (4096, 1024), (1024, 16)),
    ("batched 512 of 16x16", (512, 16, 16), (512, 16, 16)),
    ("batched 64 of 64x64", (64, 64, 64), (64, 64, 64)),
    ("matrix 4096x4096 @ vector", (4096, 4096), (4096,)),
    ("vector @ matrix 4096x4096", (1, 4096), (4096, 4096)),
]
for _name, _a, _b in _SHAPES:
    both(GROUP, _name, _product("float32"), normal(a=_a, b=_b), product_work(_a, _b),
         also=("onednn", "numpy") if len(_a) == len(_b) == 2 else (), quick="vector" not in _name)  # fmt: skip


def _turned(turned: str) -> Callable[[Library, Inputs], Task]:
    def build(lib: Library, data: Inputs) -> Task:
        made = {key: lib.tensor(data[key]) for key in "ab"}
        return lib.forward(_multiply, *(one.T if key == turned else one for key, one in made.items()))

    return build


for _key, _name in (("a", "transposed a.T @ b, 1024"), ("b", "transposed a @ b.T, 1024")):
    both(GROUP, _name, _turned(_key), normal(a=(1024, 1024), b=(1024, 1024)),
         product_work((1024, 1024), (1024, 1024)), also=("onednn",), quick=False)  # fmt: skip

_ROWS, _IN, _OUT = 1024, 512, 2048


def _layer(lib: Library) -> Callable[..., Any]:
    return lambda x, w, b: lib.functional.gelu(lib.functional.linear(x, w, b))


def _linear(lib: Library, data: Inputs) -> Task:
    return lib.forward(_layer(lib), *(lib.tensor(data[key]) for key in "xwb"))


def _linear_both_ways(lib: Library, data: Inputs) -> Task:
    return lib.both_ways(_layer(lib), [lib.tensor(data[key], True) for key in "xwb"], lib.tensor(data["g"]))


def _scaled(rng: np.random.Generator) -> Inputs:
    made = normal(x=(_ROWS, _IN), w=(_OUT, _IN), b=(_OUT,), g=(_ROWS, _OUT))(rng)
    return {**made, "w": made["w"] / np.float32(np.sqrt(_IN))}


_once = product_work((_ROWS, _IN), (_IN, _OUT))
both(GROUP, "Linear 512-2048 + GELU, 1024 rows", _linear, _scaled, Work(_once.flops, _once.bytes, "float32"),
     tolerance=1e-4)  # fmt: skip
both(GROUP, "Linear 512-2048 + GELU, 1024 rows, forward + backward", _linear_both_ways, _scaled,
     Work(3 * _once.flops, 3 * _once.bytes, "float32"), tolerance=1e-4)  # fmt: skip
