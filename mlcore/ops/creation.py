"""Creation of tensors. Each takes `dtype`, `device` and `requires_grad`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch, dtypes, shapes
from mlcore.dtypes import as_dtype
from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.host import scalar_array
from mlcore.ops.guard import guarded
from mlcore.ops.spec import Outs, function, out, primitive
from mlcore.tensor import TensorBase


@primitive(
    reference=lambda shape, value, dtype: np.full(shape, value, dtype=dtype.numpy),
    public=False,
    cacheable=True,
    samples=lambda: [dict(shape=(2, 3), value=1.5, dtype=d) for d in ("float32", "int64", "bool")],
)
def fill(shape: Any, value: Any, dtype: Any) -> Outs:
    """A tensor of one value."""
    target = shapes.as_shape(shape, "full")
    chosen = as_dtype(dtype)
    scalar_array(value, chosen)  # an integer that does not fit raises here, before any kernel
    return out(target, chosen, target, value, chosen)


@primitive(
    reference=lambda start, step, size, dtype: (
        start + step * np.arange(size, dtype=np.float64 if dtype.kind == "f" else np.int64)
    ).astype(dtype.numpy),
    public=False,
    cacheable=True,
    samples=lambda: [
        dict(start=1, step=2, size=5, dtype="int64"),
        dict(start=0.5, step=0.25, size=4, dtype="float32"),
    ],
)
def iota(start: Any, step: Any, size: int, dtype: Any) -> Outs:
    """`start + step * i` for i in 0..size-1, computed in 64 bits."""
    chosen = as_dtype(dtype)
    return out((int(size),), chosen, start, step, int(size), chosen)


def _made(op: Any, params: dict[str, Any], device: Any, requires_grad: bool) -> Any:
    tensor = dispatch.apply(op, (), params, device)
    return tensor.requires_grad_() if requires_grad else tensor


@guarded
def asarray(
    obj: Any,
    /,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Any:
    """A tensor of the values of `obj`: a number, nested lists, a NumPy array, or anything with `__array__` or DLPack.

    Python floats become the default dtype (float32), integers int64; arrays keep their dtype. The values are copied,
    so later changes of `obj` do not show. A Tensor is returned as it is where nothing has to change, unless
    ``copy=True``; with ``copy=False`` anything else raises ArgumentError.

    >>> import mlcore as ml
    >>> ml.asarray([[1.0, 2.0], [3.0, 4.0]]).dtype
    float32
    """
    if isinstance(obj, TensorBase):
        # the methods are attached to Tensor
        tensor: Any = obj if device is None and dtype is None else obj.to(device=device, dtype=dtype)  # type: ignore[attr-defined]
        if tensor is not obj and copy is False:
            raise _no_copy("another dtype or device needs new memory")
        if requires_grad:
            tensor = tensor.detach().requires_grad_()
        return tensor if tensor is not obj or not copy else _same(obj)
    if copy is False:
        raise _no_copy("tensors are values and never share memory with their source")
    tensor = dispatch.from_data(obj, dtype, device)
    return tensor.requires_grad_() if requires_grad else tensor


def _no_copy(cause: str) -> ArgumentError:
    return ArgumentError("asarray: copy=False", cause=cause, fix="leave copy out")


def _same(x: Any) -> Any:
    """The value of `x` in a tensor of its own."""
    from mlcore.ops.shape import same

    return same(x)


def _default(dtype: Any) -> dtypes.DType:
    return dtypes.default_float() if dtype is None else as_dtype(dtype)


@function()
def full(
    shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A tensor with every element `fill_value`; the dtype follows the value unless given.

    >>> import mlcore as ml
    >>> ml.full((2,), 7).tolist()
    [7, 7]
    """
    if isinstance(fill_value, TensorBase):
        fill_value = fill_value.item()  # type: ignore[attr-defined]  # the methods are attached to Tensor
    if not isinstance(fill_value, (bool, int, float, complex)):
        raise ArgumentTypeError(f"full: fill_value must be a number, got {type(fill_value).__name__}")
    chosen = dtypes.scalar_dtype(fill_value) if dtype is None else as_dtype(dtype)
    return _made(fill, {"shape": shape, "value": fill_value, "dtype": chosen}, device, requires_grad)


