"""The usable devices, fastest first: by measured profiles, else by the rank that each backend declares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlcore.backends import detect, profile
from mlcore.plugin import discovery
from mlcore.plugin.api import DeviceInfo
from mlcore.plugin.records import Record, table


@dataclass(frozen=True, slots=True)
class Usable:
    """A device that can be used: what is known about it, and why it stands where it does in the order."""

    info: DeviceInfo
    record: Record = field(repr=False)
    measured: profile.Profile | None
    reason: str
    chosen: bool = False

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def type(self) -> str:
        return self.info.type

    @property
    def name(self) -> str:
        """The hardware's name."""
        return self.info.name

    def row(self, figures: bool = True) -> tuple[str, ...]:
        """The cells of its line in a table, with or without those of its profile."""
        profile_cells = self.measured.row() if self.measured else ("",) * len(profile.HEADINGS)
        middle = profile_cells if figures else ()
        return ("*" if self.chosen else "", self.info.short, self.name, *middle, self.reason)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``mlcore devices --json``."""
        return {
            **self.info.to_json(),
            "backend": self.record.source,
            "rank": self.record.rank,
            "reason": self.reason,
            "chosen": self.chosen,
            "profile": self.measured.to_json() if self.measured else None,
        }

    def __str__(self) -> str:
        return self.id


class Devices(list[Usable]):
    """Usable devices that print as a table; the one marked * is the default."""

    def __repr__(self) -> str:
        figures = any(device.measured for device in self)
        head = ("", "device", "hardware", *(profile.HEADINGS if figures else ()), "why")
        return table([head, *(device.row(figures) for device in self)])


def ranked() -> tuple[list[Usable], str]:
    """The usable devices, best first, and what ordered them.

    Measurements decide when every candidate apart from the reference has one: a figure cannot be compared
    with a rank. Nothing is measured unasked, because that opens every device.
    """
    found = [
        (record, info)
        for record in discovery.backends()
        if record.state == "ready"
        for info in record.devices
        if info.id not in detect.lost
    ]
    measured = {info.id: profile.load(record, info) for record, info in found}
    contenders = [info.id for record, info in found if not record.builtin]
    by_measure = len(contenders) > 1 and all(measured[id] for id in contenders)

    def order(item: tuple[Record, DeviceInfo]) -> tuple[float, float, int]:
        record, info = item
        seconds = measured[info.id]
        first = seconds.step_seconds if by_measure and seconds else 0.0
        return (float("inf") if record.builtin else first, -record.rank, info.index)

    usable = []
    for record, info in sorted(found, key=order):
        seconds = measured[info.id]
        if record.builtin:
            reason = "the specification: correct, not fast"
        elif by_measure and seconds:
            reason = f"a nominal training step would take {seconds.step_seconds * 1e3:.3g} ms"
        else:
            reason = f"rank {record.rank}"
        usable.append(Usable(info, record, seconds, reason))
    if by_measure:
        return usable, "measured profiles"
    return usable, "static rank" if len(contenders) > 1 else "rank; no other backend is usable"
