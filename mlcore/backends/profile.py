"""Measured profiles of devices: matrix products, memory bandwidth, launch latency and transfers.

A profile is taken on request (``mlcore devices --measure``, ``mlcore doctor --bench``), in about two seconds
a device, and kept in the cache folder under a key of everything that may change it. One whose key no longer
fits is ignored, and so is a file that cannot be read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
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
HEADINGS: Final = ("GFLOP/s", "GB/s", "launch", "transfer", "measured")
_FIRST_ELEMENTS: Final = 1 << 18  # 1 MiB of float32, for devices that are slow or small
_BANDWIDTH_ELEMENTS: Final = 1 << 24  # 64 MiB: larger than the caches it must not measure


@dataclass(frozen=True, slots=True)
class Profile:
    """What one device can do. Rates are float32; None where the backend has no kernel of its own for it.

    `gemm` is GFLOP/s by matrix size, `bandwidth` GB/s of an elementwise sum, `launch` seconds of a call on
    eight elements, `upload` and `download` GB/s between host and device; `queued` seconds of such a call among
    many that nobody waits for, `memory` the bytes that were free, `taken` when it was measured (seconds since
    1970), `fused` the compositions for which the device has a kernel of its own (None: nobody looked).

    >>> profile = Profile({"64": 50.0, "256": 200.0, "1024": 400.0}, 30.0, 1e-6, 10.0, 10.0)
    >>> round(profile.step_seconds * 1e3, 2)
    20.72
    """

    gemm: Mapping[str, float]
    bandwidth: float | None
    launch: float | None
    upload: float
    download: float
    queued: float | None = None
    memory: int | None = None
    taken: float = 0.0
    fused: tuple[str, ...] | None = None

    @property
    def step_seconds(self) -> float:
        """Seconds that a nominal training step would take, by the roofline: 300 kernels, 5 GFLOP in matrix
        products (nine tenths of them large), 200 MB of other traffic. One figure to order devices by."""
        flops = 0.9 * self._seconds(5e9, str(GEMM_SIZES[-1])) + 0.1 * self._seconds(5e9, str(GEMM_SIZES[1]))
        traffic = 0.2 / self.bandwidth if self.bandwidth else 1.0
        return flops + traffic + 300 * (self.launch if self.launch is not None else 1e-3)

    def _seconds(self, flop: float, size: str) -> float:
        measured = [
            known for known in self.gemm if int(known) <= int(size)
        ]  # a slow device has no larger ones
        rate = self.gemm[max(measured, key=int)] if measured else None
        return flop / (rate * 1e9) if rate else 10.0

    def row(self) -> tuple[str, ...]:
        """The cells under `HEADINGS`."""
        best = f"{max(self.gemm.values()):.4g}" if self.gemm else "-"
        bandwidth = f"{self.bandwidth:.3g}" if self.bandwidth else "-"
        launch = f"{self.launch * 1e6:.2g} µs" if self.launch is not None else "-"
        return best, bandwidth, launch, f"{self.upload:.3g}/{self.download:.3g}", self.age()

    def age(self, now: float | None = None) -> str:
        """How long ago it was measured, in words; empty where that is unknown.

        >>> Profile({}, None, None, 1.0, 1.0, taken=1000.0).age(now=1000.0 + 3 * 86400)
        '3 days ago'
        """
        if not self.taken:
            return ""
        seconds = max(0.0, (time.time() if now is None else now) - self.taken)
        for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
            if seconds >= size:
                count = int(seconds // size)
                return f"{count} {unit}{'s' if count > 1 else ''} ago"
        return "just now"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        gemm = {size: float(data["gemm"][size]) for size in sorted(data["gemm"], key=int)}
        optional = [None if data[name] is None else float(data[name]) for name in ("bandwidth", "launch")]
        rates = float(data["upload"]), float(data["download"])
        fused = data.get("fused")
        return cls(
            gemm, optional[0], optional[1], *rates,
            None if data.get("queued") is None else float(data["queued"]),
            None if data.get("memory") is None else int(data["memory"]),
            float(data.get("taken") or 0.0),
            None if fused is None else tuple(map(str, fused)),
        )  # fmt: skip


def key(record: Record, info: DeviceInfo) -> dict[str, str]:
    """Everything that a profile depends on."""
    return {
        "device": info.uuid or f"{info.id} {info.name}".strip(),
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
    text = f"{record.qualified}-{info.uuid or info.index}"  # the same one, whatever its number is today
    return f"profiles/{''.join(c if c.isalnum() or c in '-._' else '_' for c in text)}.json"


def measure(
    device: Device, *, matmul: Any, add: Any, ops: Iterable[Any] = (), seconds: float = 0.2
) -> Profile:
    """Measure an opened device with its kernels of these two operations. About two seconds.

    Each figure is the best of the runs that fit into `seconds`: what the device can do, not what others
    leave of it. A slow device is not kept busy: a larger size is left out when the one before it says that a
    single run would take longer than ten times `seconds`. `ops` are looked up for kernels of their own.
    """
    try:
        return _Measurement(device, seconds).profile(matmul, add, ops)
    except Exception as error:
        raise DeviceError(
            f"device {device} could not be measured", cause=f"{type(error).__name__}: {error}"
        ) from error


class _Measurement:
    """What is measured on one device, each thing within its time."""

    def __init__(self, device: Device, seconds: float) -> None:
        self.device, self.backend, self.seconds = device, device.backend, seconds
        self.rng = np.random.default_rng(0)
        self.longest = 10 * seconds  # of a single run

    def best(self, call: Callable[[], Any]) -> float:
        """The shortest of the runs that fit: one where that takes long enough, else three or more."""
        started = time.perf_counter()
        call()
        self.backend.synchronize()
        first = time.perf_counter() - started
        if first > 3 * self.seconds:
            return first
        times: list[float] = []
        end = time.perf_counter() + self.seconds
        while len(times) < 3 or (time.perf_counter() < end and len(times) < 1000):
            started = time.perf_counter()
            call()
            self.backend.synchronize()
            times.append(time.perf_counter() - started)
        return min(times)

    def profile(self, matmul: Any, add: Any, ops: Iterable[Any]) -> Profile:
        product, plus = self.backend.kernel(matmul), self.backend.kernel(add)
        gemm = self._products(product) if product is not None else {}
        host, upload = self._upload()
        large, small = self.backend.from_host(host), self.backend.from_host(host[:8].copy())
        download = self.best(lambda: np.array(self.backend.to_host(large)))
        bandwidth = launch = queued = None
        if plus is not None:
            bandwidth = 3 * host.nbytes / self.best(lambda: plus(large, large)) / 1e9
            launch = self.best(lambda: plus(small, small))
            queued = self._queued(lambda: plus(small, small), launch)
        stats = self.backend.memory_stats()
        free = None if stats.limit is None else stats.limit - (stats.in_use or 0)
        rates = (host.nbytes / upload / 1e9, host.nbytes / download / 1e9)
        return Profile(gemm, bandwidth, launch, *rates, queued, free, time.time(), self._fused(ops))

    def _products(self, product: Callable[..., Any]) -> dict[str, float]:
        gemm: dict[str, float] = {}
        taken = 0.0
        for before, n in zip((None, *GEMM_SIZES), GEMM_SIZES):
            if before is not None and taken * (n / before) ** 3 > self.longest:
                break
            a = self.backend.from_host(self.rng.standard_normal((n, n), dtype=np.float32))
            # a default binds the loop's value
            taken = self.best(lambda a=a: product(a, a))  # type: ignore[misc]  # the default binds the loop's value
            gemm[str(n)] = 2 * n**3 / taken / 1e9
        return gemm

    def _upload(self) -> tuple[np.ndarray[Any, Any], float]:
        """The array that bandwidth is measured with, and the seconds that it takes from the host: the largest of
        a growing row that fits the device and the time."""
        limit = self.backend.memory_stats().limit
        most = _BANDWIDTH_ELEMENTS if limit is None else min(_BANDWIDTH_ELEMENTS, limit // 64)
        size = _FIRST_ELEMENTS
        while True:
            host = self.rng.standard_normal(size, dtype=np.float32)
            # a default binds the loop's value
            # The default binds the loop's value.
            taken = self.best(lambda host=host: self.backend.from_host(host))  # type: ignore[misc]
            if size * 4 > max(most, _FIRST_ELEMENTS) or taken * 4 > self.seconds:
                return host, taken
            size *= 4

    def _queued(self, call: Callable[[], Any], launch: float) -> float:
        """Seconds of each of many small calls, when nobody waits for the single one."""
        count = max(1, min(200, int(self.seconds / max(launch, 1e-9) / 4)))

        def many() -> None:
            for _ in range(count):
                call()

        return self.best(many) / count

    def _fused(self, ops: Iterable[Any]) -> tuple[str, ...] | None:
        found = [op.name for op in ops if op.body is not None and self._has_kernel(op)]
        return tuple(sorted(found)) if ops else None

    def _has_kernel(self, op: Any) -> bool:
        try:
            return self.backend.kernel(op) is not None
        except Exception:  # one that cannot be made is composed
            return False


def environment() -> dict[str, str]:
    """What else bears on a measurement, for a report."""
    load_average = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return {"processor": processor_name(), "processors": str(processor_count()), "load": load_average}
