"""Reductions: one line each, over axes that were an attribute first and are an input now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import ints, widest


def _identity(x: Any, of: Callable[..., Any], empty: Any, axis: Any, keepdims: bool) -> Any:
    """The reduction, which of nothing is `empty`."""
    if all(x.shape[i] for i in axis):
        return of(x, axis=axis, keepdims=keepdims)
    shape = tuple(1 if i in axis else d for i, d in enumerate(x.shape) if keepdims or i not in axis)
    return ml.full(shape, empty, dtype=x.dtype, device=x.device)


def _lowest(x: Any) -> Any:
    if x.dtype.kind == "b":
        return False
    return float("-inf") if x.dtype.kind == "f" else ml.iinfo(x.dtype).min


def _highest(x: Any) -> Any:
    if x.dtype.kind == "b":
        return True
    return float("inf") if x.dtype.kind == "f" else ml.iinfo(x.dtype).max


def _max(x: Any, axis: Any, keepdims: bool) -> Any:
    return _identity(x, ml.any if x.dtype.kind == "b" else ml.max, _lowest(x), axis, keepdims)


def _min(x: Any, axis: Any, keepdims: bool) -> Any:
    return _identity(x, ml.all if x.dtype.kind == "b" else ml.min, _highest(x), axis, keepdims)


def _sum(x: Any, axis: Any, keepdims: bool) -> Any:
    return ml.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def _mean(x: Any, axis: Any, keepdims: bool) -> Any:
    if x.dtype.kind in "fc":
        return ml.mean(x, axis=axis, keepdims=keepdims)
    return ml.astype(ml.mean(ml.astype(x, widest(x)), axis=axis, keepdims=keepdims), x.dtype)


def _whole(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of real numbers, of whole ones too."""
    return lambda x: of(x) if x.dtype.kind == "f" else ml.astype(of(ml.astype(x, widest(x))), x.dtype)


_KINDS: Final[dict[str, Callable[..., Any]]] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _max,
    "ReduceMin": _min,
    "ReduceProd": lambda x, axis, keepdims: ml.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype),
    "ReduceL1": lambda x, axis, keepdims: _sum(ml.abs(x), axis, keepdims),
    "ReduceL2": lambda x, axis, keepdims: _whole(ml.sqrt)(_sum(x * x, axis, keepdims)),
    "ReduceSumSquare": lambda x, axis, keepdims: _sum(x * x, axis, keepdims),
    "ReduceLogSum": lambda x, axis, keepdims: _whole(ml.log)(_sum(x, axis, keepdims)),
    "ReduceLogSumExp": lambda x, axis, keepdims: _identity(
        x if x.dtype.kind == "f" else ml.astype(x, widest(x)), ml.logsumexp, float("-inf"), axis, keepdims
    ),
}


def _declare(name: str, kind: Callable[..., Any]) -> None:
    def run(x: Any, axes: Any, keepdims: int, noop: int) -> Any:
        chosen = () if axes is None else ints(axes)
        if not chosen and noop:
            chosen = ()
        elif not chosen:
            chosen = tuple(range(x.ndim))
        if any(not -x.ndim <= one < x.ndim for one in chosen):
            raise ArgumentError(f"{name} of {x.shape} over axes {chosen}")
        made = kind(x, tuple(one % x.ndim for one in chosen), bool(keepdims))
        return made if made.dtype is x.dtype else ml.astype(made, x.dtype)

    def by_input(data: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
        return run(data, axes, keepdims, noop_with_empty_axes)

    def by_attribute(data: Any, *, axes: Any = None, keepdims: int = 1) -> Any:
        return run(data, axes, keepdims, 0)

    first = 13 if name == "ReduceSum" else 18
    onnx_op(name, first, host=("axes",))(by_input)
    onnx_op(name, 1, first - 1)(by_attribute)


for _name, _kind in _KINDS.items():
    _declare(_name, _kind)


def _extreme(of: Callable[..., Any], x: Any, axis: int, keepdims: int, last: int) -> Any:
    axis = axis % x.ndim
    if not last:
        return of(x, axis=axis, keepdims=bool(keepdims))
    return x.shape[axis] - 1 - of(ml.flip(x, axis=axis), axis=axis, keepdims=bool(keepdims))


@onnx_op("ArgMax", 1)
def arg_max(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    return _extreme(ml.argmax, x, axis, keepdims, select_last_index)


@onnx_op("ArgMin", 1)
def arg_min(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    return _extreme(ml.argmin, x, axis, keepdims, select_last_index)


def _running(of: Callable[..., Any], x: Any, axis: Any, exclusive: int, reverse: int, start: Any) -> Any:
    place = int(axis.reshape(-1)[0]) % x.ndim
    y = ml.flip(x, axis=place) if reverse else x
    if exclusive:
        first = ml.full(
            tuple(1 if i == place else d for i, d in enumerate(x.shape)),
            start,
            dtype=x.dtype,
            device=x.device,
        )
        y = ml.concat([first, y[(slice(None),) * place + (slice(0, -1),)]], axis=place)
    y = of(y, axis=place, dtype=x.dtype)
    return ml.flip(y, axis=place) if reverse else y


@onnx_op("CumSum", 11, host=("axis",))
def cum_sum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    return _running(ml.cumulative_sum, x, axis, exclusive, reverse, 0)


@onnx_op("CumProd", 26, host=("axis",))
def cum_prod(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    return _running(ml.cumulative_prod, x, axis, exclusive, reverse, 1)
