"""KernelLibraryBackend: which kernel serves which operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mlcore.backends.kernel_library import moves, numbers
from mlcore.backends.kernel_library.machine import Machine
from mlcore.backends.protocol import Kernel
from mlcore.codegen.bodies import op_body
from mlcore.dtypes import DType


class Generated:
    """A kernel, and the dtypes it is for."""

    __slots__ = ("call", "dtypes")
    origin = "generated"

    def __init__(self, call: Callable[..., Any], dtypes: Iterable[DType] | None = None) -> None:
        self.call = call
        self.dtypes = None if dtypes is None else frozenset(dtypes)

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)


class KernelLibraryBackend(Machine):
    """One device of a runtime, with kernels generated in its dialect."""

    def kernel(self, op: Any) -> Kernel | None:
        """The kernel for an operation: of a method ``_NAME``, or from the declared body; None composes it."""
        make = getattr(self, f"_{op.name}", None)
        if make is not None:
            return Generated(make())
        if op.family in ("unary", "binary") or (op.elementwise and op.c is not None):
            return self._declared(op, numbers.formula(self, op))
        if op.family == "reduction":
            return self._declared(op, numbers.fold(self, op))
        return None

    def _declared(self, op: Any, call: Callable[..., Any]) -> Kernel | None:
        taken = [d for d in self.dtypes if op_body(op, d) is not None and self._holds(op, d)]
        return Generated(call, taken) if taken else None

    def _holds(self, op: Any, dtype: DType) -> bool:
        result = op.result[dtype.index]
        return result is None or result in self.dtypes

    # -- structure: one method an operation; it returns the kernel -----------------------------------------------------

    def _astype(self) -> Kernel:
        return partial(numbers.astype, self)

    def _reshape(self) -> Kernel:
        return partial(moves.reshape, self)

    def _permute_dims(self) -> Kernel:
        return lambda x, axes: x.permuted(axes)

    def _broadcast_to(self) -> Kernel:
        return lambda x, shape: x.broadcast(shape)

    def _slice(self) -> Kernel:
        return lambda x, key: x.sliced(key)

    def _slice_update(self) -> Kernel:
        return partial(moves.slice_update, self)

    def _concat(self) -> Kernel:
        return partial(moves.concat, self)

    def _fill(self) -> Kernel:
        return partial(moves.fill, self)

    def _iota(self) -> Kernel:
        return partial(moves.iota, self)

    def _gather(self) -> Kernel:
        return partial(moves.gather, self)

    def _index_add(self) -> Kernel:
        return moves.update(self, "index_add")

    def _scatter(self) -> Kernel:
        return moves.update(self, "scatter")

    def _where_true(self) -> Kernel:
        return partial(moves.where_true, self)

    def _sort_indices(self) -> Kernel:
        return partial(moves.sort_indices, self)

    def _searchsorted(self) -> Kernel:
        return partial(moves.searchsorted, self)

    def _reduce_argmax(self) -> Kernel:
        return numbers.extremum(self, "reduce_argmax")

    def _reduce_argmin(self) -> Kernel:
        return numbers.extremum(self, "reduce_argmin")

    def _scan_sum(self) -> Kernel:
        return numbers.running(self, "scan_sum")

    def _scan_prod(self) -> Kernel:
        return numbers.running(self, "scan_prod")

    def _contract(self) -> Kernel:
        return partial(numbers.product, self)

    def _random_bits(self) -> Kernel:
        return partial(numbers.bits, self)
