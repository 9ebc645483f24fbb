"""Elementwise compositions as one formula each, in the language of the operations' own `c=` bodies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from mlcore.backends.kernel_library.arrays import KernelArray
from mlcore.dtypes import floating
from mlcore.shapes import broadcast
from mlcore_oneapi.formulas import shortened
from mlcore_oneapi.rows_form import source

_ROOT: Final = math.sqrt(2 / math.pi)
_TANH: Final = f"tanh({_ROOT!r} * ({{x}} + 0.044715 * {{x}} * {{x}} * {{x}}))"
_PHI: Final = f"(T(0.5) * (T(1) + erf({{x}} * {math.sqrt(0.5)!r})))"

# By operation and its one parameter; `x`, or `x1` and `x2`, are the inputs.
BODIES: Final[dict[str, dict[str, str]]] = {
    "gelu": {
        "none": f"x * {_PHI.format(x='x')}",
        "tanh": f"T(0.5) * x * (T(1) + {_TANH.format(x='x')})",
    },
    "gelu_grad": {
        "none": f"x1 * ({_PHI.format(x='x2')} + x2 * (exp(x2 * x2 * T(-0.5)) * {1 / math.sqrt(2 * math.pi)!r}))",
        "tanh": f"x1 * (T(0.5) * (T(1) + {_TANH.format(x='x2')}) + T(0.5) * x2 * (T(1) - {_TANH.format(x='x2')} *"
        f" {_TANH.format(x='x2')}) * ({_ROOT!r} * (T(1) + 0.134145 * x2 * x2)))",
    },
}


def formula(machine: Any, op: Any) -> Callable[..., KernelArray]:
    """The kernel of one of BODIES, for floats."""
    kernels: dict[str, Callable[..., KernelArray]] = {}
    names = ["x"] if op.n_inputs == 1 else ["x1", "x2"]

    def made(how: str) -> Callable[..., KernelArray]:
        body, key = BODIES[op.name][how], f"{op.name}_{how}"

        def text(dtype: Any, steps: str) -> Any:
            inputs = [(name, dtype) for name in names]
            return source(machine.dialect, key, inputs, ("y", dtype), body, dtype, steps)

        def general(*xs: KernelArray) -> KernelArray:
            shape = broadcast(op.name, *(x.shape for x in xs))
            wide = [machine.contiguous(x.broadcast(shape)) for x in xs]
            made: KernelArray = short(*wide) if wide[0].size else machine.empty(shape, xs[0].dtype)
            return made

        ones = "1" * len(names)
        short = shortened(
            machine, key, len(names), op.result, general, lambda dtype: text(dtype, ones), text, long=0
        )
        kernels[how] = short
        return short

    def run(*given: Any) -> KernelArray:
        *xs, how = given
        return (kernels.get(how) or made(how))(*xs)

    return run


DTYPES: Final = floating
