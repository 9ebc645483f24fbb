"""The worker processes of a loader, seen from the program: started, fed, watched, and ended.

Their batches come through shared memory (`shared`); what goes over the sockets is small. A worker that dies is
noticed at once, one that hangs after `timeout`; when the program ends, however it ends, so do they.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
import weakref
from collections import deque
from multiprocessing import connection as mp_connection
from multiprocessing import reduction, util
from typing import Any, Final

import numpy as np

from mlcore.backends import detect
from mlcore.config import log
from mlcore.data.fetch import NOWHERE, Crew, Job
from mlcore.data.shared import Block, unpack
from mlcore.data.threads import PATIENCE
from mlcore.data.worker import STATUS, Setup, main
from mlcore.errors import DataError, DeviceError

TURN: Final = 1.0  # seconds after which a worker's end is looked for by another way
GRACE: Final = 2.0  # seconds that a worker has to end by itself
LEASES: Final = 4  # blocks of a worker that tensors may lie in: further batches are copied
DEAD: Final = (EOFError, OSError)

_starting = threading.Lock()  # a worker forked meanwhile would keep the other's pipes open
_ends: weakref.WeakSet[Any] = weakref.WeakSet()  # the program's ends: no child may hold them


def _after_fork() -> None:
    global _starting
    _starting = threading.Lock()
    for end in list(_ends):
        end.close()
    _ends.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class WorkerTraceback(Exception):
    """The traceback that an error had in its worker process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


