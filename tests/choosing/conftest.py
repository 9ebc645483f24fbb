"""Simulated devices: provided in this process, with profiles of our making in a cache folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from mlcore.backends import detect, profile
from mlcore.backends.reference import ReferenceBackend
from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, discovery

Provide = Callable[..., None]


class Simulated(BackendPlugin):
    """A backend of one device, whose backend object `make(device)` gives when it is opened."""

    def __init__(self, name: str, make: Callable[[Any], Any], rank: int, **facts: Any) -> None:
        self.name, self.make, self.rank, self.facts = name, make, rank, facts
        self.opened = 0

    def probe(self, ctx: Any) -> Probe:
        return Probe.ready([DeviceInfo(f"{self.name}:0", f"Simulated {self.name}", **self.facts)])

    def open(self, device: Any, options: Any) -> Any:
        self.opened += 1
        return self.make(device)


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Simulated]]:
    """``provide(name, profile, memory=, uuid=, make=, rank=)``: only these devices, and the reference, are there."""
    names: list[str] = []
    monkeypatch.setenv("MLCORE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv(
        "MLCORE_BACKENDS", ",".join(f"!{point.name}" for point in entry_points(group="mlcore.backends"))
    )
    monkeypatch.setenv("MLCORE_DEVICE", "reference")  # where the models are made
    detect.reset()

    def add(
        name: str,
        measured: profile.Profile | None = None,
        *,
        make: Callable[[Any], Any] = ReferenceBackend,
        rank: int = 100,
        **facts: Any,
    ) -> Simulated:
        plugin = Simulated(name, make, rank, **facts)
        record = discovery.provide(plugin, f"test-{name}", "1.0")
        names.append(name)
        if measured is not None:
            info = plugin.probe(None).devices[0]
            assert profile.save(record, info, measured)
        return plugin

    yield add
    for name in names:
        discovery._provided.pop(name, None)
        for text in [text for text, device in detect._opened.items() if device.type == name]:
            del detect._opened[text]
    monkeypatch.undo()
    detect.reset()
