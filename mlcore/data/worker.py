"""A worker process: jobs in over a socket, batches out through shared memory, and its end when the program ends."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any, Final

import numpy as np

from mlcore.backends import detect
from mlcore.data import streams
from mlcore.data.assemble import Assembly
from mlcore.data.fetch import NOWHERE, Fetcher, Job
from mlcore.data.shared import Arena, Block, Pending

TRACE: Final = 20_000  # characters of a traceback that are kept
KEPT: Final = 24 << 20  # bytes that a worker may keep for the next sample
STATUS: Final = 0  # the number of the block that says what the worker is doing


@dataclass(frozen=True)
class Setup:
    """What a worker is told when it starts."""

    number: int
    count: int
    seed: int
    device: str
    threads: int
    init: Callable[[int], Any] | None
    fetcher: Fetcher


class Stopped(Exception):
    """The program has closed the loader."""


def main(connection: Any, lifeline: Any, setup: Setup) -> None:
    """The whole life of a worker process."""
    for name in ("SIGINT", "SIGTERM"):  # sent to the whole group: the program decides what to do
        with contextlib.suppress(AttributeError, ValueError):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _die_with(lifeline)
    worker = _Worker(connection, setup)
    # glibc returns memory to the system after each sample, and gets it back page by page, until it has seen a large
    # piece come and go (its thresholds follow the largest). This one is never written to, so it costs nothing.
    np.empty(KEPT, np.uint8)
    threading.Thread(target=worker.listen, name="mlcore-listen", daemon=True).start()
    with detect.device(setup.device):
        count = getattr(detect.resolve(None).backend, "set_num_threads", None)
        if count is not None:
            count(setup.threads)
        worker.serve()


def _die_with(lifeline: Any) -> None:
    """Have the system kill this process when the program's end of a pipe closes, even while C code hangs here."""
    if sys.platform == "linux":
        import fcntl

        fd = lifeline.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, getattr(fcntl, "F_SETSIG", 10), signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        if lifeline.poll(0):  # it closed before
            os._exit(1)


class _Worker:
    def __init__(self, connection: Any, setup: Setup) -> None:
        self.connection, self.setup, self.fetcher = connection, setup, setup.fetcher
        self.arena = Arena(self._take_back)
        self.sending = threading.Lock()
        self.jobs: queue.SimpleQueue[tuple[int, Job, bool] | None] = queue.SimpleQueue()
        self.returned: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.cancelled = 0  # tickets below this are of no interest
        self.blocks: dict[int, Block] = {}
        self.main = threading.get_ident()
        status = Block.new(STATUS, 16)
        self.cell = _Cell(status.cells(), self)
        self._announce(status)

    # -- the listening thread -------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take messages at once, so that the program never waits; end when it is gone."""
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            kind = message[0]
            if kind == "job":
                self.jobs.put(message[1:])
            elif kind == "free":
                self.returned.put(message[1])
            elif kind == "cancel":
                self.cancelled = message[1]
            elif kind == "where":
                self._send(("where", self._stack()))
            else:
                self.cancelled = sys.maxsize
                self.jobs.put(None)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self.main)
        return "".join(traceback.format_stack(frame)[-3:]).strip() if frame is not None else ""

    def _send(self, message: Any) -> None:
        with self.sending:
            self.connection.send(message)

    def _announce(self, block: Block, replaced: int = -1) -> None:
        with self.sending:
            self.connection.send(("block", block.number, block.size, block.tag, replaced))
            block.send(self.connection)

    # -- the main thread ------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Job after job."""
        setup = self.setup
        streams.seed_globals(setup.seed)
        streams.set_worker_info(
            streams.WorkerInfo(setup.number, setup.count, setup.seed, self.fetcher.dataset)
        )
        self.fetcher.assembly = lambda size: Assembly(size, self.arena.empty, Pending)
        failed = self._initialise()
        while (one := self.jobs.get()) is not None:
            ticket, job, reseed = one
            if ticket >= self.cancelled:
                try:
                    self._answer(ticket, job, reseed, failed)
                except OSError:  # the program is gone
                    os._exit(1)

    def _initialise(self) -> BaseException | None:
        try:
            if self.setup.init is not None:
                self.setup.init(self.setup.number)
        except BaseException as error:
            return error
        return None

    def _answer(self, ticket: int, job: Job, reseed: bool, failed: BaseException | None) -> None:
        self.arena.begin()
        self.cell.ticket(ticket)
        try:
            if failed is not None:
                raise failed
            batch = self.fetcher.make(job, self.cell, reseed)
            number, head = self._pack(batch, job)
            kind = "done"
        except Stopped:
            return
        except BaseException as error:
            self.arena.begin()
            kind = "error"
            number, head = self.arena.pack(_portable(error))
        self.cell.ticket(0)
        for block, replaced in self.arena.fresh:
            self.blocks[block.number] = block
            self.blocks.pop(replaced, None)
            self._announce(block, replaced)
        self.arena.fresh.clear()
        self._send((kind, ticket, number, head))

    def _pack(self, batch: Any, job: Job) -> tuple[int, Any]:
        try:
            return self.arena.pack(batch)
        except Exception as error:
            name = type(self.fetcher.dataset).__name__
            error.add_note(f"while handing the batch of {job.label()} of {name} to the program")
            error.add_note(
                "what a worker process makes has to be picklable; workers='threads' has no such need"
            )
            raise

    def _take_back(self) -> None:
        while True:
            try:
                number = self.returned.get_nowait()
            except queue.Empty:
                return
            if number in self.blocks:
                self.arena.release(self.blocks[number])


class _Cell:
    """The status block seen as the fetcher's cell: [0] is the position in the batch, [1] the ticket."""

    def __init__(self, numbers: memoryview, worker: _Worker) -> None:
        self.numbers, self.worker = numbers, worker
        numbers[0], numbers[1] = NOWHERE, 0

    def ticket(self, ticket: int) -> None:
        self.numbers[0], self.numbers[1] = NOWHERE, ticket

    def __setitem__(self, index: int, position: int) -> None:
        if self.worker.cancelled > self.numbers[1] > 0 and position != NOWHERE:
            raise Stopped
        self.numbers[0] = position


def _portable(error: BaseException) -> tuple[bytes, str, list[str], str]:
    """An exception as (itself pickled or nothing, its name and text, its notes, its traceback)."""
    text = "".join(traceback.format_exception(error))
    if len(text) > TRACE:
        text = f"{text[: TRACE // 2]}\n...\n{text[-TRACE // 2 :]}"
    notes = [str(note) for note in getattr(error, "__notes__", [])]
    try:
        whole = bytes(reduction.ForkingPickler.dumps(error))
        same = type(pickle.loads(whole)) is type(error)
    except Exception:  # an exception that cannot be pickled, or not be made again
        same = False
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:
        said = type(error).__name__
    return whole if same else b"", said, notes, text