class _Worker:
    """One process, what it was given, and the blocks that it writes."""

    def __init__(self, setup: Setup, context: Any) -> None:
        self.number = setup.number
        self.pending: dict[int, Job] = {}  # by ticket, until its answer is here
        self.blocks: dict[int, Block] = {}
        self.last = 0  # the ticket that it was given last
        self.leases: dict[int, weakref.ref[Any]] = {}  # blocks that tensors lie in
        self.sending = threading.Lock()
        self.returned: deque[int] = deque()  # blocks to give back when the connection is free
        with _starting:
            self.connection, theirs = context.Pipe(duplex=True)
            lifeline, self.lifeline = context.Pipe(duplex=False)
            _ends.add(self.connection)
            _ends.add(self.lifeline)
            self.process = context.Process(
                target=main,
                args=(theirs, lifeline, setup),
                name=f"mlcore-loader-{self.number}",
                daemon=True,
            )
            try:
                with warnings.catch_warnings():  # Python 3.12 on: a fork beside threads; ours are safe
                    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
                    self.process.start()
            except BaseException:
                self.close()
                raise
            finally:
                theirs.close()
                lifeline.close()

    def send(self, message: Any) -> bool:
        """Whether it could be sent: a worker that is gone is found by who waits for it."""
        try:
            with self.sending:
                self.connection.send(message)
        except DEAD:
            return False
        while self.returned:
            self.give_back(self.returned.popleft())
        return True

    def lend(self, block: int, whole: Any) -> None:
        """Tensors lie in a block: it is given back when the last of them is gone."""
        owner = os.getpid()

        def ended(_: Any) -> None:
            del self.leases[block]
            if os.getpid() == owner:
                self.give_back(block)

        self.leases[block] = weakref.ref(whole, ended)

    def give_back(self, block: int) -> None:
        """Let the worker write to a block again. From any thread, and in the middle of anything: tensors end there."""
        if not self.sending.acquire(blocking=False):
            self.returned.append(block)
            return
        try:
            self.connection.send(("free", block))
        except DEAD:
            pass
        finally:
            self.sending.release()

    def position(self) -> str:
        """The sample that it is at."""
        status = self.blocks.get(STATUS)
        if status is None:
            return "while it started"
        cells = status.cells()
        at, job = cells[0], self.pending.get(cells[1])
        if job is None:
            return "between two batches"
        return f"at {job.sample(at)} of {job.label()}" if at != NOWHERE else f"at {job.label()}"

    def death(self) -> DataError:
        """What to say about its end."""
        self.process.join(1)
        code = self.process.exitcode
        where = f"worker {self.number} (pid {self.process.pid})"
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            cause = "often the system's out-of-memory killer" if name == "SIGKILL" else "a crash in C code"
            return DataError(f"DataLoader: {where} was killed by {name}, {self.position()}", cause=cause,
                             fix="use fewer workers or smaller batches, or try it with num_workers=0")  # fmt: skip
        return DataError(f"DataLoader: {where} ended with status {code}, {self.position()}",
                         cause="something in it called os._exit(), or C code did",
                         fix="try that sample with num_workers=0")  # fmt: skip

    def kill(self) -> None:
        """End it now."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()

    def close(self) -> None:
        """Let go of what belongs to it."""
        self.connection.close()
        self.lifeline.close()
        self.blocks.clear()


class ProcessPool:
    """Worker processes and the batches that they make."""

    def __init__(self, crew: Crew, context: Any) -> None:
        self.timeout, self.persistent, self.owner = crew.timeout, crew.persistent, os.getpid()
        self.tickets = 0
        self.numbers: dict[int, int] = {}  # the tickets that somebody waits for, and their batches' numbers
        self.jobs: dict[int, Job] = {}
        self.ready: dict[int, tuple[_Worker, str, int, Any]] = {}  # by number
        self.workers: list[_Worker] = []
        self.told = False
        # run at exit too, before multiprocessing waits for its children
        self.closing = util.Finalize(self, _end_all, args=(self.workers, self.owner), exitpriority=10)
        device = _device()
        try:
            for i in range(crew.count):
                start = Setup(i, crew.count, crew.seed_of(i), device, 1, crew.setup, crew.fetcher)
                self.workers.append(_start(start, context))
        except BaseException:
            self.close(quick=True)
            raise

    # -- work -----------------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Give a batch to the worker that has least to do."""
        self._receive(0)
        worker = min(self.workers, key=lambda one: (len(one.pending), one.last))
        self.tickets += 1
        self.numbers[self.tickets] = job.number
        worker.pending[self.tickets] = job
        worker.last = self.tickets
        self.jobs[job.number] = job
        worker.send(("job", self.tickets, job, True))

    def take(self, number: int | None) -> tuple[int, Any]:
        """The batch of this number, or the first that is made."""
        began, self.told = time.monotonic(), False
        while True:
            found = number if number is not None else next(iter(self.ready), None)
            if found in self.ready:
                assert found is not None
                return found, self._open(found)
            self._receive(self._turn(began, number))

    def _turn(self, began: float, number: int | None) -> float:
        """How long to wait now; raises when it was long enough."""
        waited = time.monotonic() - began
        if self.timeout and waited >= self.timeout:
            raise self._hung(number)
        if not self.told and waited > PATIENCE:
            self.told = True
            log.warning("DataLoader: nothing for %.0f s, waiting for %s", waited, self._awaited(number)[1])
        return min(TURN, self.timeout - waited) if self.timeout else TURN

    def _receive(self, seconds: float) -> None:
        """Take in what has come; raises when a worker has died."""
        sources: dict[Any, _Worker] = {}
        for worker in self.workers:
            sources[worker.connection] = sources[worker.process.sentinel] = worker
        for source in mp_connection.wait(list(sources), seconds):
            worker = sources[source]
            try:
                while worker.connection.poll(0):
                    self._message(worker, worker.connection.recv())
            except DEAD:
                raise worker.death() from None
        for worker in self.workers:
            if not worker.process.is_alive() and not worker.connection.poll(0):
                raise worker.death()

    def _message(self, worker: _Worker, message: Any) -> str | None:
        kind = message[0]
        if kind == "block":
            _, number, size, tag, replaced = message
            worker.blocks[number] = Block.receive(worker.connection, number, size, tag)
            worker.blocks.pop(replaced, None)
        elif kind == "where":
            return str(message[1])
        else:
            _, ticket, block, head = message
            worker.pending.pop(ticket, None)
            number = self.numbers.pop(ticket, None)
            if number is None:  # of an epoch that was left
                if block >= 0:
                    worker.give_back(block)
            else:
                self.ready[number] = (worker, kind, block, head)
        return None

    def _open(self, number: int) -> Any:
        worker, kind, block, head = self.ready.pop(number)
        self.jobs.pop(number, None)
        lent = None
        try:
            content, lent = unpack(head, worker.blocks.get(block), len(worker.leases) < LEASES)
        finally:
            if lent is not None:
                worker.lend(block, lent)
            elif block >= 0:
                worker.give_back(block)
        if kind == "error":
            raise _error(*content)
        return content

    # -- trouble --------------------------------------------------------------------------------------------------

    def _awaited(self, number: int | None) -> tuple[_Worker | None, str]:
        for worker in self.workers:
            for ticket, job in worker.pending.items():
                if number is None or self.numbers.get(ticket) == number:
                    who = f"worker {worker.number}, pid {worker.process.pid}, {worker.position()}"
                    return worker, f"{job.label()} ({who})"
        return None, f"batch {number}"

    def _hung(self, number: int | None) -> DataError:
        worker, text = self._awaited(number)
        stack = None
        if worker is not None and worker.send(("where",)):
            stack = self._where(worker)
        return DataError(f"DataLoader: nothing for {self.timeout:g} s", waiting=f"for {text}", stack=stack,
                         fix="look at what that sample does, or raise timeout")  # fmt: skip

    def _where(self, worker: _Worker) -> str | None:
        """The worker's stack, if it still answers."""
        try:
            while worker.connection.poll(0.5):
                if (text := self._message(worker, worker.connection.recv())) is not None:
                    return text
        except DEAD:
            pass
        return None

    # -- the end ----------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Forget what is under way; the workers stay."""
        if os.getpid() != self.owner:
            return
        for worker, _, block, _ in self.ready.values():
            if block >= 0:
                worker.give_back(block)
        self.ready.clear()
        self.numbers.clear()
        self.jobs.clear()
        for worker in self.workers:
            worker.send(("cancel", self.tickets + 1))
            worker.pending.clear()

    @property
    def closed(self) -> bool:
        """Whether it has ended, or belongs to another process."""
        return not self.workers or os.getpid() != self.owner

    def close(self, quick: bool = False) -> None:
        """End the workers: those that do not within a moment, or at once if it must be quick, are killed."""
        if quick and os.getpid() == self.owner:
            for worker in self.workers:
                worker.kill()
        self.closing()


