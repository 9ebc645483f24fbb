"""Faults of formulas and their gradients, reductions, order and indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from faulty import (
    RUNNING,
    Kernel,
    as_if_contiguous,
    gradient_fault,
    kernel_fault,
)

from mlcore.ops import registry

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
