"""Matrix products: matmul, einsum, tensordot and their kin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore import engine, shapes
from mlcore.dtypes import as_dtype, complexes, int8, int32, numeric
from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.methods import matrix_product
from mlcore.ops.cases import sample
from mlcore.ops.elementwise import astype, conj
from mlcore.ops.reduce import add_up
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import as_rows, matrix_transpose, permute_dims, reshape
from mlcore.ops.spec import Outs, composite, function, out, primitive

_PAIRS = (
    ((3, 4), (4, 5)), ((1, 7), (7, 1)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
    ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((33, 65), (65, 17)), ((130, 257), (257, 67)),
)  # fmt: skip


def _t(x: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    turned = matrix_transpose(x)
    return conj(turned) if x.dtype in complexes else turned


def _matmul(x1: np.ndarray[Any, Any], x2: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """NumPy's product; two-byte floats are added up in float32, and the result has their dtype again."""
    if x1.dtype.itemsize == 2 and x1.dtype.kind not in "iu":
        return np.asarray(np.matmul(x1.astype(np.float32), x2.astype(np.float32)), dtype=x1.dtype)
    return np.asarray(np.matmul(x1, x2))


@primitive(
    reference=_matmul, autocast="low", accepts=numeric, ulp=16, public=False, family="contraction", standard="matmul",
    vjp=(
        lambda g, x1_shape, x2: engine.unbroadcast(contract(g, _t(x2)), x1_shape),
        lambda g, x1, x2_shape: _right_grad(g, x1, x2_shape),
    ),
    samples=lambda: [sample(list(pair)) for pair in _PAIRS],
    flops=lambda y, x1, x2: 2 * y.size * x1.shape[-1],
)  # fmt: skip
def contract(x1: Any, x2: Any, /) -> Outs:
    """Matrix product of the last two dimensions, the others broadcasting."""
    if x1.shape[-1] != x2.shape[-2]:
        raise ShapeError(
            f"matmul: {x1.shape} @ {x2.shape}: the inner dimensions differ, {x1.shape[-1]} vs {x2.shape[-2]}",
            fix="transpose or reshape one operand",
        )
    batch = shapes.broadcast("matmul", x1.shape[:-2], x2.shape[:-2])
    return out((*batch, x1.shape[-2], x2.shape[-1]), x1.dtype)


