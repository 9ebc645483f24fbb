"""What a thread can switch: recording on the tape, interceptors of operations, what checkpoint does with new nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mlcore.tensor import Node

COMPILED = not __file__.endswith(".py")


class _State(threading.local):
    """What differs between threads."""

    recording: bool = True
    interceptors: tuple[Callable[..., Any], ...] = ()
    saver: Callable[[Node], None] | None = None
    autocast: Callable[..., Any] | None = None  # gives the inputs of an operation in another precision


class Modes:
    """How many contexts that leave the default are open in any thread, and what each thread has set.

    Operations look at `special` first: a plain number, where thread-local data would cost more than the check.
    """

    __slots__ = ("local", "lock", "special")

    def __init__(self) -> None:
        self.special = 0
        self.local = _State()
        self.lock = threading.Lock()

    def count(self, change: int) -> None:
        """Enter (1) or leave (-1) a context."""
        if COMPILED:  # one step of C: no other thread comes between
            self.special += change
            return
        with self.lock:
            self.special += change


MODES = Modes()


def is_recording() -> bool:
    """Whether operations of this thread are recorded on the tape (False under no_grad)."""
    return MODES.special == 0 or MODES.local.recording


class recording:
    """Context manager and decorator that switches recording on or off for this thread."""

    __slots__ = ("before", "flag")

    def __init__(self, flag: bool = True) -> None:
        self.flag = flag
        self.before: list[bool] = []

    def __enter__(self) -> Any:
        MODES.count(1)
        local = MODES.local
        self.before.append(local.recording)
        local.recording = self.flag
        return self

    def __exit__(self, *exc: object) -> None:
        MODES.local.recording = self.before.pop()
        MODES.count(-1)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from functools import wraps

        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with recording(self.flag):
                return function(*args, **kwargs)

        return inner


class no_grad(recording):
    """Context manager and decorator: operations inside are not recorded.

    >>> import mlcore as ml
    >>> x = ml.ones((2,), requires_grad=True)
    >>> with ml.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.flag = False
        self.before = []


class enable_grad(recording):
    """Context manager and decorator: operations inside are recorded, also under no_grad."""

    __slots__ = ()

    def __init__(self) -> None:
        self.flag = True
        self.before = []


class intercept:
    """Context manager that passes every operation of this thread through `function(op, inputs, params, proceed)`.

    The profiler, the capture for compile and the anomaly detector are each one such function; `proceed()` runs
    the operation and returns its result.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __enter__(self) -> Any:
        MODES.count(1)
        MODES.local.interceptors = (*MODES.local.interceptors, self.function)
        return self

    def __exit__(self, *exc: object) -> None:
        MODES.local.interceptors = MODES.local.interceptors[:-1]
        MODES.count(-1)


class casting:
    """Context manager that lets `cast(op, inputs)` give each operation's inputs in another precision; None: no more.

    The short ways into an operation do not look at it: an interceptor that only goes on makes them take the long one.
    """

    __slots__ = ("before", "cast")

    def __init__(self, cast: Callable[..., Any] | None) -> None:
        self.cast = cast
        self.before: tuple[Any, Any] = (None, ())

    def __enter__(self) -> Any:
        MODES.count(1)
        local = MODES.local
        self.before = (local.autocast, local.interceptors)
        local.autocast = self.cast
        if self.cast is not None and _go_on not in local.interceptors:
            local.interceptors = (_go_on, *local.interceptors)
        elif self.cast is None:
            local.interceptors = tuple([one for one in local.interceptors if one is not _go_on])
        return self

    def __exit__(self, *exc: object) -> None:
        MODES.local.autocast, MODES.local.interceptors = self.before
        MODES.count(-1)


def _go_on(op: Any, inputs: Any, params: Any, proceed: Callable[[], Any]) -> Any:
    return proceed()


class saving:
    """Context manager that hands each new node to `saver(node)`: checkpoint drops the saved values this way."""

    __slots__ = ("before", "saver")

    def __init__(self, saver: Callable[[Node], None]) -> None:
        self.saver = saver
        self.before: Callable[[Node], None] | None = None

    def __enter__(self) -> Any:
        MODES.count(1)
        self.before = MODES.local.saver
        MODES.local.saver = self.saver
        return self

    def __exit__(self, *exc: object) -> None:
        MODES.local.saver = self.before
        MODES.count(-1)
