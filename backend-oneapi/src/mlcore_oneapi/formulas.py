"""Scalar formulas by a shorter way: most calls are on contiguous arrays of one shape, or with a single number, and for
those nothing about shapes has to be worked out. Everything else goes the general way."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from mlcore.backends.kernel_library import KernelArray
from mlcore.codegen import KernelSource, elementwise
from mlcore_oneapi.dialect import GROUP
from mlcore_oneapi.rows_form import LONG, WIDE, of_op

_FLAT: Final = [struct.Struct(f"<{1 + 2 * n}q") for n in range(8)]
_UNIT: Final = [struct.Struct(f"<{1 + n}q") for n in range(8)]


def formula(machine: Any, op: Any, general: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of an operation with a scalar body; `general` takes what this does not."""
    dialect = machine.dialect
    return shortened(
        machine, op.name, op.n_inputs, op.result, general,
        lambda dtype: elementwise(dialect, op, dtype, "flat"),
        lambda dtype, steps: of_op(dialect, op, dtype, steps),
        min(op.promoted) if op.promoted else 0,
    )  # fmt: skip


def shortened(
    machine: Any, name: str, count: int, results: Any, general: Callable[..., Any],
    flat: Callable[[Any], KernelSource], unit: Callable[[Any, str], KernelSource], lead: int = 0,
    long: int = LONG,
) -> Callable[..., Any]:  # fmt: skip
    """The same from its sources: in the flat form for fewer than `long` elements, else in the unit form."""
    runtime, launch, empty, prepared = machine.runtime, machine.queue.launch, machine.empty, machine.prepared
    most, groups = runtime.most_groups * GROUP, runtime.most_groups
    pack_flat, pack_unit, places = _FLAT[count + 1].pack, _UNIT[count + 1].pack, tuple(range(count + 1))
    kernels: dict[Any, Any] = {}  # by the dtype's index for the flat form, with the steps for the other
    ones = "1" * count

    def ready(key: Any, make: Callable[[], KernelSource], form: str, index: int) -> Any:
        found = kernels[key] = prepared((name, index, form), make)
        return found

    def run(*xs: KernelArray) -> KernelArray:
        first = xs[0]
        shape, n, steps = first.shape, first.size, ones
        for x in xs:
            if not x.contiguous:
                return general(*xs)  # type: ignore[no-any-return]  # a kernel returns Any
            if x.shape != shape:
                steps = ""
        if not steps:
            shape, n = max(((x.shape, x.size) for x in xs), key=_size)
            for x in xs:
                if x.shape == shape:
                    steps += "1"
                elif x.shape == ():
                    steps += "0"
                else:
                    return general(*xs)  # type: ignore[no-any-return]  # a kernel returns Any
        if not n:
            return general(*xs)  # type: ignore[no-any-return]  # a kernel returns Any
        dtype = xs[lead].dtype
        index = dtype.index
        y: KernelArray = empty(shape, results[index] or dtype)
        buffers: list[Any] = []
        words = [n]
        if n < long:
            kernel = kernels.get(index) or ready(index, lambda: flat(dtype), "flat", index)
            for place, x, step in zip(places, xs, steps):
                buffers += (place, x.buffer.buffer)
                words += (x.offset, 1 if step == "1" else 0)
            buffers += (count, y.buffer.buffer)
            words += (0, 1)
            size = -(-n // GROUP) * GROUP
            launch(kernel, tuple(buffers), pack_flat(*words), (size if size < most else most,))
            return y
        key = (index, steps)
        kernel = kernels.get(key) or ready(key, lambda: unit(dtype, steps), f"unit{steps}", index)
        for place, x in zip(places, xs):
            buffers += (place, x.buffer.buffer)
            words.append(x.offset)
        buffers += (count, y.buffer.buffer)
        words.append(0)
        size = -(-n // UNIT_BLOCK)
        launch(kernel, tuple(buffers), pack_unit(*words), ((size if size < groups else groups) * WIDE,))
        return y

    return run


UNIT_BLOCK: Final = 1024  # elements that a group takes at least


def _size(pair: tuple[Any, int]) -> tuple[int, int]:
    return len(pair[0]), pair[1]
