"""einops on mlcore's tensors: `einops.rearrange(x, ...)` and its kin find this by themselves.

Layers are in `mlcore.adapters.einops_layers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from einops._backends import AbstractBackend

from mlcore.dtypes import int64
from mlcore.ops.arrange import tile
from mlcore.ops.creation import arange, asarray
from mlcore.ops.linalg import einsum
from mlcore.ops.shape import concat, expand_dims, permute_dims, stack
from mlcore.tensor import Tensor


class MlcoreBackend(AbstractBackend):
    """What einops asks of an array library. It finds its subclasses, and this one once mlcore is imported."""

    framework_name = "mlcore"

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: np.ndarray[Any, Any]) -> Any:
        return asarray(x)

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x.detach())

    def arange(self, start: int, stop: int) -> Any:
        return arange(start, stop, dtype=int64)

    def transpose(self, x: Any, axes: Any) -> Any:
        return permute_dims(x, tuple(axes))

    def reduce(self, x: Any, operation: str, axes: Any) -> Any:
        return getattr(x, operation)(axis=tuple(axes))

    def stack_on_zeroth_dimension(self, tensors: list[Any]) -> Any:
        return stack(tensors)

    def add_axis(self, x: Any, new_position: int) -> Any:
        return expand_dims(x, axis=new_position)

    def tile(self, x: Any, repeats: Any) -> Any:
        return tile(x, tuple(repeats))

    def concat(self, tensors: list[Any], axis: int) -> Any:
        joined: Any = concat
        return joined(tensors, axis=axis)

    def is_float_type(self, x: Any) -> bool:
        return bool(x.dtype.kind in "fc")

    def layers(self) -> Any:
        from mlcore.adapters import einops_layers

        return einops_layers

    def einsum(self, pattern: str, *x: Any) -> Any:
        return einsum(pattern, *x)
