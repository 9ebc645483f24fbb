"""Give Tensor its methods and operators, from the registry."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import autograd
from mlcore.backends import detect
from mlcore.dispatch import BinaryOp, Op, UnaryOp
from mlcore.dtypes import DType, all_dtypes, as_dtype
from mlcore.errors import did_you_mean
from mlcore.methods import (
    binary_method,
    binary_operator,
    general_method,
    product_operator,
    reduction_method,
    reshape_method,
    subscript_method,
    unary_method,
)
from mlcore.ops import registry
from mlcore.ops.elementwise import astype
from mlcore.ops.shape import matrix_transpose, narrow, permute_dims, reshape, select, swapaxes
from mlcore.ops.subscript import getitem, setitem
from mlcore.plugin import discovery
from mlcore.tensor import Tensor, TensorBase

# Operators that combine with another value in place: the object takes the result, tensors being values.
_IN_PLACE = (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
)


def _method(op: Any, name: str, doc: str) -> Any:
    """A Tensor method of an operation or function: self is its first argument."""
    if isinstance(op, UnaryOp):
        make: Any = unary_method
    elif isinstance(op, BinaryOp):
        make = binary_method
    elif isinstance(op, Op) and op.inputs == ("x",) and op.params == ("axis", "keepdims"):
        make = reduction_method
    else:
        make = general_method
    return _named(make(op), name, doc)


def _named(method: Any, name: str, doc: str) -> Any:
    method.__name__ = name
    method.__qualname__ = f"Tensor.{name}"
    method.__doc__ = doc
    return method


def _reflected(op: Any, name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        return op(other, self)

    method.__name__ = name
    return method


def _operator(op: Any, name: str, doc: str) -> Any:
    if isinstance(op, BinaryOp):
        return _named(binary_operator(op), name, doc)
    return _named(product_operator(op), name, doc) if name == "__matmul__" else _method(op, name, doc)


def attach(target: Any) -> None:
    """Put the methods of one operation or function on Tensor; called for each, also for those of later plugins."""
    callable_ = target if isinstance(target, Op) else target.call
    if target.method:
        setattr(Tensor, target.method, _method(callable_, target.method, target.doc))
    for name in target.operators:
        if name.startswith("__r") and name not in ("__rshift__", "__round__"):
            setattr(Tensor, name, _reflected(callable_, name))
        else:
            setattr(Tensor, name, _operator(callable_, name, target.doc))


def _in_place(name: str) -> Any:
    forward = f"__{name}__"

    def method(self: Any, other: Any) -> Any:
        result = getattr(self, forward)(other)
        if result is NotImplemented:
            return result
        if result.dtype is not self.dtype or result.shape != self.shape:
            from mlcore.errors import DTypeError, ShapeError

            kind = DTypeError if result.dtype is not self.dtype else ShapeError
            raise kind(
                f"in-place {name}: the result is {result.shape} {result.dtype}, the tensor {self.shape} {self.dtype}",
                fix="write x = x + y for a result of another shape or dtype",
            )
        return self.rebind(result)

    method.__name__ = f"__i{name}__"
    return method


def _setitem(self: Any, index: Any, value: Any) -> None:
    self.rebind(setitem(self, index, value))


def _iterate(self: Any) -> Any:
    from mlcore.errors import ArgumentTypeError

    if not self.shape:
        raise ArgumentTypeError("iteration over a 0-d tensor", fix="use .item() for its value")
    return (self[i] for i in range(self.shape[0]))


def _to(self: Any, *targets: Any, device: Any = None, dtype: Any = None, copy: bool = False) -> Any:
    """The tensor on another device or in another dtype, given in any order or by name; itself if nothing changes."""
    for one in targets:
        if isinstance(one, TensorBase):
            device, dtype = one.device, one.dtype
        elif isinstance(one, (DType, type, np.dtype)) or (isinstance(one, str) and one in _dtype_names):
            dtype = as_dtype(one)
        else:
            device = one
    moved = self
    if device is not None and (where := detect.resolve(device)) is not self.device:
        moved = transfer(self, where)
    if dtype is not None and as_dtype(dtype) is not moved.dtype:
        moved = astype(moved, dtype)
    return moved


def transfer(tensor: Any, device: Any) -> Any:
    """A tensor's values on another device; the gradient comes back the same way."""
    from mlcore.ops.transfer import move

    return move(tensor, device)


def _to_device(self: Any, device: Any, /, *, stream: Any = None) -> Any:
    """The tensor on another device (Array API)."""
    return _to(self, device=device)


def _permute(self: Any, *axes: Any) -> Any:
    """`permute_dims` with the axes as one tuple or as separate ints."""
    return permute_dims(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)


def _transpose(self: Any) -> Any:
    """The transpose of a 2-d tensor."""
    if self.ndim != 2:
        from mlcore.errors import ShapeError

        raise ShapeError(f"T: a tensor of shape {self.shape} is not 2-d", fix="use mT, or permute_dims")
    return matrix_transpose(self)


def _exchange(self: Any, *axes: Any) -> Any:
    """Two dimensions exchanged, given as two ints; a tuple of all axes is what `permute_dims` takes."""
    if len(axes) == 2:
        return swapaxes(self, *axes)
    return permute_dims(self, axes[0] if len(axes) == 1 else tuple(range(self.ndim))[::-1])


def _watch_for_ops(device: Any) -> None:
    """Have unknown attributes looked up in plugins, if any declares operations (group mlcore.ops).

    A class with `__getattr__` finds all its methods more slowly, so only those who have such a plugin shall have it.
    """
    if discovery.declares_ops() and "__getattr__" not in vars(Tensor):
        setattr(Tensor, "__getattr__", _missing)  # noqa: B010  (the type has none)


def _missing(self: Any, name: str) -> Any:
    """An unknown attribute: perhaps a method of an operation that a plugin declares."""
    if not name.startswith("_"):
        if "__getattr__" in vars(Tensor):  # asked once: from now on the methods are there, or nowhere
            delattr(Tensor, "__getattr__")
        if _watch_for_ops in detect.on_open:
            detect.on_open.remove(_watch_for_ops)
        discovery.load_ops()
        if name in vars(Tensor):
            return getattr(self, name)
    near = "" if name.startswith("_") else did_you_mean(name, (one for one in dir(Tensor) if one[0] != "_"))
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{near}")


def _contains(self: Any, value: Any) -> bool:
    return bool((self == value).any().item())


_dtype_names = {d.name for d in all_dtypes}

for _one in registry.everything():
    attach(_one)
registry.listeners.append(attach)
detect.on_open.append(_watch_for_ops)
for _name in _IN_PLACE:
    setattr(Tensor, f"__i{_name}__", _in_place(_name))
for _name, _value in {
    "__getitem__": _named(subscript_method(select, narrow, getitem), "__getitem__", getitem.__doc__ or ""),
    "__setitem__": _setitem,
    "__iter__": _iterate,
    "__contains__": _contains,
    "__array_ufunc__": None,  # so that numpy_array * tensor comes to us
    "T": property(_transpose),
    "mT": property(matrix_transpose),
    "to": _to,
    "to_device": _to_device,
    "reshape": _named(reshape_method(reshape), "reshape", reshape.doc),
    "permute_dims": _permute,
    "transpose": _exchange,
    "backward": autograd.backward,
}.items():
    setattr(Tensor, _name, _value)
