"""DLPack capsules of host memory: NumPy makes and takes them; dtypes that it does not know pass through as plain bits.

The layout is that of dlpack.h, version 1 (https://github.com/dmlc/dlpack). A capsule that nobody has taken yet is ours
to write on: the code of its dtype is changed there, and NumPy keeps the ownership.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import ml_dtypes
import numpy as np

from mlcore.errors import ArgumentTypeError, DTypeError, ExchangeError

HostArray = np.ndarray[Any, Any]

HOST: Final = (1, 0)
HOSTS: Final = {
    1,
    3,
    11,
    13,
}  # the host's memory, pinned for CUDA or ROCm too, and CUDA's managed memory
VERSION: Final = (1, 0)

# Codes of dlpack.h that NumPy does not have: the dtype, and the bits as which NumPy passes it.
_CODES: Final = {
    4: ("bfloat16", np.uint16), 7: ("float8_e3m4", np.uint8), 8: ("float8_e4m3", np.uint8),
    9: ("float8_e4m3b11fnuz", np.uint8), 10: ("float8_e4m3fn", np.uint8), 11: ("float8_e4m3fnuz", np.uint8),
    12: ("float8_e5m2", np.uint8), 13: ("float8_e5m2fnuz", np.uint8), 14: ("float8_e8m0fnu", np.uint8),
}  # fmt: skip
_TO_CODE: Final = {np.dtype(getattr(ml_dtypes, name)): (code, bits) for code, (name, bits) in _CODES.items()}
_NAMES: Final = {0: "int", 1: "uint", 2: "float", 3: "opaque handle", 4: "bfloat", 5: "complex", 6: "bool"}
_UINT: Final = 1


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


_pointer: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_is: Final = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)


def _inside(capsule: Any) -> _Tensor:
    """The description in a capsule that has not been taken yet."""
    if _is(capsule, b"dltensor_versioned"):
        return _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor  # type: ignore[no-any-return]  # ctypes
    if _is(capsule, b"dltensor"):
        return _Tensor.from_address(_pointer(capsule, b"dltensor"))
    raise ArgumentTypeError(
        f"from_dlpack: {capsule!r} is no DLPack capsule", cause="it was taken before, or is something else"
    )


def export(
    array: HostArray,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[Any, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A capsule of an array that nobody may write to: read-only where the taker can be told so, else of a copy.

    Raises `ExchangeError` (a BufferError) where what is asked for cannot be had.
    """
    if stream is not None:
        raise ExchangeError("__dlpack__: stream must be None for memory of the host", got=repr(stream))
    if dl_device is not None and (int(dl_device[0]), int(dl_device[1])) != HOST:
        raise ExchangeError(f"__dlpack__: cannot export to device {tuple(map(int, dl_device))}",
                            cause="the memory is the host's", fix="move the tensor first, with to(device)")  # fmt: skip
    told = max_version is not None and max_version[0] >= 1  # a capsule with a version has a read-only flag
    if copy is False and not told:
        raise ExchangeError("__dlpack__: a consumer of DLPack before 1.0 gets a copy, and copy=False was asked for",
                            cause="only later versions can say that memory is read-only, as a tensor's is",
                            fix="pass max_version=(1, 0), or leave copy out")  # fmt: skip
    copied = bool(copy) or not told
    if copied:
        array = np.array(array, order="C")
    else:
        array = array.view()
        array.flags.writeable = False
    code, bits = _TO_CODE.get(array.dtype, (None, None))
    capsule = (array if bits is None else array.view(bits)).__dlpack__(max_version=VERSION if told else None)
    if told and copied:
        _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).flags |= 2  # it was copied
    if code is not None:
        _inside(capsule).code = code
    return capsule


class _Holder:
    """A capsule as the object that `numpy.from_dlpack` asks for one."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self.capsule, self.device = capsule, device

    def __dlpack__(self, **how: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def device_of(source: Any) -> tuple[int, int]:
    """Where an object's memory lies: DLPack's kind of device, and its number."""
    try:
        kind, number = source.__dlpack_device__()
    except Exception as error:
        raise _refused(source, error) from error
    return int(kind), int(number)


def host_view(source: Any, *, copy: bool | None = None) -> HostArray:
    """An array of an object's memory, shared with it where that is the host's; else its producer may copy it there.

    It may be read-only. Raises `ExchangeError` for what its producer refuses, `DTypeError` for an unknown dtype.
    """
    device = device_of(source)
    wanted: dict[str, Any] = {"max_version": VERSION}
    if device[0] not in HOSTS:
        if copy is False:
            raise ExchangeError(f"from_dlpack: the memory of {_what(source)} is on device {device}, not the host's",
                                fix="leave copy=False out")  # fmt: skip
        wanted |= {"dl_device": HOST}
        device = HOST
    elif copy is not None:
        wanted["copy"] = copy
    capsule = _asked(source, wanted)
    described = _inside(capsule)
    known = _CODES.get(described.code)
    if (
        (described.code not in _NAMES and known is None)
        or described.code == 3
        or described.lanes != 1
        or (known is not None and described.bits != np.dtype(known[1]).itemsize * 8)
    ):
        lanes = f", {described.lanes} lanes" if described.lanes != 1 else ""
        name = _NAMES.get(described.code, known[0] if known else "?")
        raise DTypeError(f"from_dlpack: {_what(source)} has DLPack dtype {name} (code {described.code}), "
                         f"{described.bits} bits{lanes}, which mlcore does not have")  # fmt: skip
    if known is not None:
        described.code = _UINT
    try:
        array = np.from_dlpack(_Holder(capsule, device))
    except Exception as error:
        raise _refused(source, error) from error
    if copy and wanted.get("copy") is None and device[0] in HOSTS:
        array = np.array(array)
    return array if known is None else array.view(getattr(ml_dtypes, known[0]))


def _asked(source: Any, wanted: dict[str, Any]) -> Any:
    """The producer's capsule; older ones do not know the newer arguments."""
    attempts = [wanted, {}] if "dl_device" not in wanted else [wanted]
    if "copy" in wanted:
        attempts.insert(1, {"max_version": VERSION})
        copy = wanted["copy"]
    for attempt in attempts:
        try:
            capsule = source.__dlpack__(**attempt)
        except TypeError as error:
            if attempt is not attempts[-1]:
                continue
            raise _refused(source, error) from error
        except Exception as error:
            raise _refused(source, error) from error
        if "copy" in wanted and "copy" not in attempt and copy:
            del wanted["copy"]  # it shares its memory: the copy is ours to make
        return capsule
    raise AssertionError("there is always one attempt")


def _refused(source: Any, error: Exception) -> ExchangeError:
    text = str(error).strip().splitlines()
    said = text[0][:200] if text else type(error).__name__
    fix = "detach() it first" if "grad" in said else ""
    return ExchangeError(f"from_dlpack: {_what(source)} does not give its memory: {said}", fix=fix)


def _what(source: Any) -> str:
    kind = type(source)
    return f"a {kind.__module__.partition('.')[0]} {kind.__name__}"
