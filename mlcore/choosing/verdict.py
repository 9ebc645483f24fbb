"""The outcome of a choice: every candidate with its figures, or why it was left out, and the one that is best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.choosing.estimate import Estimate
from mlcore.choosing.workload import Workload
from mlcore.plugin.records import table


@dataclass(frozen=True, slots=True)
class Candidate:
    """One device: how long a step takes there, and what it needs; `rejected` says why it cannot or need not be used.

    `seconds` is measured or estimated, as `how` says; None where neither was done.
    """

    id: str
    name: str
    needs: int
    has: int | None
    seconds: float | None = None
    how: str = ""
    estimated: Estimate | None = None
    rejected: str = ""

    def rejecting(self, reason: str) -> Candidate:
        """The same, left out."""
        return replace(self, rejected=reason)

    @property
    def short(self) -> str:
        """Its name as people write it."""
        return self.id.removesuffix(":0")

    def row(self, chosen: bool) -> tuple[str, ...]:
        """The cells of its line."""
        found = self.estimated
        parts = (found.compute, found.traffic, found.launch, found.transfer) if found else ()
        cells = [duration(one) for one in parts] or [""] * 4
        total = duration(self.seconds) if self.seconds is not None else ""
        memory = f"{size(self.needs)} of {size(self.has)}" if self.has is not None else size(self.needs)
        return (
            "*" if chosen else "",
            self.short,
            self.name,
            *cells,
            total,
            memory,
            self.rejected or self.how,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The best device for a workload. It may be given wherever a device is asked for; as text it explains itself."""

    id: str
    objective: str
    work: Workload
    candidates: tuple[Candidate, ...]
    because: str

    @property
    def device(self) -> Device:
        """The device itself, opened."""
        return detect.resolve(self.id)

    @property
    def best(self) -> Candidate:
        """The candidate that was chosen."""
        return next(one for one in self.candidates if one.id == self.id)

    def explain(self) -> str:
        """The choice as text: why, each candidate's figures, and the workload."""
        head = ("", "device", "hardware", "compute", "traffic", "launch", "transfer", "step", "memory", "")
        work, kind = self.work, "training step" if self.work.training else "forward pass"
        rows = [one.row(one.id == self.id) for one in self.candidates]
        counted = (
            f"{work.flops / 1e9:.3g} GFLOP in products, {size(work.bytes)} moved, {work.kernels} kernels"
        )
        held = f"parameters {size(work.parameter_bytes)}, input {size(work.input_bytes)}"
        return "\n".join(
            [
                f"best device for {work.name} ({self.objective}): {self.best.short}, {self.because}",
                table([head, *rows]),
                f"one {kind}: {counted if work.calls else 'unknown before it runs'}; {held}",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, for ``mlcore devices --for ... --json``."""
        return {
            "device": self.id,
            "objective": self.objective,
            "because": self.because,
            "training": self.work.training,
            "flops": self.work.flops,
            "bytes": self.work.bytes,
            "kernels": self.work.kernels,
            "memory": self.work.memory,
            "candidates": [_candidate_json(one) for one in self.candidates],
        }

    def __str__(self) -> str:
        return self.explain()

    def __repr__(self) -> str:
        return self.explain()


def _candidate_json(one: Candidate) -> dict[str, Any]:
    found = one.estimated
    names = ("compute", "traffic", "overlapped", "launch", "transfer", "sending", "step")
    return {
        "id": one.id,
        "name": one.name,
        "needs": one.needs,
        "has": one.has,
        "seconds": one.seconds,
        "how": one.how,
        "rejected": one.rejected,
        "estimated": None if found is None else {name: getattr(found, name) for name in names},
    }


def duration(seconds: float) -> str:
    """
    >>> duration(0.0), duration(3.8e-7), duration(2.5e-6), duration(72.0)
    ('-', '380 ns', '2.5 µs', '72 s')
    """
    if not seconds:
        return "-"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def size(count: int | None) -> str:
    """
    >>> size(None), size(0), size(2048), size(12 * 2**30)
    ('?', '0 B', '2 KiB', '12 GiB')
    """
    if count is None:
        return "?"
    for scale, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"