def _right_grad(g: Any, x1: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of the right operand; a matrix that a batch shares gets it in one product."""
    if len(shape) == 2 and x1.ndim > 2:
        rows = as_rows(x1)
        return contract(_t(rows), as_rows(g))
    return engine.unbroadcast(contract(_t(x1), g), shape)


def _wide_rule(x1: Any, x2: Any, /) -> Outs:
    ((shape, _),), _ = contract.rule(x1, x2)
    return out(shape, int32)


@composite(
    _wide_rule, accepts={int8}, result=lambda dtype: int32, public=False,
    samples=lambda: [sample(list(pair)) for pair in _PAIRS],
)  # fmt: skip
def contract_wide(x1: Any, x2: Any, /) -> Any:
    """contract of int8 matrices added up, and returned, in int32."""
    return contract(astype(x1, int32), astype(x2, int32))


@function(
    method=True, operators=("__matmul__", "__rmatmul__"), face=lambda general: matrix_product(contract, general)
)  # fmt: skip
def matmul(x1: Any, x2: Any, /, *, dtype: Any = None) -> Any:
    """Matrix product; a 1-d operand is a row (left) or a column (right), other dimensions broadcast.

    The result has the operands' dtype. With ``dtype=int32``, int8 operands are added up in int32 instead of wrapping
    around, as quantised networks need it; DTypeError for other dtypes.

    >>> import mlcore as ml
    >>> ml.matmul(ml.ones((2, 3)), ml.ones((3, 4))).shape
    (2, 4)
    >>> x = ml.full((1, 9), 100, dtype=ml.int8)
    >>> ml.matmul(x, x.mT, dtype=ml.int32).item()
    90000
    """
    if not x1.shape or not x2.shape:
        raise ShapeError(f"matmul: {x1.shape} @ {x2.shape}: a 0-d operand", fix="use multiply")
    product = contract if dtype is None else _wide(x1, x2, dtype)
    if len(x1.shape) > 1 and len(x2.shape) > 1:
        return product(x1, x2)
    left = x1 if len(x1.shape) > 1 else reshape(x1, (1, -1))
    right = x2 if len(x2.shape) > 1 else reshape(x2, (-1, 1))
    found = product(left, right)
    if len(x1.shape) == 1:
        found = reshape(found, (*found.shape[:-2], found.shape[-1]))
    return found if len(x2.shape) > 1 else reshape(found, found.shape[:-1])


def _wide(x1: Any, x2: Any, dtype: Any) -> Any:
    if not (x1.dtype is int8 and x2.dtype is int8 and as_dtype(dtype) is int32):
        raise DTypeError(
            f"matmul: {x1.dtype} @ {x2.dtype} with dtype={dtype}", cause="only int8 operands have a wider sum, int32",
            fix="astype the operands",
        )  # fmt: skip
    return contract_wide


@function()
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Sum of products along `axis`, the first operand conjugated.

    >>> import mlcore as ml
    >>> ml.vecdot(ml.asarray([1.0, 2.0]), ml.asarray([3.0, 4.0])).item()
    11.0
    """
    place = shapes.normalize_axis("vecdot", axis, min(x1.ndim, x2.ndim)) - min(x1.ndim, x2.ndim)
    if x1.shape[place] != x2.shape[place]:
        raise ShapeError(f"vecdot: shapes {x1.shape} and {x2.shape} differ along axis {axis}",
                         cause="vectors of one length are multiplied, those of length 1 too")  # fmt: skip
    return add_up((conj(x1) if x1.dtype in complexes else x1) * x2, axis=place)


@function()
def tensordot(x1: Any, x2: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Any:
    """Sum of products over several axes: the last `axes` of `x1` with the first of `x2`, or two lists of axes.

    >>> import mlcore as ml
    >>> ml.tensordot(ml.ones((2, 3, 4)), ml.ones((4, 3)), axes=([1, 2], [1, 0])).tolist()
    [12.0, 12.0]
    """
    if isinstance(axes, int):
        if axes < 0 or axes > min(x1.ndim, x2.ndim):
            raise ArgumentError(f"tensordot: axes={axes} for shapes {x1.shape} and {x2.shape}")
        left, right = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        if len(axes) != 2:
            raise ArgumentError(
                f"tensordot: axes={axes}", fix="give a number of axes, or one list of axes for each operand"
            )
        left = [shapes.normalize_axis("tensordot", a, x1.ndim) for a in axes[0]]
        right = [shapes.normalize_axis("tensordot", a, x2.ndim) for a in axes[1]]
    if [x1.shape[i] for i in left] != [x2.shape[i] for i in right]:
        raise ShapeError(f"tensordot: axes {left} of {x1.shape} and {right} of {x2.shape} differ in size")
    free1 = [i for i in range(x1.ndim) if i not in left]
    free2 = [i for i in range(x2.ndim) if i not in right]
    inner = math.prod(x1.shape[i] for i in left)
    a = reshape(permute_dims(x1, (*free1, *left)), (math.prod(x1.shape[i] for i in free1), inner))
    b = reshape(permute_dims(x2, (*right, *free2)), (inner, math.prod(x2.shape[i] for i in free2)))
    return reshape(contract(a, b), (*[x1.shape[i] for i in free1], *[x2.shape[i] for i in free2]))


@function()
def outer(x1: Any, x2: Any, /) -> Any:
    """All products of the elements of two 1-d tensors.

    >>> import mlcore as ml
    >>> ml.outer(ml.asarray([1, 2]), ml.asarray([3, 4])).tolist()
    [[3, 4], [6, 8]]
    """
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(
            f"outer: shapes {x1.shape} and {x2.shape}, expected two 1-d tensors", fix="reshape them to (-1,)"
        )
    return reshape(x1, (-1, 1)) * reshape(x2, (1, -1))


@function()
def einsum(subscripts: str, /, *operands: Any) -> Any:
    """Einstein summation, e.g. ``einsum("bij,bjk->bik", a, b)``; `...` stands for broadcast dimensions.

    Pairs of operands are contracted from left to right, each by one matrix product.

    >>> import mlcore as ml
    >>> ml.einsum("ij,j->i", ml.ones((2, 3)), ml.ones((3,))).tolist()
    [3.0, 3.0]
    """
    terms, result = _parse(subscripts, operands)
    tensors = [_diagonal(x, t) for x, t in zip(operands, terms, strict=True)]
    while len(tensors) > 1:
        (a, ta), (b, tb) = tensors[:2]
        rest = set(result).union(*(t for _, t in tensors[2:]))
        tensors[:2] = [_pair(a, ta, b, tb, rest)]
    x, term = tensors[0]
    gone = [i for i, letter in enumerate(term) if letter not in result]
    if gone:
        x, term = sum_(x, axis=tuple(gone), dtype=x.dtype), [c for c in term if c in result]
    order = tuple(term.index(c) for c in result)
    return permute_dims(x, order)  # also where nothing moves: the result is a tensor of its own


def _parse(subscripts: str, operands: tuple[Any, ...]) -> tuple[list[list[str]], list[str]]:
    """Letters per operand and of the result; the dimensions of `...` get letters of their own."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise ShapeError(f"einsum: {subscripts!r} names {len(parts)} operands, {len(operands)} given")
    terms, widest = [], 0
    for part, x in zip(parts, operands, strict=True):
        letters = part.replace("...", "")
        bad = next((c for c in letters if not c.isalpha()), None)
        extra = x.ndim - len(letters)
        if bad or extra < 0 or (extra and "..." not in part):
            raise ShapeError(f"einsum: {part!r} does not describe a tensor of shape {x.shape}",
                             cause=f"bad letter {bad!r}" if bad else f"{len(letters)} letters for {x.ndim} dimensions",
                             fix="one letter per dimension, or `...`")  # fmt: skip
        widest = max(widest, extra)
        dots = [f"~{i}" for i in range(extra)][::-1]
        head, _, tail = part.partition("...")
        terms.append([*head, *dots, *tail])
    dots = [f"~{i}" for i in range(widest)][::-1]
    if arrow:
        head, _, tail = right.partition("...")
        result = [*head, *(dots if "..." in right else []), *tail]
    else:
        letters = left.replace(",", "").replace("...", "")
        result = [*dots, *sorted(c for c in set(letters) if letters.count(c) == 1)]
    known = {c for term in terms for c in term}
    unknown = [c for c in result if c not in known]
    if unknown or len(set(result)) != len(result):
        raise ShapeError(f"einsum: output {right!r}: {unknown[0] if unknown else 'a letter'!r} "
                         f"{'is in no operand' if unknown else 'stands twice'}")  # fmt: skip
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, size in zip(term, x.shape, strict=True):
            before = sizes.setdefault(letter, size)
            if before != size and not (letter[0] == "~" and 1 in (before, size)):
                raise ShapeError(
                    f"einsum: {subscripts!r}: letter {letter!r} is {before} in one operand and {size} in another"
                )
            sizes[letter] = max(before, size)
    return terms, result


def _diagonal(x: Any, term: list[str]) -> tuple[Any, list[str]]:
    """Take the diagonal over letters that repeat within one operand."""
    from mlcore.ops.creation import iota_on
    from mlcore.ops.index import gather

    for letter in [c for c in dict.fromkeys(term) if term.count(c) > 1]:
        while term.count(letter) > 1:
            i, j = [k for k, c in enumerate(term) if c == letter][:2]
            size = x.shape[i]
            rest = [k for k in range(x.ndim) if k not in (i, j)]
            flat = reshape(permute_dims(x, (i, j, *rest)), (size * size, *[x.shape[k] for k in rest]))
            x = gather(flat, iota_on(x, size) * (size + 1), axis=0)
            term = [letter, *[term[k] for k in rest]]
    return x, term


def _pair(a: Any, ta: list[str], b: Any, tb: list[str], rest: set[str]) -> tuple[Any, list[str]]:
    """Contract two operands by one batched matrix product."""
    for name, mine, other in (("a", ta, tb), ("b", tb, ta)):
        gone = tuple(i for i, c in enumerate(mine) if c not in other and c not in rest)
        if gone:
            kept = [c for c in mine if c in other or c in rest]
            if name == "a":
                a, ta = sum_(a, axis=gone, dtype=a.dtype), kept
            else:
                b, tb = sum_(b, axis=gone, dtype=b.dtype), kept
    batch = [c for c in ta if c in tb and c in rest]
    inner = [c for c in ta if c in tb and c not in rest]
    left = [c for c in ta if c not in tb]
    right = [c for c in tb if c not in ta]
    size = {c: d for t, x in ((ta, a), (tb, b)) for c, d in zip(t, x.shape, strict=True) if d != 1}

    def n(letters: list[str]) -> int:
        return math.prod(size.get(c, 1) for c in letters)

    lead_a = [a.shape[ta.index(c)] for c in batch]
    lead_b = [b.shape[tb.index(c)] for c in batch]
    am = reshape(
        permute_dims(a, tuple(ta.index(c) for c in (*batch, *left, *inner))), (*lead_a, n(left), n(inner))
    )
    bm = reshape(
        permute_dims(b, tuple(tb.index(c) for c in (*batch, *inner, *right))), (*lead_b, n(inner), n(right))
    )
    shape = tuple(size.get(c, 1) for c in (*batch, *left, *right))
    return reshape(contract(am, bm), shape), [*batch, *left, *right]
