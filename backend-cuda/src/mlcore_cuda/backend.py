"""CudaBackend: CuPy's arrays on an NVIDIA GPU, and kernels compiled by NVRTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlcore_cupy.backend import CupyBackend

from mlcore.backends.protocol import Device
from mlcore_cuda.dialect import DIALECT


class CudaBackend(CupyBackend):
    """One NVIDIA GPU."""

    def __init__(self, cupy: Any, device: Device, options: Mapping[str, str] | None = None) -> None:
        super().__init__(cupy, device, DIALECT, options)
