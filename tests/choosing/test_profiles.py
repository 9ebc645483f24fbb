"""Measured profiles: bounded on slow devices, kept by the hardware's identity and driver, old ones told."""

from __future__ import annotations

import time
from typing import Any

import pytest

import mlcore as ml
from mlcore.backends import detect, profile
from mlcore.backends.protocol import MemoryStats
from mlcore.backends.ranking import ranked
from mlcore.backends.reference import ReferenceBackend
from mlcore.ops import registry
from mlcore.ops.elementwise import add
from mlcore.ops.linalg import contract


class Sluggish(ReferenceBackend):
    """A device of 0.01 GFLOP/s and 0.02 GB/s that starts a kernel in 3 ms and has 64 MiB."""

    def kernel(self, op: Any) -> Any:
        inner = super().kernel(op)
        if op.name == "contract":
            return lambda x, y: self.after(2 * x.shape[-1] ** 3 / 1e7, inner(x, y))
        return None if inner is None else lambda *args: self.after(3e-3 + args[0].nbytes / 2e7, inner(*args))

    def from_host(self, array: Any) -> Any:
        return self.after(array.nbytes / 2e7, super().from_host(array))

    def memory_stats(self) -> MemoryStats:
        return MemoryStats(in_use=2**20, limit=64 * 2**20)

    @staticmethod
    def after(seconds: float, made: Any) -> Any:
        time.sleep(min(seconds, 30))
        return made


def measured(device: Any, seconds: float = 0.05) -> profile.Profile:
    return profile.measure(device, matmul=contract, add=add, ops=registry.all_ops(), seconds=seconds)


def test_a_slow_device_is_not_kept_busy(provide: Any) -> None:
    provide("sluggish", make=Sluggish)
    device = detect.resolve("sluggish")
    started = time.perf_counter()
    found = measured(device)
    assert time.perf_counter() - started < 10
    assert list(found.gemm) == ["64"]  # 256 would take three seconds, 1024 three minutes
    assert found.gemm["64"] == pytest.approx(0.01, rel=0.2)
    assert found.launch == pytest.approx(3e-3, rel=0.5)
    assert found.memory == 63 * 2**20
    assert found.age() == "just now"
    assert found.step_seconds > 500  # by the largest size that there is: 5 GFLOP at 0.01 GFLOP/s


def test_a_quick_device_is_measured_whole(provide: Any) -> None:
    provide("quick")
    found = measured(detect.resolve("quick"), seconds=0.2)
    assert list(found.gemm) == ["64", "256", "1024"]
    assert 0 < found.queued <= found.launch * 3
    assert profile.Profile.from_json(found.to_json()) == found
    composed = {op.name for op in registry.all_ops() if op.body is not None and op.reference is None}
    assert not set(found.fused) & composed


def test_older_files_are_read() -> None:
    data = {"gemm": {"64": 1.0}, "bandwidth": None, "launch": 1e-6, "upload": 1.0, "download": 2.0}
    found = profile.Profile.from_json(data)
    assert (found.queued, found.memory, found.fused, found.age()) == (None, None, None, "")


AGES = {
    0: "just now",
    59: "just now",
    60: "1 minute ago",
    7199: "1 hour ago",
    7200: "2 hours ago",
    90000: "1 day ago",
}


@pytest.mark.parametrize("seconds", AGES)
def test_ages(seconds: int) -> None:
    one = profile.Profile({}, None, None, 1.0, 1.0, taken=1e9)
    assert one.age(now=1e9 + seconds) == AGES[seconds]


def test_it_is_kept_by_identity_and_driver(provide: Any) -> None:
    plugin = provide("chip", uuid="chip-7", driver="1.0")
    (chip, _) = ranked()[0]
    assert profile.save(
        chip.record, chip.info, profile.Profile({"64": 1.0}, 1.0, 1e-6, 1.0, 1.0, taken=time.time())
    )
    assert ranked()[0][0].measured is not None
    assert "just now" in repr(ml.devices())
    for facts, known in (
        ({"uuid": "chip-7", "driver": "2.0"}, False),
        ({"uuid": "chip-8", "driver": "1.0"}, False),
        ({"uuid": "chip-7", "driver": "1.0", "memory": 5}, True),
    ):
        plugin.facts = facts
        detect.reset()
        chip.record.settle("found")
        assert (ranked()[0][0].measured is not None) == known, facts
