"""Collectives of NumPy arrays through mpi4py, which never wait for ever.

Every operation is started without blocking and then watched. Before data moves, all processes agree in one small
reduction on what they are about to do, so a mismatch is an error on all of them. While they wait, each tells the
others that it has come, and looks whether the processes on its own machine still live.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import mpi4py
import numpy as np

mpi4py.rc.finalize = False  # done below, unless a process is gone: then it would wait for it

from mpi4py import MPI  # noqa: E402

from mlcore.distributed import Reduction  # noqa: E402
from mlcore.distributed.protocol import different  # noqa: E402
from mlcore.errors import CollectiveError  # noqa: E402
from mlcore.plugin.probes import process_lives  # noqa: E402

Array = np.ndarray[Any, Any]
OPERATIONS = {"sum": MPI.SUM, "mean": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}
PATIENCE = 0.2  # seconds after which a wait becomes a search for who is missing
BUSY, SPIN = (
    2000,
    200,
)  # looks without a pause, and without letting others run: most operations end within these
ARRIVED, FAILED = 1, 2  # tags of what processes tell each other while they wait


class MpiCollectives:
    """The processes of an MPI job."""

    name = "mpi"

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.comm = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.count = 0  # of operations so far: the same in every process
        self.broken, self.closed = "", False
        self.doing = "the start"
        self.tokens: list[Any] = []
        self.where: list[tuple[str, int]] = self.comm.allgather((socket.gethostname(), os.getpid()))
        _outlive_the_others()
        self._before = sys.excepthook
        sys.excepthook = self._on_exception
        atexit.register(self._at_exit)

    def takes(self, device_type: str) -> bool:
        """Host memory only: other devices hand over NumPy arrays."""
        return False

    # -- the operations --------------------------------------------------------------------------------------------

    def all_reduce(self, array: Array, op: Reduction) -> Array:
        self._agree("all_reduce", array, op)
        return self._reduced(array, op, lambda s, r: self.comm.Iallreduce(s, r, OPERATIONS[op]), array.shape)

    def all_gather(self, array: Array) -> Array:
        self._agree("all_gather", array)
        found = np.empty((self.size, *array.shape), array.dtype)
        self._finish(self.comm.Iallgather(_bytes(array), _bytes(found)))
        return found

    def broadcast(self, array: Array, root: int) -> Array:
        self._agree("broadcast", array, root)
        found = np.array(array, order="C") if self.rank == root else np.empty(array.shape, array.dtype)
        self._finish(self.comm.Ibcast(_bytes(found), root))
        return found

    def reduce_scatter(self, array: Array, op: Reduction) -> Array:
        self._agree("reduce_scatter", array, op)
        how = lambda s, r: self.comm.Ireduce_scatter_block(s, r, OPERATIONS[op])  # noqa: E731
        return self._reduced(array, op, how, array.shape[1:])

    def barrier(self) -> None:
        self._agree("barrier", np.empty(0))

    def close(self) -> None:
        """Leave the job, all processes together."""
        if not self.broken:
            self._agree("destroy_process_group", np.empty(0))
            self.closed = True
        sys.excepthook = self._before

    def _reduced(self, array: Array, op: str, start: Callable[..., Any], shape: tuple[int, ...]) -> Array:
        """A reduction in a type that MPI knows: narrow floats in float32, bools as bytes that are 0 or 1."""
        wide = array
        if array.dtype.kind == "b":
            wide = array.astype(np.int64)
        elif array.dtype.itemsize == 2 and array.dtype.kind not in "iu":
            wide = array.astype(np.float32)
        found = np.empty(shape, wide.dtype)
        self._finish(start(np.asarray(wide, order="C"), found))
        if op == "mean":
            found = found / self.size
        return found.astype(array.dtype, copy=False)

    # -- agreement -------------------------------------------------------------------------------------------------

    def _agree(self, name: str, array: Array, *more: Any) -> None:
        """Every process is about to do the same thing with the same shape and dtype, or all of them raise."""
        if self.broken:
            raise CollectiveError(
                f"{name}: the job is broken", cause=self.broken, fix="start it again from its last checkpoint"
            )
        self.count += 1
        self.doing = f"{name} #{self.count}"
        text = f"{name}{(*more, array.shape, array.dtype.name)}"
        code = zlib.crc32(text.encode())
        mine, found = np.array([code, -code], np.int64), np.empty(2, np.int64)
        self._finish(self.comm.Iallreduce(mine, found, MPI.MAX))
        if found[0] != -found[1]:
            self._disagree(text)

    def _disagree(self, text: str) -> None:
        line = text.encode()[:200].ljust(200)
        lines = np.empty((self.size, 200), np.uint8)
        self._finish(self.comm.Iallgather(np.frombuffer(line, np.uint8).copy(), lines))
        self.broken = different([bytes(one).decode(errors="replace").strip() for one in lines])
        raise CollectiveError(
            f"{self.doing}: the processes do not do the same thing",
            cause=self.broken,
            fix="call the same operations in the same order, with one shape and dtype, in every process",
        )

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _finish(self, request: Any) -> None:
        for look in range(BUSY):
            if request.Test():
                return
            if look > SPIN:  # there may be more processes than processors
                time.sleep(0)
        started, told, pause = time.monotonic(), False, 2e-5
        while not request.Test():
            time.sleep(pause)
            pause = min(pause * 1.5, 2e-3)
            waited = time.monotonic() - started
            if waited < PATIENCE:
                continue
            if not told:
                told = True
                self._tell()
            cause = self.lost() if pause >= 2e-3 else ""
            if cause:
                self._give_up(cause)
            if waited > self.timeout:
                came = self._came()
                late = [rank for rank in range(self.size) if rank not in came]
                self._give_up(self._text(late or sorted(came), f"did not come within {self.timeout:g} s"))

    def _tell(self) -> None:
        """Tell the others that this process has come to this operation. Nobody need receive it."""
        number = np.array([self.count], np.int64)
        self.tokens = [t for t in self.tokens if not t.Test()]
        for rank in range(self.size):
            if rank != self.rank:
                self.tokens.append(self.comm.Isend(number, rank, tag=ARRIVED))

    def _came(self) -> set[int]:
        """Who has told that it came to this operation."""
        came, status, number = {self.rank}, MPI.Status(), np.empty(1, np.int64)
        while self.comm.Iprobe(tag=ARRIVED, status=status):
            self.comm.Recv(number, status.Get_source(), tag=ARRIVED)
            if number[0] >= self.count:
                came.add(status.Get_source())
        return came

    def _gone(self) -> list[int]:
        """The ranks on this machine whose processes have ended."""
        here = self.where[self.rank][0]
        return [
            rank for rank, (host, pid) in enumerate(self.where) if host == here and not process_lives(pid)
        ]

    def _text(self, ranks: list[int], what: str) -> str:
        names = [f"rank {rank} (process {self.where[rank][1]} on {self.where[rank][0]})" for rank in ranks]
        return f"{', '.join(names)} {what}"

    def lost(self) -> str:
        """What another process told when it gave up, else which processes of this machine have ended."""
        if self.comm.Iprobe(tag=FAILED):
            return str(self.comm.recv(tag=FAILED))
        gone = self._gone()
        return self._text(gone, "is gone" if len(gone) == 1 else "are gone") if gone else ""

    def break_off(self, cause: str) -> None:
        """Let the others know why: they will miss this process, too."""
        self.broken = f"{self.doing}: {cause}"
        gone = self._gone()
        self.tokens += [
            self.comm.isend(cause, r, tag=FAILED) for r in range(self.size) if r not in (self.rank, *gone)
        ]

    def _give_up(self, cause: str) -> None:
        self.break_off(cause)
        raise CollectiveError(
            f"{self.doing} on rank {self.rank} of {self.size} cannot end",
            cause=cause,
            fix="look for that process's own error; start the job again from its last checkpoint",
        )

    # -- the end ---------------------------------------------------------------------------------------------------

    def _on_exception(self, kind: Any, error: Any, trace: Any) -> None:
        self.broken = self.broken or f"rank {self.rank} ended with {kind.__name__}"
        self._before(kind, error, trace)

    def _at_exit(self) -> None:
        """End MPI if all end well. After a failure MPI would wait for the process that is gone."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self.broken:
            return
        try:
            if not self.closed:
                self._agree("the end of the program", np.empty(0))
        except CollectiveError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)  # nothing else changes the status of a program that has ended
        MPI.Finalize()


def _outlive_the_others() -> None:
    """MPICH's launcher sends SIGUSR1 when a process was killed, which would kill this one before it can say so."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _bytes(array: Array) -> list[Any]:
    """An array of any dtype as bytes: moving needs no type."""
    return [array.reshape(-1).view(np.uint8), MPI.BYTE]
