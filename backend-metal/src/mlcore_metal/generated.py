"""Elementwise Metal kernels generated from the operations' `c=` bodies, for what MLX would need several launches for.

Their twins are the MLX compositions of `elementwise`; on a processor only those run. A kernel that does not compile is
told once, and its twin runs instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from mlcore.codegen import KernelSource, elementwise
from mlcore.codegen.layout import broadcast_strides, launches, row_major
from mlcore.dtypes import DType, all_dtypes
from mlcore.errors import DeviceLostError, FallbackWarning
from mlcore_metal.creation import native
from mlcore_metal.dialect import HEADER, THROUGH_MLX
from mlcore_metal.library import mx
from mlcore_metal.metal_kernels import MetalSource

OPS = frozenset((
    "bitwise_left_shift", "bitwise_right_shift", "copysign", "floor_divide", "hypot", "logaddexp", "nextafter", "relu6",
    "relu6_grad", "relu_grad", "remainder", "sigmoid_grad", "sign", "silu", "silu_grad", "softplus", "tanh_grad",
))  # fmt: skip
_DTYPES = {d.name: d for d in all_dtypes}


@lru_cache(maxsize=1024)
def source_of(op: Any, dtype: DType, form: str) -> tuple[MetalSource, tuple[Any, ...]]:
    """The kernel of an operation as MLX takes it, and the dtypes of its results."""
    found = elementwise(THROUGH_MLX, op, dtype, form)
    return as_metal(found, len(op.inputs))


def as_metal(found: KernelSource, n_inputs: int) -> tuple[MetalSource, tuple[Any, ...]]:
    """A generated source as one for MLX: its functions before it, its words as the last input."""
    header = HEADER + "".join(f"{text}\n" for _, text in found.parts)
    arrays, kinds = found.arrays, found.dtypes
    made = MetalSource(
        found.name, (*arrays[:n_inputs], "words"), arrays[n_inputs:], f"{found.body}\n", header, found.op
    )
    return made, tuple(native(_DTYPES[kind]) for kind in kinds[n_inputs:])


def words_of(shapes: list[tuple[int, ...]]) -> tuple[tuple[int, ...], str, np.ndarray[Any, Any]]:
    """(shape of the result, form, words) of a launch over contiguous arrays that broadcast."""
    shape = tuple(np.broadcast_shapes(*shapes))
    views = [(0, broadcast_strides(one, row_major(one), shape)) for one in shapes]
    ((form, words),) = list(launches(shape, [*views, (0, row_major(shape))]))[:1]
    return shape, form, np.array(words, dtype=np.int64)


class Generated:
    """A generated kernel in the place of its twin, once it has been seen to run."""

    def __init__(self, op: Any, twin: Callable[..., Any], evaluate: Callable[[Any], None]) -> None:
        self.op, self.twin, self.evaluate = op, twin, evaluate
        self.proven: set[tuple[Any, str]] = set()
        self.broken: set[Any] = set()
        self.dtypes = {native(d): d for d in all_dtypes if d in op.accepts and hasattr(mx, d.name)}

    def __call__(self, *inputs: Any) -> Any:
        kind = inputs[0].dtype
        if kind in self.broken or kind not in self.dtypes or any(len(one.shape) > 8 for one in inputs):
            return self.twin(*inputs)
        shape, form, words = words_of([tuple(one.shape) for one in inputs])
        source, kinds = source_of(self.op, self.dtypes[kind], form)
        try:
            made = source.run([*inputs, mx.array(words)], [shape], kinds, int(words[0]))[0]
            if (kind, form) not in self.proven:
                self.evaluate(made)  # compiled here: an error would come up anywhere else later
                self.proven.add((kind, form))
        except DeviceLostError:
            raise
        except RuntimeError as error:
            return self._without(kind, source, error, inputs)
        return made

    def _without(self, kind: Any, source: MetalSource, error: Exception, inputs: tuple[Any, ...]) -> Any:
        self.broken.add(kind)
        line = (str(error).strip().splitlines() or ["no message"])[0]
        warnings.warn(
            f"{self.op.name}: its Metal kernel {source.name} does not run for {kind}: {line}; "
            "MLX's functions do it instead",
            FallbackWarning,
            stacklevel=4,
        )
        return self.twin(*inputs)
