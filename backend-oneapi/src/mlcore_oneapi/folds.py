"""Reductions along rows or columns, launched. Other axes, dtypes and devices are left to the generated kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from mlcore.shapes import reduced
from mlcore_oneapi import folds_source as source
from mlcore_oneapi.tools import FLOATS, Tools, merged, numbers

LENGTH: Final = 4096  # elements that are folded in a row before partial results join


def reduction(tools: Tools, kind: str, generated: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of sum, max or min: ours where it can, else the generated one."""

    def run(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype in FLOATS and tools.processor and x.size:
            n = len(x.shape)
            axes = sorted(axis)
            if axes == list(range(n - len(axes), n)):
                made = _rows(tools, kind, x, len(axes))
            elif axes == list(range(len(axes))):
                made = _columns(tools, kind, x, len(axes))
            else:
                made = _around(tools, kind, x, axes)
            if made is not None:
                return made.view(reduced(x.shape, axis, keepdims))
        return generated(x, axis, keepdims)

    return run


def _around(tools: Tools, kind: str, x: Any, axes: list[int]) -> Any | None:
    """Over dimensions at both ends, such as all but the channels: rows first, then columns of what is left."""
    n = len(x.shape)
    kept = [i for i in range(n) if i not in axes]
    if not kept or kept != list(range(kept[0], kept[-1] + 1)):
        return None
    first, last = kept[0], kept[-1] + 1
    made = _rows(tools, kind, x, n - last)
    return None if made is None else _columns(tools, kind, made.view(x.shape[:last]), first)


def _rows(tools: Tools, kind: str, x: Any, count: int) -> Any | None:
    """Over the last dimensions; None where they are no rows of neighbours."""
    rank = len(x.shape) - count
    tail, lead = merged(x.shape[rank:], x.strides[rank:]), merged(x.shape[:rank], x.strides[:rank])
    if len(tail) > 1 or len(lead) > 1 or (tail and tail[0][1] != 1):
        return None
    rows, n = math.prod(x.shape[:rank]), math.prod(x.shape[rank:])
    parts = max(1, min(-(-n // LENGTH), 4 * tools.units if rows < tools.units else 1))
    length = -(-n // parts)
    made = tools.arrays.empty((rows * parts,), x.dtype)
    size, per = tools.shares(rows * parts, length)
    words = numbers(rows, n, x.offset, lead[0][1] if lead else 0, per, length, parts)
    tools.run(tools.get(source.fold_rows, x.dtype, kind), (x, made), words, (size, 1, 1))
    return made if parts == 1 else _rows(tools, kind, made.view((rows, parts)), 1)


def _columns(tools: Tools, kind: str, x: Any, count: int) -> Any | None:
    """Over the first dimensions; None where the others are no rows of neighbours."""
    tail, lead = merged(x.shape[count:], x.strides[count:]), merged(x.shape[:count], x.strides[:count])
    if len(tail) > 1 or len(lead) > 1 or (tail and tail[0][1] != 1):
        return None
    rows, n = math.prod(x.shape[:count]), math.prod(x.shape[count:])
    lanes = 8 if x.dtype.itemsize == 8 else 16
    blocks = -(-n // lanes)
    parts = max(1, min(-(-4 * tools.units // blocks), rows // 64), -(-rows // LENGTH))
    length = -(-rows // parts)
    parts = -(-rows // length)
    made = tools.arrays.empty((parts, n), x.dtype)
    words = numbers(rows, n, x.offset, lead[0][1] if lead else 0, 0, length, parts)
    tools.run(tools.get(source.fold_columns, x.dtype, kind), (x, made), words, (blocks, parts, 1))
    return made if parts == 1 else _columns(tools, kind, made, 1)
