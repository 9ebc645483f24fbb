"""Host fallback: an operation that a device can neither run nor compose runs on NumPy, and never silently.

MLCORE_FALLBACK decides (or `policy("allow")` for a block of code): `warn` says so once per operation and device,
`error` raises, `allow` only counts. The ledger adds up what it cost.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlcore import config
from mlcore.backends.protocol import Device
from mlcore.backends.reference import NumpyKernel
from mlcore.dtypes import DType
from mlcore.errors import ArgumentError, FallbackWarning, UnsupportedOpError
from mlcore.plugin import discovery


@dataclass(slots=True)
class Cost:
    """What the fallbacks of one operation on one device have cost so far."""

    calls: int = 0
    bytes: int = 0
    seconds: float = 0.0


ledger: dict[tuple[str, str], Cost] = {}
_told: set[tuple[str, str]] = set()
_lock = threading.Lock()


class _Policy(threading.local):
    chosen: str | None = None


_policy = _Policy()


@contextlib.contextmanager
def policy(choice: str) -> Iterator[None]:
    """Set the policy ('warn', 'error' or 'allow') for a block of code in this thread."""
    if choice not in ("warn", "error", "allow"):
        raise ArgumentError(f"fallback policy {choice!r}", fix="use 'warn', 'error' or 'allow'")
    before, _policy.chosen = _policy.chosen, choice
    try:
        yield
    finally:
        _policy.chosen = before


def current() -> str:
    """The policy in force in this thread.

    >>> with policy("allow"):
    ...     current()
    'allow'
    """
    return _policy.chosen or config.FALLBACK.get()


def kernel(op: Any, device: Device, dtype: DType, user_line: Callable[[], Any]) -> Callable[..., Any]:
    """A kernel that moves the inputs to the host, runs the reference there, and moves the result back."""
    key = (op.name, device.id)
    choice = current()
    if choice == "error":
        raise UnsupportedOpError(
            f"{op.name!r} has no kernel for {dtype} on {device} and no composite",
            cause="MLCORE_FALLBACK=error forbids running it on the host",
            fix="MLCORE_FALLBACK=warn or allow, another dtype, or another device",
        )
    if key not in _told:
        _told.add(key)
        from mlcore.dispatch import describe_line

        where = describe_line(user_line())
        discovery.notify(
            "mlcore_fallback", op=op.name, device=device.id, reason=f"no kernel for {dtype}", where=where
        )
        if choice == "warn":
            _warn(op, device, dtype, where)

    def run(*args: Any) -> Any:
        started = time.perf_counter()
        backend = device.backend
        arrays = len(args) - len(op.params)
        host = [None if a is None else backend.to_host(a) for a in args[:arrays]]
        found = NumpyKernel(op.reference)(*host, *args[arrays:])
        many = found if isinstance(found, tuple) else (found,)
        made = tuple(backend.from_host(one) for one in many)
        with _lock:
            cost = ledger.setdefault(key, Cost())
            cost.calls += 1
            cost.bytes += sum(one.nbytes for one in (*host, *many) if one is not None)
            cost.seconds += time.perf_counter() - started
        return made if isinstance(found, tuple) else made[0]

    return run


def _warn(op: Any, device: Device, dtype: DType, where: str) -> None:
    warnings.warn(
        f"{op.name!r} has no kernel for {dtype} on {device}: it runs on the host, at {where}"
        " (said once; MLCORE_FALLBACK=allow|error)",
        FallbackWarning,
        stacklevel=3,
    )
