"""Matrix products: of integers too, which MLX lacks, exactly and modulo their width; linear layers."""

from __future__ import annotations

import math
from typing import Any

from mlcore.dtypes import floating, int8, numeric
from mlcore_metal.catalog import kernel, maker
from mlcore_metal.elementwise import INTEGERS, narrow, wide
from mlcore_metal.library import mx
from mlcore_metal.reduce import sum_of

SMALL = 1 << 20  # products up to which all of them are made at once and added up
_STEP = 256  # bytes in one sum: 256 * 255 * 255 is below 2**24, so float32 adds them up exactly
_UNSIGNED = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}


@maker("contract", dtypes=numeric)
def contract(op: Any, backend: Any) -> Any:
    """Of integers by the kernel of this package on a GPU."""
    from mlcore_metal import metal_kernels

    integers = metal_kernels.integer_matmul if backend.own_kernels else integer_product

    return lambda x1, x2: integers(x1, x2) if x1.dtype in INTEGERS else product(x1, x2)


def product(x1: Any, x2: Any) -> Any:
    """A product of floats or complex numbers; MLX adds two-byte floats up in float32, and rounds once."""
    if 0 in x1.shape or 0 in x2.shape:
        shape = (*_batch(x1, x2), x1.shape[-2], x2.shape[-1])
        return mx.zeros(shape, dtype=x1.dtype)
    return x1 @ x2


def _batch(x1: Any, x2: Any) -> tuple[int, ...]:
    return tuple(mx.broadcast_shapes(x1.shape[:-2], x2.shape[:-2]))


def integer_product(x1: Any, x2: Any) -> Any:
    """Modulo the width: small ones as a sum of all products, others as float products of their bytes."""
    dtype, (rows, inner, columns) = x1.dtype, (x1.shape[-2], x1.shape[-1], x2.shape[-1])
    count = math.prod(_batch(x1, x2)) * rows * inner * columns
    if not count:
        return mx.zeros((*_batch(x1, x2), rows, columns), dtype=dtype)
    if count <= SMALL:
        every = mx.expand_dims(x1, -1) * mx.expand_dims(x2, -3)
        return narrow(mx.sum(every, axis=-2), dtype)
    return _by_bytes(x1, x2)


def _by_bytes(x1: Any, x2: Any) -> Any:
    """x is the sum of its bytes times 256**i: pairs of bytes below the width are multiplied in float32, exactly."""
    kind = _UNSIGNED[x1.dtype.size]
    left, right = (_bytes(one.view(kind)) for one in (x1, x2))
    total: Any = None
    for start in range(0, x1.shape[-1], _STEP):
        key = slice(start, start + _STEP)
        for i, a in enumerate(left):
            for j, b in enumerate(right[: len(left) - i]):
                part = (a[..., key] @ b[..., key, :]).astype(mx.uint32).astype(kind)
                part = part << mx.array(8 * (i + j), dtype=kind) if i + j else part
                total = part if total is None else total + part
    return total.view(x1.dtype)


def _bytes(x: Any) -> list[Any]:
    """The bytes of unsigned integers as float32, the lowest first."""
    low = mx.array(255, dtype=x.dtype)
    shifted = (x >> mx.array(8 * i, dtype=x.dtype) if i else x for i in range(x.dtype.size))
    return [(one & low).astype(mx.float32) for one in shifted]


@kernel("contract_wide", dtypes={int8})
def contract_wide(x1: Any, x2: Any) -> Any:
    return integer_product(x1.astype(mx.int32), x2.astype(mx.int32))


# -- linear layers -----------------------------------------------------------------------------------------------


@kernel("linear", dtypes=floating)
def linear(x: Any, weight: Any, bias: Any) -> Any:
    """Product and sum in one kernel of MLX's."""
    rows, shape = math.prod(x.shape[:-1]), (*x.shape[:-1], weight.shape[0])
    if not x.size or not weight.size:
        empty = mx.zeros((rows, weight.shape[0]), dtype=x.dtype)
        return (empty if bias is None else empty + bias).reshape(shape)
    flat = x.reshape(rows, x.shape[-1])
    found = flat @ weight.T if bias is None else mx.addmm(bias, flat, weight.T)
    return found.reshape(shape)


@kernel("linear_grad", dtypes=floating)
def linear_grad(g: Any, x: Any, weight: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    rows = g.reshape(math.prod(g.shape[:-1]), g.shape[-1])
    found = []
    if needs[0]:
        found.append(product(rows, weight).reshape(x.shape))
    if needs[1]:
        found.append(product(rows.T, x.reshape(math.prod(x.shape[:-1]), x.shape[-1])))
    if needs[2]:
        found.append(narrow(sum_of(wide(rows), (0,)), g.dtype))
    return tuple(found)
