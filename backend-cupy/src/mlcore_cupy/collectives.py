"""Collectives between GPUs: NCCL or RCCL moves the arrays, and another library (MPI, as a rule) is its control.

NCCL alone waits for ever: it neither sees that processes call different things nor that one of them is gone. So all
agree through the control before each operation, and while the device works this process looks whether the others
live. Where NCCL cannot serve a job, its arrays go through the host by the control, and a warning says why.
"""

from __future__ import annotations

import importlib
import socket
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from mlcore.backends import detect
from mlcore.distributed import Collectives, Offer, Reduction, launched, open_control
from mlcore.distributed.protocol import different
from mlcore.errors import CollectiveError
from mlcore.plugin import discovery
from mlcore_cupy.nccl import Helper, Link

Array = Any
PATIENCE = 0.2  # seconds after which a wait becomes a search for who is missing
SPIN = 2000  # looks without a pause
LINE = 256  # bytes of what processes tell each other before an operation


def offer(name: str, device_type: str) -> Offer:
    """What a backend plugin offers: of use where its GPUs are, in a job that another library launched."""

    def usable() -> bool:
        record = discovery.find_backend(device_type)
        return record is not None and record.state == "ready" and launched() is not None

    return Offer(
        name, usable, lambda timeout: CupyCollectives(name, device_type, open_control(timeout)), True
    )


