"""RocmBackend: CuPy's arrays on an AMD GPU, and kernels compiled by HIPRTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlcore_cupy.backend import CupyBackend

from mlcore.backends.protocol import Device
from mlcore.dtypes import bfloat16
from mlcore_rocm.dialect import DIALECT


class RocmBackend(CupyBackend):
    """One AMD GPU."""

    own_products = frozenset((bfloat16,))  # CuPy leaves them out of its own tests on ROCm (cupy/cupy#9630)

    def __init__(self, cupy: Any, device: Device, options: Mapping[str, str] | None = None) -> None:
        super().__init__(cupy, device, DIALECT, options)
