"""When MLX computes: one stream for all threads, what is pending, and how MLX's errors become mlcore's.

MLX is lazy: a call makes a node of a graph, and `eval` runs it. Its streams belong to the thread that made them, and
arrays of one thread cannot be evaluated in another; mlcore's tensors may be used anywhere. So there is one stream of
the kind that may, and a lock around every evaluation. What has been made and not evaluated is known by weak
references: every `FLUSH` results their evaluation is started, `synchronize` waits for all of it, and what nobody
holds any more is never computed for its own sake. The last call's results are held until then: who times a call and
drops what it returns still times the work.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mlcore.backends.reference import physical_memory
from mlcore.errors import DeviceError, DeviceLostError, MlcoreError, OutOfMemoryError
from mlcore_metal.library import mx

FLUSH = 64
LARGE = 1 << 24  # bytes: from here on a result is held against the memory limit before it is computed
_LOST = ("device removed", "deviceremoved", "access revoked", "accessrevoked", "blacklisted")
_NO_MEMORY = ("unable to allocate", "insufficient memory", "out of memory", "maximum allowed buffer size")


class Runtime:
    """The stream, lock and pending results of one device."""

    def __init__(self, *, eager: bool = False, memory_limit: int | None = None) -> None:
        self.eager = eager
        self.gpu = bool(mx.metal.is_available())
        self.mlx_device = mx.gpu if self.gpu else mx.cpu
        self.stream = mx.new_thread_unsafe_stream(self.mlx_device)
        self.limit = memory_limit or _limit(self.gpu)
        self.lock = threading.RLock()
        self.pending: list[weakref.ref[Any]] = []
        self.last: Any = None
        self.owner = os.getpid()
        if hasattr(os, "register_at_fork"):
            here = weakref.ref(self)
            os.register_at_fork(
                before=lambda: _call(here, "_before_fork"),
                after_in_parent=lambda: _call(here, "_after_in_parent"),
                after_in_child=lambda: _call(here, "_after_in_child"),
            )

    # -- building ----------------------------------------------------------------------------------------------

    def building(self) -> Any:
        """A context in which MLX's functions make nodes of this device's stream."""
        if self.gpu and os.getpid() != self.owner:
            raise DeviceError(
                "metal: this is a forked process, and Metal does not survive a fork",
                cause=f"the device was opened by process {self.owner}",
                fix="start workers with the 'spawn' method, or compute on 'cpu' in them",
            )
        return mx.stream(self.stream)

    def note(self, made: Any) -> None:
        """Remember results until they are evaluated; evaluate them at once where that was asked for."""
        self.last = made
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if one.nbytes >= LARGE:
                self._check_room(one)
            self.pending.append(weakref.ref(one))
        if self.eager:
            self.finish()
        elif len(self.pending) >= FLUSH:
            self.start()

    def _check_room(self, array: Any) -> None:
        """MLX's processor build ends the process where an allocation fails: refuse before."""
        if mx.get_active_memory() + array.nbytes <= self.limit:
            return
        self.finish()
        if mx.get_active_memory() + array.nbytes > self.limit:
            raise OutOfMemoryError(
                f"cannot allocate {array.nbytes:,} bytes for shape {tuple(array.shape)}",
                in_use=f"{mx.get_active_memory():,} bytes",
                limit=f"{self.limit:,} bytes",
                fix="use a smaller size or batch, or a narrower dtype",
            )

    # -- evaluating --------------------------------------------------------------------------------------------

    def _taken(self) -> list[Any]:
        """The pending results that somebody still holds; they are no longer pending."""
        pending, self.pending = self.pending, []
        return [one for one in (reference() for reference in pending) if one is not None]

    def start(self) -> None:
        """Begin to compute what is pending, and do not wait."""
        with self.lock, _translated(), self.building():
            mx.async_eval(self._taken())

    def finish(self) -> None:
        """Compute what is pending, and wait for it and for what was begun before."""
        with self.lock, _translated(), self.building():
            mx.eval(self._taken())
            self.last = None
            mx.synchronize(self.stream)

    def evaluate(self, array: Any) -> None:
        """Compute one array, and wait for it."""
        with self.lock, _translated(), self.building():
            mx.eval(array)

    # -- forks -------------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        self.lock.acquire()
        if self.owner == os.getpid():
            self.finish()

    def _after_in_parent(self) -> None:
        self.lock.release()

    def _after_in_child(self) -> None:
        """The stream's thread is not here: take a new stream. Arrays that were computed keep their values."""
        self.lock = threading.RLock()
        self.pending, self.last = [], None
        if not self.gpu:
            self.stream = mx.new_thread_unsafe_stream(self.mlx_device)
            self.owner = os.getpid()


def _call(reference: weakref.ref[Runtime], name: str) -> None:
    found = reference()
    if found is not None:
        getattr(found, name)()


def _limit(gpu: bool) -> int:
    """Bytes that arrays may occupy: MLX's own limit, and on a processor no more than there is."""
    found = int(mx.get_memory_limit())
    physical = physical_memory()
    return found if gpu or physical is None else min(found, physical)


def meaning(error: Exception) -> MlcoreError | None:
    """What an exception of MLX says about memory or the GPU; None where it is about neither."""
    if isinstance(error, MlcoreError):
        return error
    text = str(error)
    if any(part in text.lower() for part in _LOST):
        return DeviceLostError("metal: the GPU is lost", cause=text)
    if isinstance(error, MemoryError) or any(part in text.lower() for part in _NO_MEMORY):
        return OutOfMemoryError(
            f"metal: {text or 'out of memory'}",
            in_use=f"{mx.get_active_memory():,} bytes",
            fix="use a smaller size or batch, or a narrower dtype",
        )
    return None


@contextmanager
def _translated() -> Iterator[None]:
    """MLX's errors at evaluation as mlcore's: memory, the GPU, or the operation that was queued."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if isinstance(error, MlcoreError):
            raise
        raise meaning(error) or DeviceError(
            f"metal: an operation failed when its result was computed: {error}",
            cause="operations are queued and computed later; one of those before this call failed",
            fix="run with MLCORE_METAL_EAGER=1 to have the error where the operation is called",
        ) from error


def on_host(array: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An evaluated array's own memory as a NumPy array."""
    if array.dtype == mx.bfloat16:  # which no buffer format names: the bits, seen as what they are
        return np.array(array.view(mx.uint16), copy=False).view(dtype)
    return np.array(array, copy=False)
