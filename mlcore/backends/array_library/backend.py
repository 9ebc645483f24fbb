"""The adapter: kernels by name, for the dtypes that the library takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mlcore.backends.array_library.bits import RandomBits
from mlcore.backends.array_library.extensions import Extensions
from mlcore.backends.array_library.gaps import GAPS
from mlcore.backends.array_library.order import Order
from mlcore.backends.array_library.structure import Structure
from mlcore.backends.protocol import Kernel, MemoryStats
from mlcore.dtype import DType
from mlcore.dtypes import from_numpy


class LibraryKernel:
    """A function of the library as a kernel: quiet about overflow, and for the dtypes that it takes."""

    __slots__ = ("array_type", "call", "dtypes", "within", "wrap")
    origin = "library"

    def __init__(self, call: Callable[..., Any], backend: ArrayLibraryBackend) -> None:
        self.call, self.within = call, backend.within
        self.array_type, self.wrap = backend.array_type, backend.xp_asarray
        self.dtypes: frozenset[DType] = backend.dtypes

    def __call__(self, *args: Any) -> Any:
        with self.within():
            made = self.call(*args)
        # NumPy and its kin return scalars, which are no arrays, for 0-d operands.
        return made if isinstance(made, (self.array_type, tuple)) else self.wrap(made)


class ArrayLibraryBackend(Structure, Order, Extensions, RandomBits):
    """One device of an array library.

    `xp` is the namespace; `library_device` is passed as ``device=`` when arrays are created, where given.

    >>> from mlcore.backends.device import Device
    >>> device = Device("toy")
    >>> device.backend = ArrayLibraryBackend(np, device=device)
    >>> device.backend.to_host(device.backend.from_host(np.ones(2))).tolist()
    [1.0, 1.0]
    """

    def synchronize(self) -> None:
        """Wait for the library's queue, where the namespace has a `synchronize`."""
        wait = getattr(self.xp, "synchronize", None)
        if callable(wait):
            wait()

    def memory_stats(self) -> MemoryStats:
        """Unknown: the standard has no word for it. Override it for a library that counts."""
        return MemoryStats()

    def kernel(self, op: Any) -> Kernel | None:
        """The library's function for an operation, for the dtypes it takes; None composes it from others."""
        make = getattr(self, f"_{op.name}", None)
        if make is not None:
            call = make()
        elif op.family in ("unary", "binary"):
            call = self._formula(op)
        elif op.family == "reduction":
            call = self._reduction(op)
        else:
            call = None
        if call is None:
            return None
        made = LibraryKernel(self.compiled(call, len(op.params)) if op.n_inputs else call, self)
        if op.family in ("unary", "binary", "reduction", "contraction"):
            made.dtypes = frozenset(self._taken(op, made))
            return made if made.dtypes else None
        return made

    def _taken(self, op: Any, kernel: Kernel) -> Iterable[DType]:
        """The dtypes for which the library's function works and gives the declared dtype."""
        params = ((0,), False) if op.family == "reduction" else ()
        shape = (1, 1) if op.family == "contraction" else (1,)
        for dtype in op.accepts & self.dtypes:
            one = self.from_host(np.ones(shape, dtype=dtype.numpy))
            try:
                made = self.tried(kernel, [one] * op.n_inputs, params)
            except Exception:  # a library says in its own way that it does not take a dtype
                continue
            wanted = op.result[dtype.index] or dtype
            if op.family != "reduction" and made is not wanted:
                continue
            yield dtype

    def tried(self, kernel: Kernel, arrays: list[Any], params: tuple[Any, ...]) -> DType:
        """The dtype of what a kernel makes of some arrays: found by running it."""
        return from_numpy(self.to_host(kernel(*arrays, *params)).dtype)

    # -- families ----------------------------------------------------------------------------------------------

    def _formula(self, op: Any) -> Callable[..., Any] | None:
        """An elementwise function. For bools, and tests of integers, the standard leaves gaps that are filled here."""
        call = self.find(op.standard)
        if call is None:
            return None
        gap = GAPS.get(op.standard)
        return call if gap is None else gap(self, call)

    def _reduction(self, op: Any) -> Callable[..., Any] | None:
        call = self.find(op.standard)
        if call is None:
            return None
        keeps = op.standard in ("sum", "prod")  # these widen small integers unless told the dtype
        to_bool = op.standard in ("any", "all")

        def run(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
            if not axis:
                return x != self.zero(x) if to_bool else x
            if keeps:
                return call(x, axis=axis, keepdims=keepdims, dtype=x.dtype)
            return call(x, axis=axis, keepdims=keepdims)

        return run
