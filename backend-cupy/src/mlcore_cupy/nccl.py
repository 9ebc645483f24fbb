"""Link: one GPU of a job and the others. NCCL or RCCL moves arrays between them, on the runtime's stream.

The operations only start what they do and give the array that will hold the result; `done` tells when it does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.distributed import Reduction
from mlcore_cupy.runtime import Runtime

Array = Any
After = Callable[[Array], Array]

# NCCL's name of each element type that it reduces as it is. The others travel in one of these, or as bytes.
NAMES = {
    "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "uint32": "UINT32", "int64": "INT64", "uint64": "UINT64",
    "float32": "FLOAT32", "float64": "FLOAT64",
}  # fmt: skip
# float16 and bfloat16 are NCCL's too, but it would round after every step: as everywhere, they compute in float32.
WIDER = {"int16": "int32", "uint16": "uint32", "float16": "float32", "bfloat16": "float32"}
OPERATIONS = {"sum": "SUM", "mean": "SUM", "prod": "PROD", "min": "MIN", "max": "MAX"}
OF_BOOLS = {"sum": "MAX", "prod": "MIN", "min": "MIN", "max": "MAX"}


class Link:
    """A communicator and the device that it is for."""

    def __init__(self, rt: Runtime, nccl: Any, communicator: Any, rank: int, size: int) -> None:
        self.rt, self.nccl, self.communicator = rt, nccl, communicator
        self.rank, self.size = rank, size
        self.under_way: tuple[Any, Array, Array] | None = None

    # -- what is asked for -----------------------------------------------------------------------------------------

    def all_reduce(self, array: Array, op: Reduction) -> tuple[Array, After]:
        """(an array that will be filled, what makes the result of it then)."""
        if self._by_gathering(array, op):
            gathered, _ = self.all_gather(array)
            return gathered, lambda found: self.rt.cupy.prod(found, axis=0, dtype=array.dtype)
        return self._reduced("allReduce", array, op, array.shape)

    def reduce_scatter(self, array: Array, op: Reduction) -> tuple[Array, After]:
        if self._by_gathering(array, op):
            gathered, _ = self.all_gather(array)
            return gathered, lambda found: self.rt.cupy.prod(found[:, self.rank], axis=0, dtype=array.dtype)
        return self._reduced("reduceScatter", array, op, array.shape[1:])

    def all_gather(self, array: Array) -> tuple[Array, After]:
        array = self.rt.dense(array)
        found = self.rt.empty((self.size, *array.shape), array.dtype)
        self._start("allGather", array, found, array.nbytes, "UINT8")
        return found, _as_is

    def broadcast(self, array: Array, root: int) -> tuple[Array, After]:
        array = self.rt.dense(array)
        found = self.rt.empty(array.shape, array.dtype)
        self._start("broadcast", array, found, array.nbytes, "UINT8", root)
        return found, _as_is

    @staticmethod
    def _by_gathering(array: Array, op: str) -> bool:
        """NCCL has no complex numbers: their sum is that of the parts, their product is taken here."""
        return op == "prod" and array.dtype.kind == "c"

    def _reduced(self, how: str, array: Array, op: Reduction, shape: tuple[int, ...]) -> tuple[Array, After]:
        name, kind = array.dtype.name, array.dtype.kind
        given = self.rt.dense(array)
        if name in WIDER:
            given = given.astype(WIDER[name])
        found = self.rt.empty(shape, given.dtype)
        parts = 2 if kind == "c" else 1
        element = "UINT8" if kind == "b" else NAMES[_real(given.dtype)]
        operation = (OF_BOOLS if kind == "b" else OPERATIONS)[op]
        self._start(how, given, found, found.size * parts, element, getattr(self.nccl, f"NCCL_{operation}"))
        divisor = self.size if op == "mean" else 1

        def after(found: Array) -> Array:
            mean = found if divisor == 1 else found / np.asarray(divisor, _real(found.dtype))[()]
            return mean.astype(array.dtype, copy=False)

        return found, after

    # -- on the stream ---------------------------------------------------------------------------------------------

    def _start(self, how: str, given: Array, found: Array, count: int, element: str, *more: int) -> None:
        """Start an operation; its end is an event. What is empty needs no other process."""
        if count:
            kind = getattr(self.nccl, f"NCCL_{element}")
            call = getattr(self.communicator, how)
            call(given.data.ptr, found.data.ptr, count, kind, *more, self.rt.stream.ptr)
        event = self.rt.cupy.cuda.Event(disable_timing=True)
        event.record(self.rt.stream)
        self.under_way = (event, given, found)  # the device still reads and writes these

    def done(self) -> bool:
        """Whether the last operation has ended; raises what the device has to say."""
        if self.under_way is None:
            return False
        ended = bool(self.under_way[0].done)
        if ended:
            self.under_way = None
        return ended

    def check(self) -> None:
        """Raise NcclError where another process's end, or the network's, came to NCCL's notice."""
        self.communicator.check_async_error()

    def close(self, broken: bool) -> None:
        """Give the communicator back; of a broken job it is aborted, which also ends what waits on the device."""
        if broken:
            self.communicator.abort()
        else:
            self.communicator.destroy()


class Helper:
    """A thread for calls that may never return: NCCL waits for the other processes in some of them."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], list[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def begin(self, call: Callable[[], Any]) -> list[Any]:
        """Call it there; what it returns or raises will be the only one in the list."""
        result: list[Any] = []
        self._calls.put((call, result))
        return result

    def _work(self) -> None:
        while True:
            call, result = self._calls.get()
            try:
                result.append(call())
            except Exception as error:
                result.append(error)


def _as_is(found: Array) -> Array:
    return found


def _real(dtype: Any) -> str:
    """The type of the parts of a complex number; any other's own."""
    return {"complex64": "float32", "complex128": "float64"}.get(dtype.name, dtype.name)
