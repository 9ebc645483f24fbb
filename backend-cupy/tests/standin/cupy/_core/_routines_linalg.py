"""CuPy's switch of the precision of matrix products."""

from typing import Any

COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32 = 0, 3
chosen: dict[str, int] = {}


def set_compute_type(dtype: Any, compute_type: int) -> None:
    chosen[str(dtype)] = compute_type
