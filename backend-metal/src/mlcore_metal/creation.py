"""What makes values: constants, ranges, random bits. Nothing here comes from the host but single numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.dtypes import DType, floating
from mlcore_metal.catalog import kernel, maker
from mlcore_metal.library import mx

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # Threefry-2x32 (Salmon et al. 2011), table 2
_MASK = 0xFFFFFFFF


def native(dtype: DType) -> Any:
    """MLX's name of a dtype."""
    return mx.bool_ if dtype.name == "bool" else getattr(mx, dtype.name)


@kernel("fill")
def fill(shape: tuple[int, ...], value: Any, dtype: DType) -> Any:
    """NumPy converts the number, so that it is cut, rounded and wrapped as there."""
    number = np.full((), value, dtype=dtype.numpy)
    if dtype.name == "bfloat16":
        one = mx.array(number.view(np.uint16)).view(mx.bfloat16)
    else:
        one = mx.array(number, dtype=native(dtype))
    return mx.full(shape, one, dtype=one.dtype)


@kernel("iota")
def iota(start: Any, step: Any, size: int, dtype: DType) -> Any:
    """`start + step * i` in 64 bits; of two- and four-byte floats in fixed point, since a GPU has no float64."""
    turns = mx.arange(size, dtype=mx.int64)
    if dtype.kind != "f":
        return (mx.array(start, dtype=mx.int64) + mx.array(step, dtype=mx.int64) * turns).astype(
            native(dtype)
        )
    if dtype.name == "float64":
        first, stride = (mx.array(one, dtype=mx.float64) for one in (start, step))
        return first + stride * turns.astype(mx.float64)
    return fixed_point_range(float(start), float(step), turns).astype(native(dtype))


def fixed_point_range(start: float, step: float, turns: Any) -> Any:
    """`start + step * turns` as float32, from integers of 62 bits and a scale that is a power of two."""
    reach = max(abs(start), abs(start + step * turns.size), abs(step), 1e-300)
    if not math.isfinite(reach):
        return mx.array(start, dtype=mx.float32) + mx.array(step, dtype=mx.float32) * turns.astype(mx.float32)
    shift = 60 - math.frexp(reach)[1]
    first, stride = (mx.array(round(math.ldexp(one, shift)), dtype=mx.int64) for one in (start, step))
    found = (first + stride * turns).astype(mx.float32)
    half = shift // 2  # in two steps: one power of two may be beyond float32
    return found * math.ldexp(1.0, -half) * math.ldexp(1.0, half - shift)


# -- random bits -----------------------------------------------------------------------------------------------------


def _word(value: int) -> Any:
    return mx.array(np.uint32(value & _MASK))


def threefry(key: tuple[int, int], offset: int, count: int) -> Any:
    """`count` words of Threefry-2x32 from a counter on: additions, rotations, exclusive ors of MLX."""
    turns = mx.arange(count, dtype=mx.uint32)
    low = _word(offset)
    x1 = turns + low
    x0 = (x1 < low).astype(mx.uint32) + _word(offset >> 32)  # the carry into the counter's upper half
    words = [_word(k) for k in (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)]
    x0, x1 = x0 + words[0], x1 + words[1]
    for block in range(5):
        for turn in _ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = ((x1 << _word(turn)) | (x1 >> _word(32 - turn))) ^ x0
        x0 = x0 + words[(block + 1) % 3]
        x1 = x1 + words[(block + 2) % 3] + _word(block + 1)
    return x0 ^ x1


def _draw(backend: Any) -> Any:
    """Threefry by the kernel of this package on a GPU, by MLX's functions elsewhere."""
    from mlcore_metal import metal_kernels

    return metal_kernels.threefry if backend.own_kernels else threefry


@maker("random_bits")
def random_bits(op: Any, backend: Any) -> Any:
    draw = _draw(backend)
    return lambda key, offset, shape: draw(key, offset, math.prod(shape)).reshape(shape)


@maker("dropout_mask", dtypes=floating)
def dropout_mask(op: Any, backend: Any) -> Any:
    """0 where the stream's uniform number is below p, else x / (1 - p)."""
    draw = _draw(backend)

    def run(x: Any, p: float, key: tuple[int, int], offset: int) -> Any:
        bits = draw(key, offset, x.size).reshape(x.shape)
        kept = (bits >> _word(8)) >= _word(math.ceil(p * 2**24))
        scale = mx.array(1 / (1 - p), dtype=x.dtype)
        return mx.where(kept, x * scale, mx.zeros((), dtype=x.dtype))

    return run