class CupyCollectives:
    """The processes of a job, each with a GPU of its own."""

    def __init__(self, name: str, device_type: str, control: Collectives) -> None:
        self.name, self.device_type, self.control = name, device_type, control
        self.rank, self.size, self.timeout = control.rank, control.size, control.timeout
        self.backend: Any = None  # of the device of the first array: a process has one
        self.helper: Helper | None = None
        self.link: Link | None = None  # None with a backend: arrays go through the host
        self.count, self.doing, self.broken = 0, "the start", ""

    def takes(self, device_type: str) -> bool:
        """The GPU's own arrays; host memory is for the control."""
        return device_type == self.device_type

    # -- the operations --------------------------------------------------------------------------------------------

    def all_reduce(self, array: Array, op: Reduction) -> Array:
        return self._do("all_reduce", array, op)

    def all_gather(self, array: Array) -> Array:
        return self._do("all_gather", array)

    def broadcast(self, array: Array, root: int) -> Array:
        return self._do("broadcast", array, root)

    def reduce_scatter(self, array: Array, op: Reduction) -> Array:
        return self._do("reduce_scatter", array, op)

    def barrier(self) -> None:
        """The device's work is waited for too: what was started before is done after it, everywhere."""
        if self.backend is not None:
            self.backend.synchronize()
        self.control.barrier()

    def close(self) -> None:
        """Leave the job, all processes together."""
        self._unlink()
        self.control.close()

    def lost(self) -> str:
        return self.control.lost()

    def break_off(self, cause: str) -> None:
        self.broken = self.broken or f"{self.doing}: {cause}"
        self._unlink()
        self.control.break_off(cause)

    def _do(self, name: str, array: Array, *more: Any) -> Array:
        if isinstance(array, np.ndarray):  # of another device than the GPU
            return getattr(self.control, name)(array, *more)
        if self.broken:
            raise CollectiveError(
                f"{name}: the job is broken", cause=self.broken, fix="start it again from its last checkpoint"
            )
        backend = self._backend_of(name, array)
        self._agree(name, array, more)
        if self.backend is None:
            self.link = self._connect(backend)
            self.backend = backend
        if self.link is None:
            there = getattr(self.control, name)(np.asarray(backend.to_host(array), order="C"), *more)
            return backend.from_host(there)
        return backend.runtime.run(self._run, self.link, getattr(self.link, name), array, more)

    def _run(self, link: Link, start: Callable[..., Any], array: Array, more: tuple[Any, ...]) -> Array:
        array = link.rt.dense(array)
        begun = self._begin(lambda: link.rt.run(start, array, *more))
        try:
            self._wait(lambda: bool(begun), link.check)
            found, after = _result(begun)
            self._wait(link.done, link.check)
            return after(found)
        except CollectiveError:
            raise
        except Exception as error:  # NcclError, or CUDA's: both say that the device cannot go on
            self._give_up(f"{type(error).__name__}: {error}", error)

    def _begin(self, call: Callable[[], Any]) -> list[Any]:
        if self.helper is None:
            self.helper = Helper(f"mlcore {self.name}")
        return self.helper.begin(call)

    def _backend_of(self, name: str, array: Array) -> Any:
        index = array.device.id
        backend = detect.resolve(f"{self.device_type}:{index}").backend
        if self.backend not in (None, backend):
            raise CollectiveError(
                f"{name}: an array on {self.device_type}:{index} in a job of {self.backend.device}",
                cause="each process of a job takes part with one GPU",
                fix=f"move it to {self.backend.device} first",
            )
        if backend.runtime.held is not None:
            raise CollectiveError(
                f"{name} while a capture is on", cause="processes agree on the host before each operation",
                fix="end the capture before",
            )  # fmt: skip
        return backend

    # -- agreement -------------------------------------------------------------------------------------------------

    def _agree(self, name: str, array: Array, more: tuple[Any, ...]) -> None:
        """Every process is about to do the same thing with the same shape and dtype, or all of them raise."""
        self.count += 1
        self.doing = f"{name} #{self.count}"
        text = f"{name}{(*more, tuple(array.shape), array.dtype.name)} on {self.device_type}"
        self.broken = different(self._told(text))
        if self.broken:
            self._unlink()
            raise CollectiveError(
                f"{self.doing}: the processes do not do the same thing",
                cause=self.broken,
                fix="call the same operations in the same order, with one shape and dtype, in every process",
            )

    def _told(self, text: str) -> list[str]:
        """What each process says, by rank."""
        line = np.frombuffer(text.encode()[:LINE].ljust(LINE), np.uint8)
        try:
            lines = self.control.all_gather(line)
        except CollectiveError as error:  # it names who is gone, or does something else
            self.broken = str(error)
            self._unlink()
            raise
        return [bytes(one).decode(errors="replace").strip() for one in lines]

    # -- the communicator ------------------------------------------------------------------------------------------

    def _connect(self, backend: Any) -> Link | None:
        """Join the others' GPUs; None where NCCL cannot serve them all."""
        nccl = _nccl()
        bus = backend.runtime.device.pci_bus_id
        have = f"{nccl.get_version()}" if nccl.available else "none"
        told = [one.split("|") for one in self._told(f"{have}|{socket.gethostname()}|{bus}")]
        why = self._why_not([one[0] for one in told], [tuple(one[1:]) for one in told])
        if why:
            text = f"{self.name} is not used: {why}. {self.device_type}'s arrays go through the host"
            warnings.warn(f"{text}, by {self.control.name}", stacklevel=6)
            return None
        ours = nccl.get_unique_id() if self.rank == 0 else bytes(128)
        name = bytes(self.control.broadcast(np.frombuffer(ours, np.uint8), 0))
        communicator = lambda: nccl.NcclCommunicator(self.size, name, self.rank)  # noqa: E731  # called in another thread
        begun = self._begin(lambda: backend.runtime.run(communicator))
        self._wait(lambda: bool(begun), lambda: None)
        try:
            return Link(backend.runtime, nccl, _result(begun), self.rank, self.size)
        except Exception as error:
            self._give_up(f"{self.name} cannot start: {error}", error)

    def _why_not(self, versions: list[str], places: list[tuple[str, ...]]) -> str:
        without = [rank for rank, one in enumerate(versions) if one == "none"]
        if without:
            return f"CuPy finds no NCCL in rank {', '.join(map(str, without))} (pip install nvidia-nccl-cu13)"
        shared = [rank for rank, one in enumerate(places) if places.count(one) > 1]
        if shared:
            ranks, own = ", ".join(map(str, shared)), f"device='{self.device_type}:1'"
            return f"rank {ranks} share a GPU; give each its own, as {own}"
        return ""

    def _unlink(self) -> None:
        if self.link is not None:
            self.link.close(bool(self.broken))
            self.link = None

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _wait(self, done: Callable[[], bool], check: Callable[[], None]) -> None:
        for _ in range(SPIN):
            if done():
                return
        started, pause = time.monotonic(), 2e-5
        while not done():
            time.sleep(pause)
            pause = min(pause * 1.5, 2e-3)
            waited = time.monotonic() - started
            if waited < PATIENCE or pause < 2e-3:
                continue
            check()
            gone = self.control.lost()
            if gone:
                self._give_up(gone)
            if waited > self.timeout:
                self._give_up(f"all processes came, and it did not end within {self.timeout:g} s")

    def _give_up(self, cause: str, error: Exception | None = None) -> NoReturn:
        self.break_off(cause)
        raise CollectiveError(
            f"{self.doing} on rank {self.rank} of {self.size} cannot end",
            cause=cause,
            fix="look for that process's own error; start the job again from its last checkpoint",
        ) from error


def _result(begun: list[Any]) -> Any:
    if isinstance(begun[0], Exception):
        raise begun[0]
    return begun[0]


def _nccl() -> Any:
    """CuPy's module; its `available` tells whether the library is there."""
    with warnings.catch_warnings():  # of a missing library, which is told below with what follows from it
        warnings.simplefilter("ignore")
        return importlib.import_module(".nccl", "cupy.cuda")
