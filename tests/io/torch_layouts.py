"""Ways in which a tensor can lie in its storage, made by PyTorch: what a checkpoint may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Each is given 48 elements in a row (a contiguous tensor) and PyTorch itself.
LAYOUTS: dict[str, Callable[[Any, Any], Any]] = {
    "flat": lambda x, torch: x,
    "matrix": lambda x, torch: x.reshape(6, 8),
    "transposed": lambda x, torch: x.reshape(6, 8).t(),
    "rows": lambda x, torch: x.reshape(6, 8)[2:5],
    "columns": lambda x, torch: x.reshape(6, 8)[:, 1::3],
    "every second": lambda x, torch: x[::2],
    "offset": lambda x, torch: x[7:],
    "expanded": lambda x, torch: x[:4].reshape(4, 1).expand(4, 5),
    "expanded scalar": lambda x, torch: x[3].expand(2, 3),
    "scalar": lambda x, torch: x[5],
    "empty": lambda x, torch: x[:0],
    "empty rows": lambda x, torch: x.reshape(6, 8)[:, 3:3],
    "permuted": lambda x, torch: x.reshape(2, 4, 6).permute(2, 0, 1),
    "channels last": lambda x, torch: x.reshape(2, 3, 4, 2).contiguous(memory_format=torch.channels_last),
    "channels last 3d": lambda x, torch: x.reshape(1, 3, 2, 4, 2).contiguous(
        memory_format=torch.channels_last_3d
    ),
    "ones in the shape": lambda x, torch: x.reshape(1, 6, 1, 8, 1)[:, :1],
    "diagonal": lambda x, torch: x[:36].reshape(6, 6).diagonal(),
    "windows": lambda x, torch: x.unfold(0, 5, 2),
    "as strided": lambda x, torch: x.as_strided((3, 4), (2, 7), 5),
    "narrow": lambda x, torch: x.reshape(6, 8).narrow(1, 2, 3),
    "flipped axes": lambda x, torch: x.reshape(2, 2, 2, 6).movedim((0, 3), (2, 0)),
    "six axes": lambda x, torch: x.reshape(2, 2, 3, 1, 2, 2).transpose(0, 5),
}

NAMES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32",
    "float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
]  # fmt: skip


def row(torch: Any, name: str) -> Any:
    """48 elements of a dtype: all the bits there are, but truth values of 0 and 1."""
    dtype = getattr(torch, name)
    bits = torch.arange(48 * dtype.itemsize, dtype=torch.int64).mul(73).add(11).remainder(256).to(torch.uint8)
    return (bits & 1).view(dtype) if name == "bool" else bits.view(dtype)
