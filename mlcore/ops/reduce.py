"""Reductions and scans over axes (Array API names and result dtypes)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dtypes, engine
from mlcore.direct import call_one
from mlcore.dtypes import as_dtype, booleans, everything, floating, numeric, real
from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.methods import widening_reduction
from mlcore.ops.creation import full
from mlcore.ops.elementwise import _conj, astype, exp, log, sqrt, where
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.logic import equal, isfinite
from mlcore.ops.shape import broadcast_to, concat, flip, permute_dims, reshape
from mlcore.ops.spec import Outs, composite, function, out, primitive, reduction, to_bool, ufunc_reduce
from mlcore.shapes import normalize_axes, normalize_axis, reduced

AXES = [{}, dict(axis=0), dict(axis=-1, keepdims=True)]


def spread(g: Any, shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> Any:
    """A reduced tensor broadcast back over the axes it was reduced along."""
    if not keepdims and axis and g.shape:
        g = call_one(reshape, g, (reduced(shape, axis, True),))
    return call_one(broadcast_to, g, (shape,))


def _samples() -> list[dict[str, Any]]:
    return AXES


def _sums_in(x: np.ndarray[Any, Any]) -> np.dtype[Any]:
    """What to accumulate in: float32 for two-byte floats, where a long sum would come to a halt."""
    return np.dtype(np.float32) if x.dtype in _HALVES else x.dtype


_HALVES = (dtypes.float16.numpy, dtypes.bfloat16.numpy)


def _is_half(x: Any) -> bool:
    return x.dtype in floating and x.dtype.itemsize == 2


add_up = reduction(
    "reduce_sum",
    "Sum over axes in the tensor's own dtype; `sum` widens small integers first.",
    c="a + x",
    c_init="0",
    reference=lambda x, axis, keepdims: np.asarray(
        np.sum(x, axis=axis, keepdims=keepdims, dtype=_sums_in(x))
    ).astype(x.dtype),
    autocast="wide",
    accepts=numeric,
    ulp=4,
    samples=_samples,
    public=False,
    standard="sum",
    vjp=lambda g, x_shape, axis, keepdims: spread(g, x_shape, axis, keepdims),
)
multiply_up = reduction(
    "reduce_prod",
    "Product over axes in the tensor's own dtype; `prod` widens small integers first.",
    c="a * x",
    c_init="1",
    autocast="wide",
    accepts=numeric,
    ulp=8,
    standard="prod",
    domain=(0.5, 1.5),
    samples=_samples,
    public=False,
    reference=lambda x, axis, keepdims: np.asarray(
        np.prod(x, axis=axis, keepdims=keepdims, dtype=_sums_in(x))
    ).astype(x.dtype),
    vjp=lambda g, x, y, axis, keepdims: (
        spread(g, x.shape, axis, keepdims) * _conj(_others(x, y, axis, keepdims))
    ),
)
max = reduction(
    "max", "Largest element over `axis`; nan if any is.", c="max(a, x)", c_init="lowest", identity=False,
    reference=ufunc_reduce(np.maximum), accepts=real, samples=_samples, method=True,
    vjp=lambda g, x, y, axis, keepdims: _share(g, x, y, axis, keepdims),
)  # fmt: skip
min = reduction(
    "min", "Smallest element over `axis`; nan if any is.", c="min(a, x)", c_init="highest", identity=False,
    reference=ufunc_reduce(np.minimum), accepts=real, samples=_samples, method=True,
    vjp=lambda g, x, y, axis, keepdims: _share(g, x, y, axis, keepdims),
)  # fmt: skip
any = reduction(
    "any", "Whether any element over `axis` is true (not zero).", c="a || x != 0", c_init="false", result=to_bool,
    reference=lambda x, axis, keepdims: np.asarray(np.any(x, axis=axis, keepdims=keepdims)), samples=_samples,
    accepts=everything, method=True,
)  # fmt: skip
all = reduction(
    "all", "Whether all elements over `axis` are true (not zero).", c="a && x != 0", c_init="true", result=to_bool,
    reference=lambda x, axis, keepdims: np.asarray(np.all(x, axis=axis, keepdims=keepdims)), samples=_samples,
    accepts=everything, method=True,
)  # fmt: skip


def _share(g: Any, x: Any, y: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The gradient of an extremum, shared equally by the elements that reach it."""
    hit = astype(equal(x, spread(y, x.shape, axis, keepdims)), x.dtype)
    return spread(g, x.shape, axis, keepdims) * hit / add_up(hit, axis=axis, keepdims=True)


