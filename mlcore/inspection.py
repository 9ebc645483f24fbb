"""What the Array API standard asks of a namespace beyond functions of tensors: dtypes, shapes, and what there is."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from mlcore import dtypes, shapes
from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.dtypes import DType
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError
from mlcore.tensor import Tensor, TensorBase

__array_api_version__ = "2025.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", __array_api_version__)

# The standard has dtypes only these; two-byte floats are ours besides.
_STANDARD = [d for d in dtypes.all_dtypes if d not in (dtypes.float16, dtypes.bfloat16)]


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that tensors, dtypes and Python numbers promote to; numbers are weak, as in operators.

    >>> import mlcore as ml
    >>> ml.result_type(ml.int8, ml.asarray([1.0]), 2)
    float32
    """
    strong = [_dtype_of(one) for one in arrays_and_dtypes if not _is_number(one)]
    weak = [one for one in arrays_and_dtypes if _is_number(one)]
    if not arrays_and_dtypes:
        raise ArgumentTypeError("result_type: no argument", fix="pass a tensor or a dtype")
    found = strong[0] if strong else dtypes.scalar_dtype(weak[0])
    for one in strong[1:]:
        found = dtypes.promote_types(found, one)
    for number in weak:
        found = dtypes.promote_scalar(found, number)
    return found


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion turns `from_` (a dtype or a tensor) into the dtype `to`.

    >>> import mlcore as ml
    >>> ml.can_cast(ml.int8, ml.int16), ml.can_cast(ml.int16, ml.int8)
    (True, False)
    """
    target = dtypes.as_dtype(to)
    try:
        return dtypes.promote_types(_dtype_of(from_), target) is target
    except DTypeError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex))


def _dtype_of(value: Any) -> DType:
    return value.dtype if isinstance(value, TensorBase) else dtypes.as_dtype(value)


def broadcast_shapes(*shapes_: Any) -> tuple[int, ...]:
    """The shape that several broadcast to.

    >>> import mlcore as ml
    >>> ml.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    return shapes.broadcast(
        "broadcast_shapes", (), *(shapes.as_shape(one, "broadcast_shapes") for one in shapes_)
    )


class Inspection:
    """What this namespace has: devices, dtypes, and what it can do. Made by `mlcore.__array_namespace_info__`."""

    def capabilities(self) -> dict[str, Any]:
        """What may depend on values, and the most dimensions a tensor can have.

        >>> import mlcore as ml
        >>> ml.__array_namespace_info__().capabilities()["boolean indexing"]
        True
        """
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The device of tensors that are made without naming one."""
        return detect.default_device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """What Python numbers and indices become.

        >>> import mlcore as ml
        >>> ml.__array_namespace_info__().default_dtypes()["integral"]
        int64
        """
        return {
            "real floating": dtypes.default_float(), "complex floating": dtypes.scalar_dtype(0j),
            "integral": dtypes.default_int, "indexing": dtypes.default_int,
        }  # fmt: skip

    def devices(self) -> list[Device]:
        """The usable devices, the fastest first."""
        return [detect.resolve(one.id) for one in detect.devices()]

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The standard's dtypes that a device holds, by name; `kind` as for `isdtype`.

        >>> import mlcore as ml
        >>> sorted(ml.__array_namespace_info__().dtypes(kind="complex floating"))
        ['complex128', 'complex64']
        """
        held = detect.resolve(device).backend.dtypes
        return {
            d.name: d for d in _STANDARD if d in held and (kind is None or kind == () or dtypes.isdtype(d, kind))
        }  # fmt: skip


def __array_namespace_info__() -> Inspection:
    """What this namespace has: devices, dtypes, and what it can do."""
    return Inspection()


def _array_namespace(self: Any, *, api_version: str | None = None) -> ModuleType:
    """The namespace of functions of this tensor (Array API): the module mlcore."""
    if api_version is not None and api_version not in VERSIONS:
        raise ArgumentError(f"__array_namespace__: version {api_version!r} of the Array API is unknown",
                            known=", ".join(VERSIONS))  # fmt: skip
    return sys.modules["mlcore"]


setattr(Tensor, "__array_namespace__", _array_namespace)  # noqa: B010  (the type's stub has it)