@function()
def zeros(shape: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A tensor of zeros.

    >>> import mlcore as ml
    >>> ml.zeros((2, 3)).shape
    (2, 3)
    """
    return _made(fill, {"shape": shape, "value": 0, "dtype": _default(dtype)}, device, requires_grad)


@function()
def ones(shape: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A tensor of ones.

    >>> import mlcore as ml
    >>> ml.ones(2).tolist()
    [1.0, 1.0]
    """
    return _made(fill, {"shape": shape, "value": 1, "dtype": _default(dtype)}, device, requires_grad)


@function()
def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """A tensor whose values nobody should rely on; here zeros, since uninitialised memory hides mistakes.

    >>> import mlcore as ml
    >>> ml.empty((2, 0)).shape
    (2, 0)
    """
    return zeros(shape, dtype=dtype, device=device)


def _like(make: Any, x: Any, dtype: Any, device: Any, **more: Any) -> Any:
    return make(
        x.shape,
        dtype=x.dtype if dtype is None else dtype,
        device=x.device if device is None else device,
        **more,
    )


@function()
def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """Zeros of the shape, dtype and device of `x`.

    >>> import mlcore as ml
    >>> ml.zeros_like(ml.ones((2,))).tolist()
    [0.0, 0.0]
    """
    return _like(zeros, x, dtype, device, requires_grad=requires_grad)


@function()
def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """Ones of the shape, dtype and device of `x`.

    >>> import mlcore as ml
    >>> ml.ones_like(ml.zeros((2,))).tolist()
    [1.0, 1.0]
    """
    return _like(ones, x, dtype, device, requires_grad=requires_grad)


@function()
def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """`empty` of the shape, dtype and device of `x`.

    >>> import mlcore as ml
    >>> ml.empty_like(ml.zeros((2, 1))).shape
    (2, 1)
    """
    return _like(empty, x, dtype, device)


@function()
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """`fill_value` everywhere, in the shape, dtype and device of `x`.

    >>> import mlcore as ml
    >>> ml.full_like(ml.zeros((2,)), 3).tolist()
    [3.0, 3.0]
    """
    return full(
        x.shape,
        fill_value,
        dtype=x.dtype if dtype is None else dtype,
        device=x.device if device is None else device,
    )


@function()
def arange(
    start: Any,
    /,
    stop: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Evenly spaced values from `start` (0 when only one is given) up to, not including, `stop`.

    >>> import mlcore as ml
    >>> ml.arange(1, 7, 2).tolist()
    [1, 3, 5]
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ArgumentError("arange: step is 0", fix="use a step other than 0")
    size = _arange_size(start, stop, step)
    chosen = dtypes.scalar_dtype(start + stop + step) if dtype is None else as_dtype(dtype)
    return _made(iota, {"start": start, "step": step, "size": size, "dtype": chosen}, device, requires_grad)


def _arange_size(start: Any, stop: Any, step: Any) -> int:
    span = stop - start
    if not math.isfinite(span) or not math.isfinite(step):
        raise ArgumentError(f"arange: start {start}, stop {stop}, step {step} must be finite")
    return shapes.check_size((builtin_max(0, math.ceil(span / step)),), "arange")[0]


builtin_max = max


@function()
def linspace(
    start: float, stop: float, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Any:
    """`num` evenly spaced values from `start` to `stop`, including it unless `endpoint` is False.

    >>> import mlcore as ml
    >>> ml.linspace(0.0, 1.0, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if num < 0:
        raise ArgumentError(f"linspace: num is {num}", fix="use a count >= 0")
    values = np.linspace(start, stop, num, endpoint=endpoint)
    return dispatch.from_data(values, _default(dtype), device)


@function()
def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Any:
    """Ones on the `k`-th diagonal, zeros elsewhere.

    >>> import mlcore as ml
    >>> ml.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    shapes.check_size((n_rows, n_rows if n_cols is None else n_cols), "eye")
    return dispatch.from_data(np.eye(n_rows, n_cols, k=k, dtype=np.float32), _default(dtype), device)


def _triangle(x: Any, k: int, lower: bool) -> Any:
    from mlcore.ops.elementwise import where

    if x.ndim < 2:
        from mlcore.errors import ShapeError

        raise ShapeError(f"tril/triu: needs at least 2 dimensions, got shape {x.shape}")
    rows = iota_on(x, x.shape[-2]).reshape((-1, 1))
    cols = iota_on(x, x.shape[-1])
    inside = cols <= rows + k if lower else cols >= rows + k
    return where(inside, x, False if x.dtype is dtypes.bool_ else 0)


def iota_on(x: Any, size: int) -> Any:
    """0..size-1 as int64 on the device of `x`."""
    return dispatch.apply(iota, (), {"start": 0, "step": 1, "size": size, "dtype": dtypes.int64}, x.device)


@function(method=True)
def tril(x: Any, /, *, k: int = 0) -> Any:
    """The lower triangle of the last two dimensions, up to the `k`-th diagonal; zeros above.

    >>> import mlcore as ml
    >>> ml.tril(ml.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle(x, k, True)


@function(method=True)
def triu(x: Any, /, *, k: int = 0) -> Any:
    """The upper triangle of the last two dimensions, from the `k`-th diagonal; zeros below.

    >>> import mlcore as ml
    >>> ml.triu(ml.ones((2, 2))).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return _triangle(x, k, False)


@function()
def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Any]:
    """Coordinate tensors of a grid from one-dimensional tensors ('xy': the first two axes exchanged).

    >>> import mlcore as ml
    >>> [t.shape for t in ml.meshgrid(ml.arange(2), ml.arange(3), indexing="ij")]
    [(2, 3), (2, 3)]
    """
    from mlcore.ops.shape import broadcast_to, swapaxes

    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing={indexing!r}", fix="use 'xy' or 'ij'")
    shape = tuple(one.shape[0] for one in arrays)
    grids = [
        broadcast_to(one.reshape(tuple(-1 if k == i else 1 for k in range(len(arrays)))), shape)
        for i, one in enumerate(arrays)
    ]
    return [swapaxes(g, 0, 1) for g in grids] if indexing == "xy" and len(grids) > 1 else grids
