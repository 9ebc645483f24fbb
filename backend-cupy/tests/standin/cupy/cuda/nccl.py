"""cupy.cuda.nccl of the stand-in: processes exchange files. As on a GPU a call returns at once, and its result comes
when all have called: the event behind it is done then, and never if one of them is gone."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cupy._place import stream_at

available = os.environ.get("STANDIN_NCCL", "1") == "1"

NCCL_INT8, NCCL_UINT8, NCCL_INT32, NCCL_UINT32, NCCL_INT64, NCCL_UINT64 = 0, 1, 2, 3, 4, 5
NCCL_FLOAT32, NCCL_FLOAT64 = 7, 8
NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN = 0, 1, 2, 3
_TYPES = {0: "i1", 1: "u1", 2: "i4", 3: "u4", 4: "i8", 5: "u8", 7: "f4", 8: "f8"}
_OPERATIONS = {NCCL_SUM: np.add, NCCL_PROD: np.multiply, NCCL_MAX: np.maximum, NCCL_MIN: np.minimum}
_BYTES = 128


class NcclError(RuntimeError):
    status = 6


def get_version() -> int:
    return 22707


def get_unique_id() -> bytes:
    return tempfile.mkdtemp(prefix="nccl").encode().ljust(_BYTES, b"\0")


def _at(address: int, count: int, datatype: int) -> np.ndarray:
    dtype = np.dtype(_TYPES[datatype])
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)


class NcclCommunicator:
    """As the real one: positional arguments, and it waits for the others when it is made."""

    def __init__(self, ndev: int, commId: bytes, rank: int) -> None:
        if not isinstance(commId, bytes) or len(commId) != _BYTES:
            raise TypeError(
                f"Argument 'commId' has incorrect type (expected bytes, got {type(commId).__name__})"
            )
        self._folder = Path(commId.rstrip(b"\0").decode())
        self._ndev, self._rank, self._count, self._aborted = ndev, rank, 0, False
        self._put(np.zeros(1))
        while not self._all(0):
            time.sleep(0.001)

    def _put(self, values: np.ndarray) -> int:
        number, self._count = self._count, self._count + 1
        part = self._folder / f"{number}.{self._rank}.part"
        part.write_bytes(values.tobytes())
        part.rename(part.with_suffix(""))
        return number

    def _all(self, number: int) -> bool:
        return all((self._folder / f"{number}.{rank}").exists() for rank in range(self._ndev))

    def _later(self, sent: np.ndarray, stream: int, end: Callable[[np.ndarray], None]) -> None:
        if self._aborted:
            raise NcclError("NCCL_ERROR_INVALID_ARGUMENT: the communicator was aborted")
        number = self._put(sent)

        def ended() -> bool:
            if not self._aborted and self._all(number):
                files = [(self._folder / f"{number}.{rank}").read_bytes() for rank in range(self._ndev)]
                end(np.stack([np.frombuffer(one, sent.dtype) for one in files]))
                return True
            return False

        stream_at(stream).pending.append(ended)

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        found = _at(recvbuf, count, datatype)
        end = lambda all_: np.copyto(found, _OPERATIONS[op].reduce(all_, dtype=found.dtype))  # noqa: E731  # run at the end of the call
        self._later(_at(sendbuf, count, datatype), stream, end)

    def reduceScatter(
        self, sendbuf: int, recvbuf: int, recvcount: int, datatype: int, op: int, stream: int
    ) -> None:
        found = _at(recvbuf, recvcount, datatype)
        mine = slice(self._rank * recvcount, (self._rank + 1) * recvcount)
        end = lambda all_: np.copyto(found, _OPERATIONS[op].reduce(all_[:, mine], dtype=found.dtype))  # noqa: E731  # run at the end of the call
        self._later(_at(sendbuf, self._ndev * recvcount, datatype), stream, end)

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:
        found = _at(recvbuf, self._ndev * count, datatype)
        self._later(_at(sendbuf, count, datatype), stream, lambda all_: np.copyto(found, all_.reshape(-1)))

    def broadcast(
        self, sendbuff: int, recvbuff: int, count: int, datatype: int, root: int, stream: int
    ) -> None:
        found = _at(recvbuff, count, datatype)
        self._later(_at(sendbuff, count, datatype), stream, lambda all_: np.copyto(found, all_[root]))

    def check_async_error(self) -> None:
        pass

    def abort(self) -> None:
        self._aborted = True

    def destroy(self) -> None:
        self._aborted = True


__all__ = ["NcclCommunicator", "NcclError", "available", "get_unique_id", "get_version"]
