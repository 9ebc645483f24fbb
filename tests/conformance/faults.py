"""Backends with one fault each: the reference with something broken, as real backends have had it.

A fault names the operation or the device check at which the kit must notice it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.backends.protocol import MemoryStats
from mlcore.backends.reference import ReferenceBackend
from mlcore.dtypes import float32, float64, from_numpy
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


# -- gradients -----------------------------------------------------------------------------------------------------

sin, cos = registry.get("sin"), registry.get("cos")
gradient_fault("gradient of the wrong sign", "cos", 0, lambda g, x: g * sin(x))
gradient_fault("a gradient term is missing", "divide", 1, lambda g, x2, y: -g * y)
gradient_fault("a gradient off by two per cent", "sin", 0, lambda g, x: g * cos(x) * 1.02)
gradient_fault("no gradient for one input", "multiply", 1, lambda g, x1: g * 0)
gradient_fault("second order is cut off", "exp", 0, lambda g, y: g * y.detach())
gradient_fault("complex gradient not conjugated", "multiply", 0, lambda g, x2: g * x2)


# -- formulas ------------------------------------------------------------------------------------------------------


@kernel_fault("ignored stride", "exp")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: right(as_if_contiguous(x))


@kernel_fault("clobbered input", "negative")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: np.negative(x, out=x) if x.flags.writeable else right(x)


@kernel_fault("wrong dtype", "sqrt")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: right(x).astype(np.float64) if x.dtype == np.float32 else right(x)


@kernel_fault("wrong shape of a 0-d result", "add")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: np.atleast_1d(right(x, y))


@kernel_fault("wrong broadcasting of a column", "subtract")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, y: Any) -> Any:
        if x.ndim == 2 and y.ndim == 2 and x.shape[1] == 1 and y.shape[0] == 1:
            return right(np.broadcast_to(x[:1], x.shape), y)
        return right(x, y)

    return run


@kernel_fault("sign of the remainder", "remainder")
def _(op: Any, right: Kernel) -> Kernel:
    return np.fmod


@kernel_fault("quotient rounded towards zero", "floor_divide")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: np.trunc(x / y).astype(x.dtype)


@kernel_fault("halves rounded up", "round")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: np.floor(x + x.dtype.type(0.5)) if x.dtype.kind == "f" else right(x)


@kernel_fault("subnormals flushed to zero", "multiply")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, y: Any) -> Any:
        made = right(x, y)
        if made.dtype != np.float32:
            return made
        return np.where(np.abs(made) < np.finfo(np.float32).tiny, np.float32(0), made)

    return run


@kernel_fault("overflow on the way", "hypot")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: np.sqrt(x * x + y * y)


@kernel_fault("cancellation near zero", "expm1")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: np.exp(x) - x.dtype.type(1)


@kernel_fault("infinity becomes nan", "sigmoid")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: np.exp(x) / (1 + np.exp(x))


@kernel_fault("nan swallowed", "maximum")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: np.where(x > y, x, y)


@kernel_fault("bytes saturate instead of wrapping", "square")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x: (
        np.minimum(x.astype(np.int64) ** 2, 255).astype(np.uint8) if x.dtype == np.uint8 else right(x)
    )


@kernel_fault("a shift by the width shifts by nothing", "bitwise_left_shift")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: right(x, y & y.dtype.type(x.dtype.itemsize * 8 - 1))


@kernel_fault("the tail of a vector loop is left out", "tanh")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any) -> Any:
        made = np.array(right(x))
        if x.ndim == 1 and x.size > 8 and x.size % 8:
            made[-(x.size % 8) :] = 0
        return made

    return run


@kernel_fault("other results from run to run", "log")
def _(op: Any, right: Kernel) -> Kernel:
    turn = iter(range(10**9))

    def run(x: Any) -> Any:
        made = np.asarray(right(x))
        return (
            np.nextafter(made, made.dtype.type(np.inf)) if made.dtype.kind == "f" and next(turn) % 2 else made
        )

    return run


@kernel_fault("silent detour through the host", "cosh")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any) -> Any:
        backend = RUNNING[-1].backend
        return backend.from_host(np.cosh(backend.to_host(x)))

    return run


RUNNING: list[Device] = []  # the device under test, for the faults that use it


# -- reductions, order, indices ------------------------------------------------------------------------------------


@kernel_fault("off-by-one reduction", "reduce_sum")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, axis: Any, keepdims: Any) -> Any:
        return right(x[..., :-1] if x.ndim and x.shape[-1] > 64 and x.ndim - 1 in axis else x, axis, keepdims)

    return run


@kernel_fault("sum of nothing is nan", "reduce_sum")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, axis, keepdims: (
        right(x, axis, keepdims) * (1 if x.size or x.dtype.kind != "f" else x.dtype.type("nan"))
    )


@kernel_fault("wrong axis", "scan_sum")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, axis: right(x, x.ndim - 1 - axis)


@kernel_fault("missing keepdims", "max")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, axis, keepdims: right(x, axis, False)


@kernel_fault("nan swallowed by a reduction", "min")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, axis, keepdims: np.fmin.reduce(x, axis=axis, keepdims=keepdims)


@kernel_fault("argmax gives the last of equals", "reduce_argmax")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, axis: int, keepdims: bool) -> Any:
        return x.shape[axis] - 1 - np.argmax(np.flip(x, axis=axis), axis=axis, keepdims=keepdims)

    return run


@kernel_fault("mean divides by one less", "mean")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, axis: Any, keepdims: Any) -> Any:
        count = int(np.prod([x.shape[a] for a in axis]))
        return (np.sum(x, axis=axis, keepdims=keepdims) / max(1, count - 1)).astype(x.dtype)

    return run


@kernel_fault("variance by the difference of large numbers", "var")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
        n = np.prod([x.shape[a] for a in axis])
        far = x + x.dtype.type(1000 if x.dtype == np.float32 else 0)
        square = (
            np.sum(far * far, axis=axis, keepdims=keepdims) / n
            - (np.sum(far, axis=axis, keepdims=keepdims) / n) ** 2
        )
        return (square * n / (n - correction)).astype(x.dtype)

    return run


@kernel_fault("a sort that is not stable", "sort_indices")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, axis: int, descending: bool) -> Any:
        return np.flip(right(x, axis, not descending), axis=axis)

    return run


@kernel_fault("duplicates lost", "index_add")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, indices: Any, values: Any, axis: int) -> Any:
        made = np.moveaxis(x, axis, 0).copy()
        made[indices] += np.moveaxis(values, axis, 0)
        return np.moveaxis(made, 0, axis)

    return run


@kernel_fault("the first of equal indices wins", "scatter")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, i, v, axis: right(x, i[::-1], np.flip(v, axis=axis), axis)


@kernel_fault("searching on the wrong side", "searchsorted")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x1, x2, side: right(
        x1, np.nextafter(x2, np.inf) if x2.dtype.kind == "f" else x2, "left" if side == "right" else side
    )


@kernel_fault("a negative step read forwards", "slice")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, key: Any) -> Any:
        made = right(x, key)
        return made[tuple(slice(None, None, -1 if step < 0 else 1) for _, _, step in key)] if key else made

    return run


# -- products and networks -----------------------------------------------------------------------------------------


@kernel_fault("transposed operand of a product ignored", "contract")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: right(x, as_if_contiguous(y))


@kernel_fault("unstable softmax", "softmax")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, axis: (np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)).astype(x.dtype)


@kernel_fault("cross entropy off by a little", "softmax_cross_entropy")
def _(op: Any, right: Kernel) -> Kernel:
    def run(logits: Any, target: Any) -> Any:
        loss, lse = composed(op)(logits, target)
        return (loss * logits.dtype.type(1.05)).astype(logits.dtype), lse

    return run


@kernel_fault("a masked row gives nan", "scaled_dot_product_attention")
def _(op: Any, right: Kernel) -> Kernel:
    def run(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> Any:
        if mask is None or mask.dtype.kind != "b":
            return composed(op)(q, k, v, mask, is_causal, scale)
        scores = np.where(mask, q @ np.swapaxes(k, -1, -2) * q.dtype.type(scale), -np.inf)
        e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        return ((e / np.sum(e, axis=-1, keepdims=True)) @ v).astype(q.dtype)

    return run


def _resized(made: Any, shape: tuple[int, ...]) -> Any:
    """A result cut or filled up to the shape that it should have had."""
    whole = np.zeros(shape, dtype=made.dtype)
    key = tuple(slice(0, min(a, b)) for a, b in zip(made.shape, shape, strict=True))
    whole[key] = made[key]
    return whole


@kernel_fault("convolution ignores dilation", "convolution")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        good = composed(op)(x, w, b, stride, padding, dilation, groups)
        return _resized(composed(op)(x, w, b, stride, padding, (1,) * len(dilation), groups), good.shape)

    return run


@kernel_fault("convolution ignores padding", "convolution")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        good = composed(op)(x, w, b, stride, padding, dilation, groups)
        if not any(map(any, padding)):
            return good
        return _resized(composed(op)(x, w, b, stride, ((0, 0),) * len(padding), dilation, groups), good.shape)

    return run


@kernel_fault("convolution mixes up groups", "convolution")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        if groups > 1:
            parts = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
            x = np.ascontiguousarray(parts[:, ::-1]).reshape(x.shape)
        return composed(op)(x, w, b, stride, padding, dilation, groups)

    return run


@kernel_fault("the gradient of a pool goes to the last of equals", "max_pool_grad")
def _(op: Any, right: Kernel) -> Kernel:
    def run(g: Any, x: Any, y: Any, *how: Any) -> Any:
        later = np.arange(x.size, dtype=np.float64).reshape(x.shape) * 1e-4
        return composed(op)(g, (x + later).astype(x.dtype), y, *how)

    return run


@kernel_fault("average pool counts the padding", "avg_pool")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, kernel, stride, padding, count: composed(op)(x, kernel, stride, padding, True)


@kernel_fault("layer_norm with the unbiased variance", "layer_norm")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, weight: Any, bias: Any, n_axes: int, eps: float) -> Any:
        _, mean, _ = composed(op)(x, weight, bias, n_axes, eps)
        axes = tuple(range(x.ndim - n_axes, x.ndim))
        scale = 1 / np.sqrt(np.var(x, axis=axes, keepdims=True, ddof=1) + eps)
        made = (x - mean) * scale
        made = made if weight is None else made * weight
        return (made if bias is None else made + bias).astype(x.dtype), mean, scale.astype(x.dtype)

    return run


@kernel_fault("batch_norm over the wrong axes", "batch_norm")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, weight: Any, bias: Any, eps: float) -> Any:
        _, mean, rstd = composed(op)(x, weight, bias, eps)
        centre = x.mean(axis=0, keepdims=True)
        made = (x - centre) / np.sqrt(x.var(axis=0, keepdims=True) + eps)
        return made.astype(x.dtype), mean, rstd

    return run


@kernel_fault("dropout scaled wrongly", "dropout_mask")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, p: float, key: Any, offset: int) -> Any:
        return (composed(op)(x, p, key, offset) * x.dtype.type(1 - p)).astype(x.dtype)

    return run


@kernel_fault("bits of the counter after", "random_bits")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda key, offset, shape: right(key, offset + 1, shape)


@kernel_fault("weight decay coupled to the gradient", "adam_step")
def _(op: Any, right: Kernel) -> Kernel:
    def run(*args: Any) -> Any:
        return composed(op)(*args[:-2], False, args[-1])

    return run


# -- the backend itself --------------------------------------------------------------------------------------------


@backend_fault("from_host shares memory with the caller", "device/aliasing")
class _Sharing(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        return np.asarray(array)


@backend_fault("to_host gives the same buffer again", "device/aliasing")
class _Staging(ReferenceBackend):
    def to_host(self, array: Any) -> Any:
        buffers = self.__dict__.setdefault("buffers", {})
        buffer = buffers.setdefault((array.shape, array.dtype), np.empty(array.shape, array.dtype))
        buffer[...] = array
        return buffer


@backend_fault("from_host loses negative steps", "device/roundtrip/float32")
class _Forwards(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        if array.ndim and array.strides[0] < 0:
            array = array[::-1]
        return np.array(array)


@backend_fault("a buffer that all threads share", "device/threads")
class _Racy(ReferenceBackend):
    def kernel(self, op: Any) -> Any:
        right = super().kernel(op)
        if op.name != "tanh" or right is None:
            return right
        shared: dict[Any, Any] = {}

        def run(x: Any) -> Any:
            buffer = shared.setdefault((x.shape, x.dtype), np.empty_like(x))
            buffer[...] = x
            time.sleep(0.01)  # another thread's turn
            return right(buffer)

        return run


@backend_fault("a sum that depends on the number of threads", "reduce_sum")
class _Splitting(ReferenceBackend):
    threads = 1

    def set_num_threads(self, count: int) -> None:
        self.threads = count

    def get_num_threads(self) -> int:
        return self.threads

    def kernel(self, op: Any) -> Any:
        right = super().kernel(op)
        if op.name != "reduce_sum" or right is None:
            return right

        def run(x: Any, axis: Any, keepdims: bool) -> Any:
            if not x.ndim or 0 not in axis or x.shape[0] < 8 or x.dtype != np.float32:
                return right(x, axis, keepdims)
            parts = [right(part, axis, keepdims) for part in np.array_split(x, self.threads)]
            return np.asarray(sum(parts[1:], parts[0]))

        return run


@backend_fault("memory is never given back", "device/memory")
class _Leaking(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        made = super().from_host(array)
        self.__dict__.setdefault("kept", []).append(made)
        return made

    def memory_stats(self) -> MemoryStats:
        used = sum(one.nbytes for one in self.__dict__.get("kept", []))
        return MemoryStats(in_use=used, peak=used)


@backend_fault("statistics that say nothing grew", "device/memory")
class _Lying(ReferenceBackend):
    def memory_stats(self) -> MemoryStats:
        return MemoryStats(in_use=1000, peak=10)


@backend_fault("a forked child dies", "device/fork")
class _NotForkable(ReferenceBackend):
    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.owner = os.getpid()

    def from_host(self, array: Any) -> Any:
        if os.getpid() != self.owner:
            os._exit(3)
        return super().from_host(array)


@backend_fault("a dtype that is said to be held and is not", "device/roundtrip/float64")
class _Narrowing(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        with np.errstate(over="ignore"):
            return (
                np.array(array, dtype=np.float32) if array.dtype == np.float64 else super().from_host(array)
            )


@backend_fault("an operation that runs on the host and is not listed", "tan")
class _Missing(ReferenceBackend):
    def kernel(self, op: Any) -> Any:
        return None if op.name == "tan" else super().kernel(op)


def flushed(array: Any) -> Any:
    """Subnormal float32 numbers made 0, as many GPUs do it."""
    if getattr(array, "dtype", None) != np.float32:
        return array
    with np.errstate(all="ignore"):
        return np.where(np.abs(array) < np.finfo(np.float32).smallest_normal, np.float32(0) * array, array)


class Flushing(ReferenceBackend):
    """One of those, for formulas."""

    def kernel(self, op: Any) -> Any:
        right = super().kernel(op)
        if right is None or not op.elementwise:
            return right

        def run(*args: Any) -> Any:
            made = right(*map(flushed, args))
            return tuple(map(flushed, made)) if isinstance(made, tuple) else flushed(made)

        return run


class SaysSo(Flushing):
    """The same, and honest: no fault."""

    flushes = frozenset({float32})


backend_fault("subnormals are flushed and nobody says so", "device/subnormals/float32")(Flushing)


@backend_fault("subnormals are said to be flushed and are not", "device/subnormals/float64")
class _Boasting(Flushing):
    flushes = frozenset({float32, float64})
