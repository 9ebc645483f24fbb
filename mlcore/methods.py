"""Tensor methods and operators of operations; compiled, because every `x + y` passes here."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from mlcore.direct import call_matrices, call_one, call_view
from mlcore.dispatch import Op, binary, unary
from mlcore.tensor import TensorBase


def unary_method(op: Op) -> Any:
    """A Tensor method, or operator, of an operation of one input."""

    def method(self: Any) -> Any:
        return unary(op, self)

    return method


def binary_method(op: Op) -> Any:
    """A Tensor method of an operation of two inputs."""

    def method(self: Any, other: Any) -> Any:
        return binary(op, self, other)

    return method


def binary_operator(op: Op) -> Any:
    """An operator of two operands; what mlcore does not know gets its turn through NotImplemented."""

    def method(self: Any, other: Any) -> Any:
        if isinstance(other, TensorBase):  # by itself, since Cython makes one comparison of it
            return binary(op, self, other)
        if isinstance(other, (float, int, complex)) or hasattr(other, "__array__"):
            return binary(op, self, other)
        return NotImplemented

    return method


def product_operator(function: Any) -> Any:
    """A `matrix_product` as an operator; what mlcore does not know gets its turn, as in binary_operator."""
    product = function.product

    def method(self: Any, other: Any) -> Any:
        if isinstance(other, TensorBase):
            found = call_matrices(product, self, other)
            return function(self, other) if found is None else found
        if isinstance(other, (float, int, complex)) or hasattr(other, "__array__"):
            return function(self, other)
        return NotImplemented

    return method


def general_method(op: Any) -> Any:
    """A Tensor method of anything else: self is the first argument."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return op(self, *args, **kwargs)

    return method


def reduction_method(op: Op) -> Any:
    """A Tensor method of a reduction."""

    def method(self: Any, /, *args: Any, axis: Any = None, keepdims: Any = False, **other: Any) -> Any:
        if args or other:
            if axis is not None:
                other["axis"] = axis
            if keepdims is not False:
                other["keepdims"] = keepdims
            return op(self, *args, **other)
        return call_one(op, self, (axis, keepdims))

    return method


def widening_reduction(op: Op, general: Any) -> Any:
    """A function that is `op` where no dtype is asked for and none has to be widened, and `general` elsewhere."""

    def face(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], TensorBase) and _is_float(args[0]):
            if not kwargs:
                return call_one(op, args[0], _EVERYTHING)
            axis = kwargs.get("axis")
            keepdims = kwargs.get("keepdims", False)
            if len(kwargs) == ("axis" in kwargs) + ("keepdims" in kwargs):
                return call_one(op, args[0], (axis, keepdims))
        return general(*args, **kwargs)

    return face


_EVERYTHING = (None, False)  # a reduction over all axes


def matrix_product(op: Op, general: Any) -> Any:
    """A function that is `op` for two tensors with two dimensions or more, and `general` elsewhere."""

    def face(*args: Any, **kwargs: Any) -> Any:
        if (
            len(args) == 2
            and not kwargs
            and isinstance(args[0], TensorBase)
            and isinstance(args[1], TensorBase)
        ):
            found = call_matrices(op, args[0], args[1])
            if found is not None:
                return found
        return general(*args, **kwargs)

    made: Any = face
    made.product = op  # for the operator, which then need not pass here
    return made


def _is_float(x: Any) -> bool:
    return bool(x.dtype.kind == "f")


def reshape_method(op: Op) -> Any:
    """`Tensor.reshape`, with the shape as one tuple or as separate ints."""

    def reshape(self: Any, *shape: Any, copy: Any = None) -> Any:
        target = shape[0] if len(shape) == 1 else shape
        if type(target) is tuple:
            return call_one(op, self, (target,))
        return op(self, target)

    return reshape


if __file__.endswith(".py"):  # uncompiled; methods.pxd has the C functions
    globals()["slice_start"] = attrgetter("start")
    globals()["slice_stop"] = attrgetter("stop")
    globals()["slice_step"] = attrgetter("step")


def subscript_method(select: Op, narrow: Op, general: Any) -> Any:
    """`x[...]`: a plain int or a plain slice of the first axis without a detour, the rest by `general`."""

    def getitem(self: Any, index: Any) -> Any:
        found = None
        try:
            if type(index) is int:
                found = _row(select, self, index)
            elif type(index) is slice:
                found = _rows(
                    narrow,
                    self,
                    slice_start(index),  # type: ignore[name-defined]  # noqa: F821
                    slice_stop(index),  # type: ignore[name-defined]  # noqa: F821
                    slice_step(index),  # type: ignore[name-defined]  # noqa: F821
                )
        except OverflowError:  # numbers that no size has: `general` knows what they mean
            pass
        return general(self, index) if found is None else found

    return getitem


def _row(op: Op, x: Any, index: int) -> Any:
    """x[index], or None where that is out of range."""
    if not x.shape:
        return None
    size: int = x.shape[0]
    if index < 0:
        index += size
    if index < 0 or index >= size:
        return None
    return call_view(op, x, x.shape[1:], (0, index))


def _rows(op: Op, x: Any, start: Any, stop: Any, step: Any) -> Any:
    """x[start:stop], or None where the bounds are not plain, or the slice is empty or everything."""
    if not x.shape or (step is not None and step != 1):
        return None
    size: int = x.shape[0]
    first = 0
    last = size
    if start is not None:
        if type(start) is not int:
            return None
        first = start
    if stop is not None:
        if type(stop) is not int:
            return None
        last = stop
    if first < 0:
        first = max(first + size, 0)
    if last < 0:
        last += size
    last = min(last, size)
    if first >= last or (first == 0 and last == size):
        return None
    rest = (last - first,)
    return call_view(op, x, rest + x.shape[1:] if len(x.shape) > 1 else rest, (0, first, last))
