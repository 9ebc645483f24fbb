"""Memory shared with other libraries: DLPack both ways, and Python's buffer protocol.

A tensor's memory is lent read-only, and borrowed memory is never written to: `x[i] = v` gives x new memory.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.backends import detect, dlpack
from mlcore.errors import ArgumentTypeError, ExchangeError, ShapeError
from mlcore.host import in_our_dtype
from mlcore.inputs import check_holds
from mlcore.ops.guard import guarded
from mlcore.ops.spec import function
from mlcore.tensor import Tensor, TensorBase, wrap


@function(convert=False)
def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor of the values of an array of another library, sharing its memory where it can.

    `x` is anything with `__dlpack__`: arrays and tensors of NumPy, PyTorch, JAX, CuPy, columns of PyArrow. Memory of
    the host comes to the default device if that computes in it, memory of an accelerator to the device it is on. With
    `copy=True` the tensor has memory of its own, with `copy=False` it shares that of `x` or `ExchangeError` says why
    not, otherwise it is copied only where it must be: to another device, or into a dtype that mlcore has.

    While memory is shared, a change that its owner makes shows in the tensor; mlcore itself never writes to it:
    in-place changes give the tensor memory of its own.

    Source: the Python Array API standard, `from_dlpack`; https://dmlc.github.io/dlpack

    >>> import numpy as np
    >>> import mlcore as ml
    >>> array = np.arange(3.0)
    >>> shared, own = ml.from_dlpack(array), ml.from_dlpack(array, copy=True)
    >>> array[0] = 7.0
    >>> shared.tolist(), own.tolist()
    ([7.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    """
    if isinstance(x, TensorBase):
        return _of_tensor(x, device, copy)
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise ArgumentTypeError(
            f"from_dlpack: a {type(x).__name__} has no __dlpack__", fix="use mlcore.asarray(x)"
        )
    found = _adopted(x, device, copy)
    if found is not None:
        return found
    where = detect.resolve(device)
    room = hasattr(where.backend, "buffer")
    if copy is False and not room:
        raise ExchangeError(f"from_dlpack: {where} cannot share the memory of this {type(x).__name__}",
                            cause="it lies elsewhere", fix="leave copy=False out")  # fmt: skip
    array = dlpack.host_view(x, copy=copy if room else None)
    host = in_our_dtype(array)
    if host is not array and copy is False:
        raise ExchangeError(f"from_dlpack: {array.dtype} cannot be shared", cause="mlcore holds it as another dtype",
                            fix="leave copy=False out")  # fmt: skip
    chosen = dtypes.from_numpy(host.dtype)
    check_holds(chosen, where)
    if room and host.flags.aligned:
        return wrap(host, where, chosen, host.shape)
    if copy is False:
        raise ExchangeError("from_dlpack: the memory is not aligned", fix="leave copy=False out")
    return wrap(where.from_host(host), where, chosen, host.shape)


def _of_tensor(x: Any, device: Any, copy: bool | None) -> Any:
    """Tensors are values: the same memory under a new object, or on another device."""
    where = x.device if device is None else detect.resolve(device)
    if where is not x.device:
        if copy is False:
            raise ExchangeError(
                f"from_dlpack: the tensor is on {x.device}, not on {where}", fix="leave copy=False out"
            )
        return x.detach().to(device=where)
    if not copy:
        return x.detach()
    return wrap(where.from_host(np.array(where.to_host(x.array))), where, x.dtype, x.shape)


def _adopted(x: Any, device: Any, copy: bool | None) -> Any:
    """A tensor of memory that is not the host's, on a device whose library takes it; None if there is none."""
    place = dlpack.device_of(x)
    if place == dlpack.HOST:
        return None
    candidates = [detect.resolve(device)]
    if device is None:
        candidates += [one for one in detect.all_opened() if one is not candidates[0]]
    for where in candidates:
        adopt = getattr(where.backend, "adopt", None)
        array = None if adopt is None else adopt(x, place, bool(copy))
        if array is not None:
            chosen, shape = where.backend.described(array)
            return wrap(array, where, chosen, shape)
    return None


def _dlpack(
    self: Any,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[Any, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule of the tensor's memory, read-only; consumers that cannot be told so get a copy.

    Raises `ExchangeError` (a BufferError) where what is asked for cannot be had.
    """
    own = _own_protocol(self)
    if own is None:
        host = self.device.to_host(self.array)
        return dlpack.export(host, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    if dl_device is not None and tuple(map(int, dl_device)) == dlpack.HOST:
        if copy is False:
            raise ExchangeError(f"__dlpack__: the tensor is on {self.device}, not in the host's memory")
        return dlpack.export(self.device.to_host(self.array), max_version=max_version, copy=copy)
    return _from_library(own, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def _from_library(array: Any, **how: Any) -> Any:
    """A capsule from an array of a library that speaks DLPack itself, perhaps an earlier version of it."""
    wanted = {name: value for name, value in how.items() if value is not None}
    known = {"stream": wanted["stream"]} if "stream" in wanted else {}
    attempts = [wanted] if how["copy"] is not None or how["dl_device"] is not None else [wanted, known]
    for attempt in attempts:
        try:
            return array.__dlpack__(**attempt)
        except Exception as error:
            if isinstance(error, TypeError) and attempt is not attempts[-1]:
                continue
            raise ExchangeError(f"__dlpack__: a {type(array).__name__} is not given: {error}") from error
    raise AssertionError("there is always one attempt")


def _own_protocol(tensor: Any) -> Any:
    """The array of a library that speaks DLPack itself, in memory that is not the host's; else None."""
    if hasattr(tensor.device.backend, "buffer") or not hasattr(tensor.array, "__dlpack_device__"):
        return None
    return None if dlpack.device_of(tensor.array) == dlpack.HOST else tensor.array


def _dlpack_device(self: Any) -> tuple[int, int]:
    """DLPack's kind of the device that the memory is on, and its number: (1, 0) is the host."""
    own = _own_protocol(self)
    return dlpack.HOST if own is None else dlpack.device_of(own)


def _buffer(self: Any, flags: int, /) -> Any:
    """The memory of a tensor in contiguous order, read-only, for ``memoryview(x)``: Python 3.12 asks for it."""
    if flags & 1:
        raise ExchangeError(
            "the memory of a tensor is read-only", fix="copy it: bytearray(x), numpy.array(x)"
        )
    try:
        return np.ascontiguousarray(self.numpy()).data
    except ValueError as error:
        raise ExchangeError(
            f"Python's buffers have no {self.dtype}", fix="view its bits, e.g. in uint16"
        ) from error


def _arrow_array(self: Any, type: Any = None) -> Any:
    """A column of PyArrow, for ``pyarrow.array(x)``."""
    if self.ndim != 1:
        raise ShapeError(
            f"pyarrow.array: a tensor of shape {self.shape} is no column", expected="a 1-d tensor"
        )
    return importlib.import_module("pyarrow").array(self.numpy(), type)


for _name, _value in {
    "__dlpack__": guarded(_dlpack),
    "__dlpack_device__": _dlpack_device,
    "__buffer__": _buffer,
    "__arrow_array__": _arrow_array,
}.items():
    setattr(Tensor, _name, _value)
