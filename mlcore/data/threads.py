"""The threads of a loader: datasets need no pickling, tensors no copying, and what takes the time (decoding, NumPy,
kernels) releases the interpreter's lock.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import traceback
from typing import Any, Final

from mlcore.backends import detect
from mlcore.config import log
from mlcore.data import streams
from mlcore.data.fetch import NOWHERE, Crew, Fetcher, Job
from mlcore.errors import DataError

PATIENCE: Final = 60.0  # seconds without a timeout after which a line in the log says what is waited for


class _Task:
    __slots__ = ("cell", "error", "job", "result", "thread")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cell = [NOWHERE]
        self.thread = 0
        self.result: Any = None
        self.error: BaseException | None = None


class InlinePool:
    """No workers: a batch is made when it is asked for, by the thread that asks."""

    persistent = False

    def __init__(self, fetcher: Fetcher, reseed: bool) -> None:
        self.fetcher, self.reseed = fetcher, reseed
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Make this batch some time."""
        self.jobs.append(job)

    def take(self, number: int | None) -> tuple[int, Any]:
        """The next batch."""
        job = self.jobs.pop(0)
        if not self.reseed:
            return job.number, self.fetcher.make(job, [NOWHERE], False)
        with streams.globals_kept():
            return job.number, self.fetcher.make(job, [NOWHERE], True)

    def cancel(self) -> None:
        """Forget what is not made yet."""
        self.jobs.clear()

    def close(self, quick: bool = False) -> None:
        """Nothing to end."""


class ThreadPool:
    """Daemon threads, so that a hanging sample cannot keep the program from leaving."""

    def __init__(self, crew: Crew) -> None:
        fetcher = self.fetcher = crew.fetcher
        self.timeout, self.setup, self.persistent = crew.timeout, crew.setup, crew.persistent
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.ready: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self.pending: dict[int, _Task] = {}  # by number, until they are taken
        self.done: dict[int, _Task] = {}
        self.stopped = False
        self.failed: BaseException | None = None  # of the setup
        self.device = detect.resolve(None)  # `with ml.device(...)` holds in the threads too
        infos = [
            streams.WorkerInfo(i, crew.count, crew.seed_of(i), fetcher.dataset) for i in range(crew.count)
        ]
        self.threads = [
            threading.Thread(target=self._work, args=(info,), name=f"mlcore-loader-{info.id}", daemon=True)
            for info in infos
        ]
        for one in self.threads:
            one.start()

    def submit(self, job: Job) -> None:
        """Make this batch some time."""
        task = self.pending[job.number] = _Task(job)
        self.tasks.put(task)

    def take(self, number: int | None) -> tuple[int, Any]:
        """The batch of this number, or the first that is made."""
        while True:
            found = number if number is not None else next(iter(self.done), None)
            task = self.done.pop(found, None) if found is not None else None
            if task is not None:
                del self.pending[task.job.number]
                if task.error is not None:
                    raise task.error
                return task.job.number, task.result
            self._wait(number)

    def _wait(self, number: int | None) -> None:
        """Until one more is made. Waits in short turns, since on some systems a lock cannot be interrupted."""
        began, told = time.monotonic(), False
        while True:
            try:
                task = self.ready.get(timeout=0.1)
            except queue.Empty:
                waited = time.monotonic() - began
                if self.timeout and waited > self.timeout:
                    raise self._hung(number) from None
                if not told and waited > PATIENCE:
                    told = True
                    log.warning(
                        "DataLoader: nothing for %.0f s, waiting for %s", waited, self._awaited(number)
                    )
                continue
            if self.pending.get(task.job.number) is task:  # not of an epoch that was left
                self.done[task.job.number] = task
            return

    def _awaited(self, number: int | None) -> str:
        task = self.pending[number] if number is not None else next(iter(self.pending.values()))
        at = task.cell[0]
        return task.job.label() + (f", at {task.job.sample(at)}" if at != NOWHERE else "")

    def _hung(self, number: int | None) -> DataError:
        task = self.pending[number] if number is not None else next(iter(self.pending.values()))
        frame = sys._current_frames().get(task.thread)
        where = "".join(traceback.format_stack(frame)[-3:]).strip() if frame is not None else None
        return DataError(f"DataLoader: nothing for {self.timeout:g} s", waiting=f"for {self._awaited(number)}",
                         stack=where, fix="look at what that sample does, or raise timeout")  # fmt: skip

    def cancel(self) -> None:
        """Forget what is under way; the threads stay."""
        self.pending.clear()
        self.done.clear()
        while True:
            try:
                self.tasks.get_nowait()
            except queue.Empty:
                return

    def close(self, quick: bool = False) -> None:
        """End the threads, and wait for them unless it must be quick: a thread cannot be ended by force."""
        if self.stopped:
            return
        self.stopped = True
        for _ in self.threads:
            self.tasks.put(None)
        if not quick:
            for one in self.threads:
                one.join()

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.stopped

    def _work(self, info: streams.WorkerInfo) -> None:
        streams.set_worker_info(info)
        with detect.device(self.device):
            self._serve(info.id)

    def _serve(self, number: int) -> None:
        if self.setup is not None:
            try:
                self.setup(number)
            except BaseException as error:
                self.failed = error
        while (task := self.tasks.get()) is not None:
            if not self.stopped and self.pending.get(task.job.number) is task:
                task.thread = threading.get_ident()
                try:
                    if self.failed is not None:
                        raise self.failed
                    task.result = self.fetcher.make(task.job, task.cell, False)
                except BaseException as error:  # carried to the thread that waits
                    task.error = error
                task.thread = 0
                self.ready.put(task)
            del task
