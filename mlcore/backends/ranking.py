"""The usable devices, fastest first: by measured profiles, else by the rank that each backend declares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

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
    """Usable devices that print as a table; the one marked * is the default.

    `duplicates` are further names of the same hardware: listed below, and no choice of their own.
    """

    def __init__(self, devices: Iterable[Usable] = (), duplicates: Iterable[Usable] = ()) -> None:
        super().__init__(devices)
        self.duplicates = list(duplicates)

    def __repr__(self) -> str:
        everything = [*self, *self.duplicates]
        figures = any(device.measured for device in everything)
        head = ("", "device", "hardware", *(profile.HEADINGS if figures else ()), "why")
        return table([head, *(device.row(figures) for device in everything)])


@dataclass(frozen=True, slots=True)
class Ranking:
    """The usable devices, best first; what ordered them; and those whose hardware a better one drives already."""

    usable: list[Usable]
    by: str
    duplicates: list[Usable]


def ranked() -> tuple[list[Usable], str]:
    """The usable devices, best first, and what ordered them."""
    found = ranking()
    return found.usable, found.by


def ranking() -> Ranking:
    """The order of the devices. Two backends that see the same hardware are merged: the better one stands for it.

    Measurements decide when every candidate apart from the reference has one: a figure cannot be compared
    with a rank. Nothing is measured unasked, because that opens every device. A duplicate is no candidate, and
    can still be asked for by name.
    """
    found = [
        (record, info)
        for record in discovery.backends()
        if record.state == "ready"
        for info in record.devices
        if info.id not in detect.lost and info.id not in detect.failed
    ]
    measured = {info.id: profile.load(record, info) for record, info in found}
    kept, merged = _merged(found, measured)
    contenders = [info.id for record, info in kept if not record.builtin]
    by_measure = len(contenders) > 1 and all(measured[id] for id in contenders)
    usable = []
    for record, info in sorted(kept, key=lambda item: _order(item, measured, by_measure)):
        seconds = measured[info.id]
        if record.builtin:
            reason = "the specification: correct, not fast"
        elif by_measure and seconds:
            reason = f"a nominal training step would take {seconds.step_seconds * 1e3:.3g} ms"
        else:
            reason = f"rank {record.rank}"
        usable.append(Usable(info, record, seconds, reason))
    duplicates = [Usable(info, record, measured[info.id], reason) for (record, info), reason in merged]
    if by_measure:
        return Ranking(usable, "measured profiles", duplicates)
    by = "static rank" if len(contenders) > 1 else "rank; no other backend is usable"
    return Ranking(usable, by, duplicates)


Item = tuple[Record, DeviceInfo]


def _order(item: Item, measured: dict[str, Any], by_measure: bool) -> tuple[float, float, int]:
    record, info = item
    seconds = measured[info.id]
    first = seconds.step_seconds if by_measure and seconds else 0.0
    return (float("inf") if record.builtin else first, -record.rank, info.index)


def identities(info: DeviceInfo) -> frozenset[str]:
    """The texts by which hardware is told apart, in one way of writing: the uuid, and PCI addresses in the details.

    >>> sorted(identities(DeviceInfo("toy:0", uuid="GPU-AB12-34", details={"bus": "00000000:3B:00.0"})))
    ['3b:00.0', 'ab1234']
    """
    addresses = [text for text in info.details.values() if re.fullmatch(_ADDRESS, text.strip())]
    return frozenset(_plain(text) for text in (info.uuid, *addresses) if text.strip())


_ADDRESS: Final = r"(?i)(?:pci:)?(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"


def _plain(text: str) -> str:
    text = text.strip().lower().removeprefix("pci:")
    head, colon, tail = text.partition(":")
    if colon and ":" in tail and not head.strip("0"):  # the PCI domain 0 is often left out
        return tail
    return text if colon else text.removeprefix("gpu-").replace("-", "")


def _merged(found: list[Item], measured: dict[str, Any]) -> tuple[list[Item], list[tuple[Item, str]]]:
    """The devices without those whose hardware a better one drives too, and these with what is said of them."""
    groups: list[tuple[set[str], list[Item]]] = []
    for item in found:
        names = set(identities(item[1]))
        same = [group for group in groups if names & group[0]]
        for group in same:
            groups.remove(group)
            names |= group[0]
        groups.append((names, [*(one for group in same for one in group[1]), item]))
    kept: list[Item] = []
    merged: list[tuple[Item, str]] = []
    for _, items in groups:
        by_measure = all(measured[info.id] for _, info in items)
        best, *others = sorted(items, key=lambda item: _order(item, measured, by_measure))
        kept.append(best)
        why = "which is faster" if by_measure else f"of rank {best[0].rank}"
        for record, info in others:
            reason = f"the same hardware as {best[1].short} ({best[0].source}), {why}; by name it can be used"
            merged.append(((record, info), reason))
    return kept, merged