def _others(x: Any, y: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The product of all the other elements: by division, and where an element is 0 by scans from both ends."""
    zero = equal(x, 0)
    if not any(zero).item():
        return spread(y, x.shape, axis, keepdims) / x
    kept = tuple(i for i in range(x.ndim) if i not in axis)
    order = (*kept, *axis)
    rows = reshape(permute_dims(x, order), (*[x.shape[i] for i in kept], -1))
    ones = broadcast_to(astype(equal(rows, rows), x.dtype)[..., :1], (*rows.shape[:-1], 1))
    before = cumulative_prod(concat([ones, rows[..., :-1]], axis=-1), axis=-1)
    after = flip(cumulative_prod(concat([ones, flip(rows, axis=-1)[..., :-1]], axis=-1), axis=-1), axis=-1)
    wide = reshape(before * after, tuple(x.shape[i] for i in order))
    return permute_dims(wide, tuple(int(i) for i in np.argsort(order)))


def _widened(x: Any, dtype: Any) -> Any:
    """The accumulator dtype of the standard: at least the default integer for integers and bool."""
    if dtype is not None:
        return astype(x, dtype) if as_dtype(dtype) is not x.dtype else x
    if x.dtype.kind in "bi" and x.dtype is not dtypes.int64:
        return astype(x, dtypes.int64)
    if x.dtype.kind == "u" and x.dtype is not dtypes.uint64:
        return astype(x, dtypes.uint64)
    return x


@function(method=True, face=lambda general: widening_reduction(add_up, general))
def sum(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Any:
    """Sum over `axis` (an int, a tuple, or None for all); of nothing it is 0. Small integers are summed in 64 bits.

    >>> import mlcore as ml
    >>> ml.sum(ml.asarray([[1, 2], [3, 4]]), axis=0).tolist()
    [4, 6]
    """
    return add_up(_widened(x, dtype), axis=axis, keepdims=keepdims)


@function(method=True, face=lambda general: widening_reduction(multiply_up, general))
def prod(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Any:
    """Product over `axis`; of nothing it is 1. Small integers are multiplied in 64 bits.

    >>> import mlcore as ml
    >>> ml.prod(ml.asarray([1.0, 2.0, 3.0])).item()
    6.0
    """
    return multiply_up(_widened(x, dtype), axis=axis, keepdims=keepdims)


def _mean_rule(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Outs:
    axes = normalize_axes("mean", axis, x.ndim)
    return out(reduced(x.shape, axes, bool(keepdims)), x.dtype, axes, bool(keepdims))


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    total = 1
    for axis in axes:
        total *= shape[axis]
    return total


@composite(
    _mean_rule, autocast="wide", accepts=dtypes.inexact, casts_integers=True, ulp=4, samples=_samples, method=True,
    vjp=lambda g, x_shape, axis, keepdims: spread(_per(g, _count(x_shape, axis)), x_shape, axis, keepdims),
)  # fmt: skip
def mean(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Arithmetic mean over `axis`; nan of nothing.

    >>> import mlcore as ml
    >>> ml.mean(ml.asarray([1.0, 2.0, 6.0])).item()
    3.0
    """
    axes = normalize_axes("mean", axis, x.ndim)
    if _is_half(x):  # the sum may overflow where the mean does not
        return astype(mean(astype(x, dtypes.float32), axes, keepdims=keepdims), x.dtype)
    return add_up(x, axis=axes, keepdims=keepdims) / _count(x.shape, axes)


def _per(g: Any, count: float) -> Any:
    return g / count if count else g * float("nan")


def _var_rule(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Outs:
    axes = normalize_axes("var", axis, x.ndim)
    if not isinstance(correction, (int, float)):
        raise ArgumentTypeError(f"var: correction is a {type(correction).__name__}", fix="pass a number")
    return out(reduced(x.shape, axes, bool(keepdims)), x.dtype, axes, float(correction), bool(keepdims))


@composite(
    _var_rule,
    autocast="wide",
    accepts=floating,
    casts_integers=True,
    ulp=16,
    method=True,
    samples=lambda: [*AXES, dict(axis=-1, correction=1)],
    vjp=lambda g, x, axis, correction, keepdims: (
        spread(_per(2 * g, _freedom(x.shape, axis, correction)), x.shape, axis, keepdims)
        * (x - mean(x, axis, keepdims=True))
    ),
)
def var(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Any:
    """Variance over `axis`; `correction` is taken from the count (1: the unbiased estimate).

    >>> import mlcore as ml
    >>> ml.var(ml.asarray([1.0, 3.0]), correction=1).item()
    2.0
    """
    axes = normalize_axes("var", axis, x.ndim)
    if _is_half(x):
        wide = var(astype(x, dtypes.float32), axes, correction=correction, keepdims=keepdims)
        return astype(wide, x.dtype)
    centred = x - mean(x, axes, keepdims=True)
    return add_up(centred * centred, axis=axes, keepdims=keepdims) / _freedom(x.shape, axes, correction)


def _freedom(shape: tuple[int, ...], axes: tuple[int, ...], correction: float) -> float:
    count = _count(shape, axes) - correction
    return count if count > 0 else 0.0


@function(method=True)
def std(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Any:
    """Standard deviation over `axis`: the square root of `var`.

    >>> import mlcore as ml
    >>> ml.std(ml.asarray([1.0, 3.0])).item()
    1.0
    """
    return sqrt(var(x, axis, correction=correction, keepdims=keepdims))


def _logsumexp_rule(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Outs:
    axes = normalize_axes("logsumexp", axis, x.ndim)
    return out(reduced(x.shape, axes, bool(keepdims)), x.dtype, axes, bool(keepdims))


@composite(
    _logsumexp_rule, autocast="wide", accepts=floating, ulp=8, samples=_samples, method=True,
    vjp=lambda g, x, y, axis, keepdims: _logsumexp_grad(g, x, y, axis, keepdims),
)  # fmt: skip
def logsumexp(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`log(sum(exp(x)))` over `axis` without overflow; -inf of nothing or of -inf only.

    >>> import mlcore as ml
    >>> round(ml.logsumexp(ml.asarray([1000.0, 1000.0])).item(), 3)
    1000.693
    """
    axes = normalize_axes("logsumexp", axis, x.ndim)
    if _count(x.shape, axes) == 0:
        return log(add_up(exp(x), axis=axes, keepdims=keepdims))
    top = max(x.detach(), axis=axes, keepdims=True)
    top = where(isfinite(top), top, 0)
    found = log(add_up(exp(x - top), axis=axes, keepdims=True)) + top
    return found if keepdims else reshape(found, reduced(x.shape, axes, False))


def _logsumexp_grad(g: Any, x: Any, y: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    wide = spread(y, x.shape, axis, keepdims)
    weight = where(equal(wide, float("-inf")), 0, exp(x - wide))  # a row of -inf has no gradient, not nan
    return spread(g, x.shape, axis, keepdims) * weight


def _extremum(pick: Any) -> Any:
    def reference(x: np.ndarray[Any, Any], axis: int, keepdims: bool) -> np.ndarray[Any, Any]:
        return np.asarray(pick(x, axis=axis, keepdims=keepdims)).astype(np.int64)

    return reference


def _arg_rule(name: str, x: Any, axis: Any, keepdims: bool) -> Outs:
    index = normalize_axis(name, axis, x.ndim)
    if x.shape[index] == 0:
        raise ArgumentError(f"{name}: dim {index} of shape {x.shape} is empty", cause=f"{name} of nothing has no value",
                            fix="check the size first")  # fmt: skip
    return out(reduced(x.shape, (index,), bool(keepdims)), dtypes.int64, index, bool(keepdims))


@primitive(
    reference=_extremum(np.argmax), accepts=real, public=False, standard="argmax",
    samples=lambda: [dict(axis=0), dict(axis=-1, keepdims=True)],
)  # fmt: skip
def reduce_argmax(x: Any, /, *, axis: int, keepdims: bool = False) -> Outs:
    """Index of the first largest element along one axis."""
    return _arg_rule("argmax", x, axis, keepdims)


@primitive(
    reference=_extremum(np.argmin), accepts=real, public=False, standard="argmin",
    samples=lambda: [dict(axis=0), dict(axis=-1, keepdims=True)],
)  # fmt: skip
def reduce_argmin(x: Any, /, *, axis: int, keepdims: bool = False) -> Outs:
    """Index of the first smallest element along one axis."""
    return _arg_rule("argmin", x, axis, keepdims)


def _flat_arg(op: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
    if x.dtype in booleans:
        x = astype(x, dtypes.int8)
    if axis is not None:
        return op(x, axis=axis, keepdims=keepdims)
    found = op(reshape(x, (-1,)), axis=0)
    return reshape(found, (1,) * x.ndim) if keepdims else found


@function(method=True)
def argmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Index of the first largest element along `axis` (None: of the flattened tensor), as int64.

    >>> import mlcore as ml
    >>> ml.argmax(ml.asarray([1.0, 5.0, 5.0])).item()
    1
    """
    return _flat_arg(reduce_argmax, x, axis, keepdims)


@function(method=True)
def argmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Index of the first smallest element along `axis` (None: of the flattened tensor), as int64.

    >>> import mlcore as ml
    >>> ml.argmin(ml.asarray([1.0, 0.0, 5.0])).item()
    1
    """
    return _flat_arg(reduce_argmin, x, axis, keepdims)


@primitive(
    reference=lambda x, axis: np.cumsum(x, axis=axis, dtype=_sums_in(x)).astype(x.dtype),
    autocast="wide",
    accepts=numeric,
    ulp=8,
    public=False,
    standard="cumulative_sum",
    samples=lambda: [dict(axis=0), dict(axis=-1)],
    vjp=lambda g, axis: flip(scan_sum(flip(g, axis=axis), axis=axis), axis=axis),
)
def scan_sum(x: Any, /, *, axis: int) -> Outs:
    """Running sum along an axis, in the tensor's own dtype."""
    return out(x.shape, x.dtype, normalize_axis("cumulative_sum", axis, x.ndim))


@primitive(
    reference=lambda x, axis: np.cumprod(x, axis=axis, dtype=_sums_in(x)).astype(x.dtype),
    autocast="wide",
    accepts=numeric,
    ulp=8,
    public=False,
    standard="cumulative_prod",
    domain=(0.5, 1.5),
    samples=lambda: [dict(axis=0), dict(axis=-1)],
    vjp=lambda g, x, y, axis: flip(scan_sum(flip(g * _conj(y), axis=axis), axis=axis), axis=axis) / _conj(x),
)
def scan_prod(x: Any, /, *, axis: int) -> Outs:
    """Running product along an axis, in the tensor's own dtype (its gradient asks for elements other than 0)."""
    return out(x.shape, x.dtype, normalize_axis("cumulative_prod", axis, x.ndim))


def _scan(op: Any, x: Any, axis: int | None, dtype: Any, initial: float | None) -> Any:
    if axis is None:
        if x.ndim > 1:
            raise ArgumentError(
                f"{op.standard}: axis is needed for a tensor of shape {x.shape}", fix="pass axis="
            )
        axis = 0
    found = op(_widened(x, dtype), axis=axis)
    if initial is None:
        return found
    place = normalize_axis(op.standard, axis, x.ndim)
    shape = tuple(1 if i == place else d for i, d in enumerate(x.shape))
    return concat([full(shape, initial, dtype=found.dtype, device=x.device), found], axis=place)


@function(method=True)
def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running sum along `axis` (needed beyond one dimension); `include_initial` starts it with 0.

    >>> import mlcore as ml
    >>> ml.cumulative_sum(ml.asarray([1, 2, 3])).tolist()
    [1, 3, 6]
    """
    return _scan(scan_sum, x, axis, dtype, 0 if include_initial else None)


@function(method=True)
def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running product along `axis` (needed beyond one dimension); `include_initial` starts it with 1.

    >>> import mlcore as ml
    >>> ml.cumulative_prod(ml.asarray([1, 2, 3])).tolist()
    [1, 2, 6]
    """
    return _scan(scan_prod, x, axis, dtype, 1 if include_initial else None)


@function(method=True)
def norm(x: Any, /, ord: float = 2, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Vector norm of order `ord` (1, 2, inf or any p > 0) over `axis` (None: all).

    >>> import mlcore as ml
    >>> ml.norm(ml.asarray([3.0, 4.0])).item()
    5.0
    """
    if not ord > 0:
        raise ArgumentError(f"norm: ord is {ord}", fix="use 1, 2, inf or any other number > 0")
    size = abs_(x)
    if ord == 2:
        return sqrt(sum(size * size, axis=axis, keepdims=keepdims))
    if ord == float("inf"):
        return max(size, axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum(size, axis=axis, keepdims=keepdims)
    return sum(size**ord, axis=axis, keepdims=keepdims) ** (1 / ord)


engine.SUM.append(add_up)
