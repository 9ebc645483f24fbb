"""Queue: one OpenCL device with its context, in-order queue, compiler and memory; every command passes here.

Commands run in the order in which they were queued, so nothing waits for anything, and only a download (or
`synchronize`) waits for the device. One lock serves all threads: a kernel's arguments are set before it is queued.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyopencl as cl

from mlcore.errors import MlcoreError
from mlcore_oneapi import errors
from mlcore_oneapi.memory import Block, Pool
from mlcore_oneapi.programs import Compiler
from mlcore_oneapi.settings import MEMORY_LIMIT

_enqueue: Final[Any] = (
    cl._cl.enqueue_nd_range_kernel
)  # cl.enqueue_nd_range_kernel without keywords, which cost 2 µs
SMALL: Final = 1 << 16  # bytes of an upload that does not wait
_left: Final[list[Any]] = []  # in a forked child: what must never be waited for
_open: Final[weakref.WeakSet[Queue]] = weakref.WeakSet()


class Launcher:
    """A kernel ready to be queued: its object, and how many arrays come before its words."""

    __slots__ = ("kernel", "local", "name", "set_bytes", "set_many")

    def __init__(self, kernel: Any, local: tuple[int, ...]) -> None:
        self.kernel = kernel
        self.name: str = kernel.function_name
        self.local = local
        self.set_many = kernel._set_arg_multi
        self.set_bytes = kernel._set_arg_buf


class Queue:
    """One opened device. `name` is what mlcore calls it, for messages."""

    def __init__(self, device: Any, name: str, *, profile: bool = False) -> None:
        self.device, self.name = device, name
        self.context = cl.Context([device])
        properties = {"properties": cl.command_queue_properties.PROFILING_ENABLE} if profile else {}
        self.queue = cl.CommandQueue(self.context, device, **properties)
        self.compiler = Compiler(self.context, device, keep="portable" not in device.platform.name.lower())
        self.lock = threading.RLock()
        self.lost: MlcoreError | None = None  # why nothing works any more
        self.launches = 0
        self.sent: deque[Any] = deque(maxlen=64)
        self.events: list[tuple[str, Any]] | None = [] if profile else None
        flags, context = cl.mem_flags.READ_WRITE, self.context
        memory, asked = int(device.global_mem_size), MEMORY_LIMIT.get()
        self.pool = Pool(
            lambda size: cl.Buffer(context, flags, size), errors.is_memory,
            min(memory, asked) if asked else memory, int(device.max_mem_alloc_size),
        )  # fmt: skip
        _open.add(self)

    # -- memory ------------------------------------------------------------------------------------------------

    def take(self, size: int) -> Block:
        """A block of device memory. Raises OutOfMemoryError when there is no room even after the cache is empty."""
        if self.lost is not None:
            raise self.lost
        try:
            return self.pool.take(size)
        except (MemoryError, cl.Error) as error:
            raise self._no_room(size, error) from None

    def _no_room(self, size: int, error: BaseException) -> MlcoreError:
        return errors.no_room(self.name, size, error, self.pool.text())

    def upload(self, block: Block, array: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous host array into a block; the array may change after the call.

        A small one is copied first and sent in its turn, so that nobody waits for the work that was queued before.
        """
        if not array.nbytes:
            return
        if array.nbytes > SMALL:
            self._command(
                lambda: cl.enqueue_copy(self.queue, block.buffer, array, is_blocking=True), "an upload"
            )
            return
        own = array.copy()
        event = self._command(
            lambda: cl.enqueue_copy(self.queue, block.buffer, own, is_blocking=False), "an upload"
        )
        self.sent.append(event)  # it holds the copy; the oldest goes, and is waited for, when there are many

    def download(self, block: Block, array: np.ndarray[Any, Any], offset: int = 0) -> None:
        """Copy a block, from `offset` in bytes on, into a contiguous host array; waits for all work before it."""
        if array.nbytes:
            self._command(
                lambda: cl.enqueue_copy(self.queue, array, block.buffer, src_offset=offset, is_blocking=True),
                "a download",
            )

    # -- commands ----------------------------------------------------------------------------------------------

    def launch(
        self, launcher: Launcher, buffers: tuple[Any, ...], words: bytes, size: tuple[int, ...]
    ) -> None:
        """Queue a kernel: its arrays as (0, buffer, 1, buffer, ...), then its words; `size` work-items in all."""
        with self.lock:
            if self.lost is not None:
                raise self.lost
            try:
                launcher.set_many(buffers)
                launcher.set_bytes(len(buffers) >> 1, words)
                event = _enqueue(self.queue, launcher.kernel, size, launcher.local, None, None, False, False)
            except cl.Error as error:
                event = self._again(launcher, size, error)
            self.launches += 1
            if self.events is not None:
                self.events.append((launcher.name, event))

    def _again(self, launcher: Launcher, size: tuple[int, ...], error: Any) -> Any:
        """Once more after the cache was given back, where that may help."""
        if not errors.is_memory(error):
            raise self._problem(f"launching {launcher.name}", error) from None
        self.empty_cache()
        try:
            return _enqueue(self.queue, launcher.kernel, size, launcher.local, None, None, False, False)
        except cl.Error as second:
            if errors.is_memory(second):
                raise self._no_room(0, second) from None
            raise self._problem(f"launching {launcher.name}", second) from None

    def _command(self, run: Any, what: str) -> Any:
        if self.lost is not None:
            raise self.lost
        try:
            return run()
        except cl.Error as error:
            if not errors.is_memory(error):
                raise self._problem(what, error) from None
        self.empty_cache()
        try:
            return run()
        except cl.Error as error:
            if errors.is_memory(error):
                raise self._no_room(0, error) from None
            raise self._problem(what, error) from None

    def _problem(self, what: str, error: Any) -> MlcoreError:
        """The error of a command that failed; a device that is gone stays so."""
        if errors.code_of(error) in errors.LOST:
            self.lost = errors.gone(self.name, f"{what}: {type(error).__name__}: {error}")
            return self.lost
        return errors.failed(self.name, what, error)

    def synchronize(self) -> None:
        """Return when all that was queued is done; errors of it appear here at the latest."""
        self._command(self.queue.finish, "synchronize")

    def empty_cache(self) -> int:
        """Give memory kept for reuse back to the driver; how many bytes that were."""
        if self.lost is not None:
            return 0
        self._finish_quietly()
        return self.pool.release()

    def _finish_quietly(self) -> None:
        try:
            self.queue.finish()
        except cl.Error as error:
            if errors.code_of(error) in errors.LOST:
                raise self._problem("synchronize", error) from None

    def profile(self) -> list[tuple[str, float]]:
        """(kernel, seconds) of each launch since the last call; only for a device opened with ``?profile=1``."""
        if self.events is None:
            return []
        self.synchronize()
        events, self.events = self.events, []
        return [(name, (event.profile.end - event.profile.start) * 1e-9) for name, event in events]

    # -- kernels -----------------------------------------------------------------------------------------------

    def kernels(self, text: str, names: Sequence[tuple[str, tuple[int, ...]]]) -> list[Launcher]:
        """The kernels of a source, each with the size of its groups."""
        if self.lost is not None:
            raise self.lost
        program = self.compiler.build(text)
        return [Launcher(self.compiler.kernel(program, name), local) for name, local in names]


def _after_fork() -> None:
    """In the child the driver's threads are missing, and its locks may be held for ever: nothing may touch it."""
    for queue in list(_open):
        queue.lost = errors.forked(queue.name)
        _left.append(queue.sent)
        queue.sent = deque()
        queue.lock = threading.RLock()
        queue.pool.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
