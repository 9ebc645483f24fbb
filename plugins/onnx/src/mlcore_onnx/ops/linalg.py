"""Products of matrices, and what belongs to them."""

from __future__ import annotations

from typing import Any

import mlcore as ml
from mlcore.errors import ShapeError
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import widest


@onnx_op("MatMul", 1)
def matmul(a: Any, b: Any) -> Any:
    return ml.matmul(a, b)


@onnx_op("Gemm", 7)
def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Any:
    plain = transB and not transA and alpha == 1.0 and beta == 1.0 and a.dtype.kind == "f"
    if plain and c is not None and c.shape == b.shape[:1]:
        return ml.nn.functional.linear(a, b, c)
    y = ml.matmul(a.mT if transA else a, b.mT if transB else b)
    if alpha != 1.0:
        y = y * alpha if y.dtype.kind == "f" else ml.astype(ml.astype(y, widest(y)) * alpha, y.dtype)
    if c is None or beta == 0.0:
        return y
    if beta != 1.0:
        c = c * beta if c.dtype.kind == "f" else ml.astype(ml.astype(c, widest(c)) * beta, c.dtype)
    return y + c


@onnx_op("Einsum", 12, grows=True)
def einsum(*xs: Any, equation: str) -> Any:
    return ml.einsum(equation.replace(" ", ""), *xs)


@onnx_op("Det", 11)
def det(x: Any) -> Any:
    """By elimination, row after row, with the largest pivot: differentiable, on any device."""
    n = x.shape[-1]
    if x.ndim < 2 or x.shape[-2] != n:
        raise ShapeError(f"Det of {x.shape}", fix="use square matrices")
    lead = x.shape[:-2]
    rest = ml.reshape(x, (-1, n, n))
    total = ml.ones((rest.shape[0],), dtype=x.dtype, device=x.device)
    for left in range(n, 0, -1):
        best = ml.argmax(ml.abs(rest[:, :, 0]), axis=1)
        total = ml.where(ml.equal(best, 0), total, ml.negative(total))
        line = ml.arange(left, device=x.device)
        swapped = ml.where(ml.equal(line[None, :], best[:, None]), 0, line[None, :])
        swapped = ml.concat([best[:, None], swapped[:, 1:]], axis=1)
        rest = ml.take_along_axis(rest, ml.broadcast_to(swapped[:, :, None], rest.shape), axis=1)
        pivot = rest[:, 0, 0]
        total = total * pivot
        if left > 1:
            scale = rest[:, 1:, :1] / ml.where(ml.equal(pivot, 0), 1, pivot)[:, None, None]
            rest = rest[:, 1:, 1:] - scale * rest[:, :1, 1:]
    return ml.reshape(total, lead)
