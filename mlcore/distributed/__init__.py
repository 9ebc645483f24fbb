"""Collectives: what the processes of one job do together. One small protocol; plugins bring the libraries.

The names are those of `torch.distributed`. Tensors are values, so what makes new shapes returns new tensors:
`all_gather(x)` has shape (size, *x.shape), `reduce_scatter(x)` is this process's part; `all_reduce(x)` and
`broadcast(x)` give `x` its new value, and return it.

>>> import mlcore as ml
>>> from mlcore import distributed
>>> distributed.init_process_group()        # a program that nobody launched as a job is a job of one process
<Group alone, rank 0 of 1>
>>> distributed.all_reduce(ml.asarray([1.0, 2.0]), "mean").tolist()
[1.0, 2.0]
>>> distributed.destroy_process_group()
"""

from __future__ import annotations

import threading
from typing import Any

from mlcore import config
from mlcore.distributed.group import Group
from mlcore.distributed.protocol import REDUCTIONS, Alone, Collectives, Offer, Reduction
from mlcore.errors import ArgumentError, CollectiveError, did_you_mean
from mlcore.plugin import discovery, hooks

__all__ = [
    "REDUCTIONS",
    "Collectives",
    "Group",
    "Offer",
    "all_gather",
    "all_reduce",
    "available",
    "barrier",
    "broadcast",
    "destroy_process_group",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_initialized",
    "launched",
    "open_control",
    "reduce_scatter",
]

COLLECTIVES = config.declare(
    config.Variable[str | None](
        "MLCORE_COLLECTIVES", None, str, "the library by which processes of a job work together"
    )
)
TIMEOUT = config.declare(
    config.Variable(
        "MLCORE_COLLECTIVES_TIMEOUT",
        300.0,
        config.as_seconds,
        "seconds to wait for the other processes of a job",
    )
)

_lock = threading.Lock()
_group: Group | None = None


def available() -> dict[str, Offer]:
    """What the installed plugins offer, by name."""
    discovery.load_hooks()
    return {offer.name: offer for _, offers in hooks.call("mlcore_collectives") for offer in offers}


def init_process_group(backend: str | None = None, *, timeout: float | None = None) -> Group:
    """Join the job that this process was launched in; a process of no job is a job of its own.

    `backend` names the library (default: MLCORE_COLLECTIVES, else the one by which this process was launched);
    `timeout` is in seconds. Raises ArgumentError for an unknown backend, CollectiveError if there is a group already.
    """
    global _group
    with _lock:
        if _group is not None:
            raise CollectiveError(
                f"there is a process group already: {_group}", fix="destroy_process_group() first"
            )
        limit = TIMEOUT.get() if timeout is None else float(timeout)
        if not limit > 0:
            raise ArgumentError(f"init_process_group: timeout is {timeout}", fix="seconds, more than 0")
        _group = Group(_open(backend or COLLECTIVES.get(), limit))
        return _group


def _open(name: str | None, timeout: float) -> Collectives:
    if name == Alone.name:
        return Alone(timeout)
    offers = available()
    if name is None:
        first = sorted(offers.values(), key=lambda offer: not offer.upon)
        found = next((offer for offer in first if offer.launched()), None)
        return found.open(timeout) if found is not None else Alone(timeout)
    if name not in offers:
        raise ArgumentError(
            f"there are no collectives called {name!r}{did_you_mean(name, offers)}",
            installed=", ".join([Alone.name, *offers]),
            fix="install a plugin that has them, or use one of these",
        )
    return offers[name].open(timeout)


def launched() -> Offer | None:
    """The library by which this process was launched as one of a job, of those that stand by themselves."""
    return next((one for one in available().values() if not one.upon and one.launched()), None)


def open_control(timeout: float) -> Collectives:
    """The collectives for one that works `upon` others: of the job that this process was launched in, else alone."""
    found = launched()
    return found.open(timeout) if found is not None else Alone(timeout)


def destroy_process_group() -> None:
    """Leave the job. Nothing happens where there is none."""
    global _group
    with _lock:
        if _group is not None:
            _group.collectives.close()
            _group = None


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return _group is not None


def _current() -> Group:
    if _group is None:
        raise CollectiveError(
            "there is no process group", fix="call mlcore.distributed.init_process_group() first"
        )
    return _group


def get_rank() -> int:
    """The number of this process in its job; 0 without a job."""
    return 0 if _group is None else _group.rank


def get_world_size() -> int:
    """How many processes the job has; 1 without a job."""
    return 1 if _group is None else _group.size


def all_reduce(tensor: Any, op: Reduction = "sum") -> Any:
    """Give `tensor` the sum (mean, prod, min, max) over all processes; returns it. Same shape and dtype everywhere."""
    return _current().all_reduce(tensor, op)


def all_gather(tensor: Any) -> Any:
    """The tensors of all processes by rank, as one of shape (size, *tensor.shape)."""
    return _current().all_gather(tensor)


def broadcast(tensor: Any, src: int = 0) -> Any:
    """Give `tensor` the value that it has in process `src`; returns it."""
    return _current().broadcast(tensor, src)


def reduce_scatter(tensor: Any, op: Reduction = "sum") -> Any:
    """This process's part of the reduction, which is cut in equal parts along the first axis."""
    return _current().reduce_scatter(tensor, op)


def barrier() -> None:
    """Return when every process has come here."""
    _current().barrier()
