"""A sample as bytes and back, without pickle: nothing that is read can run code, and every damage is noticed.

The layout: MAGIC, the head's length (8 bytes), the head (JSON), the arrays, and a BLAKE2b digest of all of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.errors import DataError, FormatError, MlcoreError
from mlcore.host import as_numpy
from mlcore.tensor import TensorBase

MAGIC: Final = b"mlsample1\n"
DIGEST: Final = 16
PLAIN: Final = (bool, int, float, str, type(None))


def encode(sample: Any) -> bytes:
    """The bytes of a sample of tensors, arrays, numbers, texts, bytes, tuples, lists and dicts with text keys."""
    arrays: list[bytes] = []
    head = json.dumps(_write(sample, arrays, "")).encode()
    content = b"".join([MAGIC, len(head).to_bytes(8, "little"), head, *arrays])
    return content + hashlib.blake2b(content, digest_size=DIGEST).digest()


def decode(content: bytes) -> Any:
    """The sample again. Raises FormatError for bytes that `encode` did not write, or that have changed since."""
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if not body.startswith(MAGIC) or hashlib.blake2b(body, digest_size=DIGEST).digest() != digest:
        raise FormatError(f"a cached sample of {len(content)} bytes is damaged, or not one")
    try:
        start = len(MAGIC) + 8
        end = start + int.from_bytes(body[len(MAGIC) : start], "little")
        return _read(json.loads(body[start:end]), _Arrays(memoryview(body)[end:]))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise FormatError(f"a cached sample of {len(content)} bytes is damaged: {error}") from None


def _write(one: Any, arrays: list[bytes], where: str) -> Any:
    kind = type(one)
    if kind in PLAIN:
        return one
    if isinstance(one, TensorBase) or kind is np.ndarray or isinstance(one, np.generic):
        host = as_numpy(one)
        try:
            name = dtypes.from_numpy(host.dtype).name
        except MlcoreError:
            raise _refused(f"an array of NumPy dtype {host.dtype}", where) from None
        host = np.ascontiguousarray(host).reshape(host.shape)
        arrays.append(host.tobytes())
        tag = "tensor" if isinstance(one, TensorBase) else "array" if kind is np.ndarray else "number"
        return {tag: [name, list(host.shape)]}
    if kind is bytes:
        arrays.append(one)
        return {"bytes": len(one)}
    if kind in (tuple, list):
        return {kind.__name__: [_write(part, arrays, f"{where}[{i}]") for i, part in enumerate(one)]}
    if kind is dict and all(type(key) is str for key in one):
        return {"dict": [[key, _write(part, arrays, f"{where}[{key!r}]")] for key, part in one.items()]}
    raise _refused(f"a {kind.__module__}.{kind.__qualname__}", where)


def _refused(what: str, where: str) -> DataError:
    return DataError(
        f"cannot keep {what} in a file (sample{where})",
        cause="what is kept: tensors, arrays, numbers, texts, bytes, tuples, lists and dicts with text keys",
        fix="return those, or use MemoryCache",
    )


class _Arrays:
    def __init__(self, rest: memoryview) -> None:
        self.rest, self.place = rest, 0

    def take(self, size: int) -> memoryview:
        part = self.rest[self.place : self.place + size]
        if len(part) != size:
            raise ValueError("it ends too early")
        self.place += size
        return part


def _read(one: Any, arrays: _Arrays) -> Any:
    if not isinstance(one, dict):
        return one
    ((tag, value),) = one.items()
    if tag in ("tensor", "array", "number"):
        dtype = dtypes.as_dtype(value[0]).numpy
        size = int(np.prod(value[1], dtype=np.int64)) * dtype.itemsize
        host = np.frombuffer(arrays.take(size), dtype).reshape(value[1])
        if tag == "tensor":
            return dispatch.from_data(host)
        return host.copy() if tag == "array" else host[()]
    if tag == "bytes":
        return bytes(arrays.take(value))
    if tag == "dict":
        return {key: _read(part, arrays) for key, part in value}
    parts = [_read(part, arrays) for part in value]
    return tuple(parts) if tag == "tuple" else parts