def _end_all(workers: list[_Worker], owner: int) -> None:
    if os.getpid() != owner:  # a forked child has copies of these, and no right to them
        return
    for worker in workers:
        worker.send(("stop",))
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        worker.kill()
        worker.close()
    workers.clear()


def _device() -> str:
    """Where workers compute: on this thread's device if its arrays are in the host's memory, else on the reference."""
    device = detect.resolve(None)
    host = isinstance(device.backend.from_host(np.zeros(1)), np.ndarray)
    if host and getattr(device.backend, "fork_safe", True) is not False:
        return device.id
    return detect.resolve("reference").id


def _error(whole: bytes, said: str, notes: list[str], text: str) -> BaseException:
    """The error of a worker, as near to itself as can be."""
    error: BaseException | None = None
    if whole:
        try:
            error = pickle.loads(whole)
        except Exception:
            error = None
    if error is None:
        error = DataError(f"DataLoader: a worker raised {said}")
    error.__notes__ = notes
    error.__cause__ = WorkerTraceback(text)
    return error


def _start(setup: Setup, context: Any) -> _Worker:
    """A worker; an object that cannot be handed to it is named."""
    try:
        return _Worker(setup, context)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        fetcher = setup.fetcher
        parts = {"dataset": fetcher.dataset, "collate_fn": fetcher.collate, "worker_init_fn": setup.init}
        for name, part in parts.items():
            reason = _unpicklable(part, name)
            if reason is not None:
                raise DataError(
                    f"DataLoader: {reason[0]} cannot be given to a worker process: {reason[1]}",
                    cause=f"{context.get_start_method()} workers get a pickled copy of it",
                    fix="define it at the top level of a module, or use workers='threads'",
                ) from error
        raise
    except OSError as error:
        raise DeviceError(f"DataLoader: cannot start a worker process: {error}",
                          fix="use fewer workers, or workers='threads'") from error  # fmt: skip


def _unpicklable(value: Any, path: str, depth: int = 3) -> tuple[str, str] | None:
    """What makes a value unpicklable: the path of its innermost part that is, and what pickle says."""
    try:
        reduction.ForkingPickler.dumps(value)
    except RuntimeError:  # locks and queues that may only be inherited by a worker: those are fine
        return None
    except Exception as error:
        inner = list(vars(value).items()) if hasattr(value, "__dict__") else []
        inner = inner if depth and not callable(value) else []
        for name, part in inner:
            if (found := _unpicklable(part, f"{path}.{name}", depth - 1)) is not None:
                return found
        return f"{path} ({type(value).__name__})", str(error)
    return None


def context_of(chosen: Any) -> Any:
    """A multiprocessing context from None, a name or a context."""
    return multiprocessing.get_context(chosen) if chosen is None or isinstance(chosen, str) else chosen
