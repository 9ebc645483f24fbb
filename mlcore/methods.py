"""Tensor methods and operators of operations; compiled, because every `x + y` passes here."""

from __future__ import annotations

from typing import Any

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
        if isinstance(other, TensorBase) or isinstance(other, (float, int, complex)) or hasattr(other, "__array__"):
            return binary(op, self, other)
        return NotImplemented

    return method


def general_method(op: Any) -> Any:
    """A Tensor method of anything else: self is the first argument."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return op(self, *args, **kwargs)

    return method
