"""Measured profiles of devices: matrix products, memory bandwidth, launch latency and transfers.

A profile is taken on request (``mlcore devices --measure``, ``mlcore doctor --bench``), in about two seconds
a device, and kept in the cache folder under a key of everything that may change it. One whose key no longer
fits is ignored, and so is a file that cannot be read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from mlcore import config
from mlcore.backends.protocol import Device
from mlcore.errors import DeviceError
from mlcore.plugin.api import PLUGIN_API, DeviceInfo
from mlcore.plugin.probes import processor_count, processor_name
from mlcore.plugin.records import Record

GEMM_SIZES: Final = (64, 256, 1024)
HEADINGS: Final = ("GFLOP/s", "GB/s", "launch", "transfer")
_BANDWIDTH_ELEMENTS: Final = 1 << 24  # 64 MiB of float32: larger than the caches it must not measure


@dataclass(frozen=True, slots=True)
class Profile:
    """What one device can do. Rates are float32; None where the backend has no kernel of its own for it.

    `gemm` is GFLOP/s by matrix size, `bandwidth` GB/s of an elementwise sum, `launch` seconds of a call on
    eight elements, `upload` and `download` GB/s between host and device.

    >>> profile = Profile({"64": 50.0, "256": 200.0, "1024": 400.0}, 30.0, 1e-6, 10.0, 10.0)
    >>> round(profile.step_seconds * 1e3, 2)
    20.72
    """

    gemm: Mapping[str, float]
    bandwidth: float | None
    launch: float | None
    upload: float
    download: float

    @property
    def step_seconds(self) -> float:
        """Seconds that a nominal training step would take, by the roofline: 300 kernels, 5 GFLOP in matrix
        products (nine tenths of them large), 200 MB of other traffic. One figure to order devices by."""
        flops = 0.9 * self._seconds(5e9, str(GEMM_SIZES[-1])) + 0.1 * self._seconds(5e9, str(GEMM_SIZES[1]))
        traffic = 0.2 / self.bandwidth if self.bandwidth else 1.0
        return flops + traffic + 300 * (self.launch if self.launch is not None else 1e-3)

    def _seconds(self, flop: float, size: str) -> float:
        rate = self.gemm.get(size)
        return flop / (rate * 1e9) if rate else 10.0

    def row(self) -> tuple[str, str, str, str]:
        """The cells under `HEADINGS`."""
        best = f"{max(self.gemm.values()):.4g}" if self.gemm else "-"
        bandwidth = f"{self.bandwidth:.3g}" if self.bandwidth else "-"
        launch = f"{self.launch * 1e6:.2g} µs" if self.launch is not None else "-"
        return best, bandwidth, launch, f"{self.upload:.3g}/{self.download:.3g}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        gemm = {size: float(data["gemm"][size]) for size in sorted(data["gemm"], key=int)}
        optional = [None if data[name] is None else float(data[name]) for name in ("bandwidth", "launch")]
        return cls(gemm, optional[0], optional[1], float(data["upload"]), float(data["download"]))


def key(record: Record, info: DeviceInfo) -> dict[str, str]:
    """Everything that a profile depends on."""
    return {
        "device": f"{info.id} {info.uuid or info.name}".strip(),
        "driver": info.driver,
        "processor": processor_name(),
        "threads": str(config.NUM_THREADS.get() or processor_count()),
        "plugin": record.source,
        "api": PLUGIN_API,
    }


def load(record: Record, info: DeviceInfo) -> Profile | None:
    """The profile kept for this device, or None when there is none that still holds."""
    content = config.read_cache_json(_file(record, info))
    if not content or content.get("key") != key(record, info):
        return None
    try:
        return Profile.from_json(content["profile"])
    except (AttributeError, KeyError, TypeError, ValueError):
        config.log.debug("the profile of %s is corrupt and ignored", info.id)
        return None


def save(record: Record, info: DeviceInfo, profile: Profile) -> bool:
    """Keep a profile in the cache folder; False when that cannot be written."""
    return config.write_cache_json(
        _file(record, info), {"key": key(record, info), "profile": profile.to_json()}
    )


def _file(record: Record, info: DeviceInfo) -> str:
    text = f"{record.qualified}-{info.index}"
    return f"profiles/{''.join(c if c.isalnum() or c in '-._' else '_' for c in text)}.json"


def measure(device: Device, *, matmul: Any, add: Any, seconds: float = 0.2) -> Profile:
    """Measure an opened device with its kernels of these two operations. About two seconds.

    Each figure is the best of the runs that fit into `seconds`: what the device can do, not what others
    leave of it.
    """
    backend = device.backend
    rng = np.random.default_rng(0)
    product, plus = backend.kernel(matmul), backend.kernel(add)

    def best(call: Callable[[], Any]) -> float:
        call()
        backend.synchronize()
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or (time.perf_counter() < end and len(times) < 1000):
            started = time.perf_counter()
            call()
            backend.synchronize()
            times.append(time.perf_counter() - started)
        return min(times)

    try:
        gemm = {}
        for n in GEMM_SIZES if product is not None else ():
            a = backend.from_host(rng.standard_normal((n, n), dtype=np.float32))
            gemm[str(n)] = 2 * n**3 / best(lambda a=a: product(a, a)) / 1e9  # type: ignore[misc]
        host = rng.standard_normal(_BANDWIDTH_ELEMENTS, dtype=np.float32)
        upload = best(lambda: backend.from_host(host))
        large, small = backend.from_host(host), backend.from_host(host[:8].copy())
        download = best(lambda: np.array(backend.to_host(large)))
        bandwidth = launch = None
        if plus is not None:
            bandwidth = 3 * host.nbytes / best(lambda: plus(large, large)) / 1e9
            launch = best(lambda: plus(small, small))
    except Exception as error:
        raise DeviceError(
            f"device {device} could not be measured", cause=f"{type(error).__name__}: {error}"
        ) from error
    return Profile(gemm, bandwidth, launch, host.nbytes / upload / 1e9, host.nbytes / download / 1e9)


def environment() -> dict[str, str]:
    """What else bears on a measurement, for a report."""
    load_average = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return {"processor": processor_name(), "processors": str(processor_count()), "load": load_average}
