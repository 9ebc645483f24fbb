"""The threads of a loader, and the random stream that each batch has to itself.

Threads, not processes: datasets need no pickling, tensors no copying, and what takes the time (decoding, NumPy,
kernels) releases the interpreter's lock.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from mlcore.backends import detect
from mlcore.errors import DataError
from mlcore.ops import random

_current = threading.local()


def sample_generator() -> Any:
    """The random generator for the sample that is being loaded; mlcore's default one outside a loader.

    Each batch has a stream of its own, so augmentations that draw from this are the same for any number of workers.

    >>> from mlcore import data
    >>> import mlcore as ml
    >>> data.sample_generator() is ml.random.default_generator()
    True
    """
    return getattr(_current, "generator", None) or random.default_generator()


def with_generator(generator: Any, function: Callable[[], Any]) -> Any:
    """`function()` while `sample_generator()` is this one."""
    before = getattr(_current, "generator", None)
    _current.generator = generator
    try:
        return function()
    finally:
        _current.generator = before


class _Task:
    __slots__ = ("done", "error", "function", "label", "result")

    def __init__(self, function: Callable[[], Any], label: str) -> None:
        self.function, self.label = function, label
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class _Pool:
    """Daemon threads that a hanging sample cannot keep the program from leaving."""

    def __init__(self, count: int, setup: Callable[[int], Any] | None) -> None:
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.stopped = False
        self.failed: BaseException | None = None  # of the setup
        self.device = detect.resolve(None)  # `with ml.device(...)` holds in the threads too
        self.threads = [
            threading.Thread(target=self._work, args=(i, setup), name=f"mlcore-loader-{i}", daemon=True)
            for i in range(count)
        ]
        for one in self.threads:
            one.start()

    def _work(self, number: int, setup: Callable[[int], Any] | None) -> None:
        with detect.device(self.device):
            self._serve(number, setup)

    def _serve(self, number: int, setup: Callable[[int], Any] | None) -> None:
        if setup is not None:
            try:
                setup(number)
            except BaseException as error:
                self.failed = error
        while (task := self.tasks.get()) is not None:
            if not self.stopped:
                try:
                    if self.failed is not None:
                        raise self.failed
                    task.result = task.function()
                except BaseException as error:  # carried to the thread that waits
                    task.error = error
            task.done.set()
            del task

    def close(self, wait: bool) -> None:
        self.stopped = True
        for _ in self.threads:
            self.tasks.put(None)
        if wait:
            for one in self.threads:
                one.join()


def in_order(
    jobs: Iterator[tuple[Callable[[], Any], str]],
    workers: int,
    ahead: int,
    timeout: float,
    setup: Callable[[int], Any] | None,
) -> Iterator[Any]:
    """The jobs' results in the jobs' order, at most `ahead` of them under way."""
    pool = _Pool(workers, setup)
    waiting: deque[_Task] = deque()
    finished = False

    def submit() -> bool:
        job = next(jobs, None)
        if job is None:
            return False
        task = _Task(*job)
        waiting.append(task)
        pool.tasks.put(task)
        return True

    try:
        while len(waiting) < ahead and submit():
            pass
        while waiting:
            task = waiting.popleft()
            _wait(task, timeout)
            if task.error is not None:
                raise task.error
            submit()
            result, task.result = task.result, None
            yield result
        finished = True
    finally:
        pool.close(wait=finished)


def _wait(task: _Task, timeout: float) -> None:
    """Until the task is done. Waits in short turns, since on some systems a lock cannot be interrupted."""
    deadline = time.monotonic() + timeout if timeout else None
    while not task.done.wait(0.1):
        if deadline is not None and time.monotonic() > deadline:
            raise DataError(f"DataLoader: nothing for {timeout:g} s", waiting=f"for {task.label}",
                            fix="look at what that sample does, or raise timeout")  # fmt: skip
