"""What a library of collectives owes the core: five operations on arrays, between processes of equal rights.

A plugin offers one through the hook ``mlcore_collectives``, as a factory by name. The core's `Group` turns it into
functions of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

Array = Any
Reduction = Literal["sum", "mean", "prod", "min", "max"]
REDUCTIONS: Final[tuple[str, ...]] = get_args(Reduction)


@runtime_checkable
class Collectives(Protocol):
    """The processes of a job, and what they do together. Every process calls the same operation, in the same order.

    `takes(device_type)` says whether it works on the arrays of such a device as they are, in any layout; otherwise the
    core hands over NumPy arrays, which are C-contiguous. No operation writes its input. Where a process is dead or does
    not come within `timeout` seconds, or calls something else, the others raise `CollectiveError` with its rank and
    the operation, instead of waiting for ever.
    """

    name: str
    rank: int
    size: int
    timeout: float

    def takes(self, device_type: str) -> bool:
        """Whether arrays of this kind of device can be given as they are."""
        ...

    def all_reduce(self, array: Array, op: Reduction) -> Array:
        """Every process gets the reduction of all arrays, which have one shape and dtype."""
        ...

    def all_gather(self, array: Array) -> Array:
        """Every process gets all arrays, stacked by rank: (size, *shape)."""
        ...

    def broadcast(self, array: Array, root: int) -> Array:
        """Every process gets the array of `root`; the others' give the shape and dtype."""
        ...

    def reduce_scatter(self, array: Array, op: Reduction) -> Array:
        """Process r gets row r of the reduction of arrays of shape (size, *shape)."""
        ...

    def barrier(self) -> None:
        """Return when every process has come here."""
        ...

    def close(self) -> None:
        """Leave the job; all processes do so, or none."""
        ...

    def lost(self) -> str:
        """What is known of processes that are gone; empty while all seem to live. It waits for nobody."""
        ...

    def break_off(self, cause: str) -> None:
        """Let the others know why this process cannot go on; later calls fail here with that cause."""
        ...


Opener = Callable[[float], Collectives]


@dataclass(frozen=True, slots=True)
class Offer:
    """How a plugin makes its collectives known: `launched()` says cheaply whether this process is one of such a job.

    One with `upon` works upon another library, by which the job was launched, and moves the arrays of a device by
    itself; it is asked before the others. `mlcore.distributed.open_control` gives it the other one.

    >>> Offer("toy", launched=lambda: False, open=lambda timeout: None).name
    'toy'
    """

    name: str
    launched: Callable[[], bool]
    open: Opener
    upon: bool = False


def different(said: Sequence[str]) -> str:
    """What the processes say, by rank, where they do not say the same; empty where they do.

    >>> different(["a", "b", "a"]), different(["a", "a"])
    ('rank 0, 2: a; rank 1: b', '')
    """
    ranks: dict[str, list[int]] = {}
    for rank, one in enumerate(said):
        ranks.setdefault(one, []).append(rank)
    if len(ranks) == 1:
        return ""
    return "; ".join(f"rank {', '.join(map(str, who))}: {what}" for what, who in ranks.items())


class Alone:
    """The collectives of a job of one process: everything is what it was.

    >>> import numpy as np
    >>> Alone(1.0).all_gather(np.ones(2)).shape
    (1, 2)
    """

    name, rank, size = "alone", 0, 1

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    def takes(self, device_type: str) -> bool:
        return False

    def all_reduce(self, array: Array, op: Reduction) -> Array:
        return array

    def all_gather(self, array: Array) -> Array:
        return array[None]

    def broadcast(self, array: Array, root: int) -> Array:
        return array

    def reduce_scatter(self, array: Array, op: Reduction) -> Array:
        return array[0]

    def barrier(self) -> None:
        return None

    def close(self) -> None:
        return None

    def lost(self) -> str:
        return ""

    def break_off(self, cause: str) -> None:
        return None
