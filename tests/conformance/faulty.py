"""Backends with one fault each: the reference with something broken, as real backends have had it.

A fault names the operation or the device check at which the kit must notice it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.backends.reference import ReferenceBackend
from mlcore.dtypes import from_numpy
from mlcore.ops import registry
from mlcore.tensor import wrap

Kernel = Callable[..., Any]


class Mutant(ReferenceBackend):
    """The reference backend with some kernels replaced: `kernels[name](op, original)` gives the broken one."""

    kernels: ClassVar[dict[str, Callable[[Any, Any], Kernel]]] = {}

    def kernel(self, op: Any) -> Any:
        original = super().kernel(op)
        broken = self.kernels.get(op.name)
        if broken is None:
            return original
        call = broken(op, original)

        def quiet(*args: Any) -> Any:
            with np.errstate(all="ignore"):
                made = call(*args)
            return tuple(map(np.asarray, made)) if isinstance(made, tuple) else np.asarray(made)

        return quiet


def composed(op: Any) -> Kernel:
    """An operation's body as a kernel on NumPy arrays: what a fused kernel would compute, to be broken afterwards."""

    def run(*args: Any) -> Any:
        where = detect.resolve("reference")
        count = len(args) - len(op.params)
        tensors = [None if a is None else wrap(a, where, from_numpy(a.dtype), a.shape) for a in args[:count]]
        made = op.body(*tensors, **dict(zip(op.params, args[count:], strict=True)))
        return tuple(one.numpy() for one in made) if isinstance(made, tuple) else made.numpy()

    return run


@dataclass(frozen=True)
class Fault:
    """A way to be wrong: `plant` opens the faulty device; `at` is an operation, or a device unit."""

    name: str
    at: str
    plant: Callable[[], contextlib.AbstractContextManager[Device]]


FAULTS: list[Fault] = []


def device_of(kind: type[ReferenceBackend]) -> Device:
    """A device of its own for a backend class, known to nobody else."""
    device = Device("mutant")
    device.backend = kind(device)
    return device


def kernel_fault(name: str, at: str) -> Callable[[Callable[[Any, Any], Kernel]], None]:
    """Declare a fault in the kernel of operation `at`: the function gets the op and the right kernel."""

    def declare(make: Callable[[Any, Any], Kernel]) -> None:
        @contextlib.contextmanager
        def plant() -> Iterator[Device]:
            yield device_of(type("Broken", (Mutant,), {"kernels": {at: make}}))

        FAULTS.append(Fault(name, at, plant))

    return declare


def backend_fault(name: str, at: str) -> Callable[[type[ReferenceBackend]], None]:
    """Declare a fault in the backend's own methods."""

    def declare(kind: type[ReferenceBackend]) -> None:
        @contextlib.contextmanager
        def plant() -> Iterator[Device]:
            yield device_of(kind)

        FAULTS.append(Fault(name, at, plant))

    return declare


def gradient_fault(name: str, at: str, which: int, rule: Callable[..., Any]) -> None:
    """Declare a fault in the gradient of `at`: `rule` stands in for one of its vjps, with the same parameters."""

    @contextlib.contextmanager
    def plant() -> Iterator[Device]:
        op = registry.get(at)
        kept = op.vjps
        op.vjps = tuple(rule if i == which else one for i, one in enumerate(kept))
        try:
            yield device_of(ReferenceBackend)
        finally:
            op.vjps = kept

    FAULTS.append(Fault(name, at, plant))


def as_if_contiguous(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a kernel without a look at the strides would read."""
    base = x.base
    while isinstance(base, np.ndarray) and isinstance(base.base, np.ndarray):
        base = base.base
    if (
        x.flags.c_contiguous
        or not isinstance(base, np.ndarray)
        or base.size < x.size
        or base.dtype != x.dtype
    ):
        return x
    return base.reshape(-1, order="A")[: x.size].reshape(x.shape)


RUNNING: list[Device] = []  # the device under test, for the faults that use it
