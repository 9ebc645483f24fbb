"""What is known about each installed plugin: one Record, and a list of them that prints as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mlcore.plugin.api import DeviceInfo, Probe, State

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BACKENDS: Final = "mlcore.backends"
DOMAINS: Final = "mlcore.domains"
OPS: Final = "mlcore.ops"  # modules that declare operations
HOOKS: Final = "mlcore.hooks"  # objects that only implement hooks, such as a site's device policy
CORE: Final = "mlcore-core"


class Record:
    """One installed plugin: where it comes from, the state it is in, the reason and the fix.

    >>> Record("mlcore.backends", "toy", "mlcore-toy", "1.0")
    toy  found  mlcore-toy 1.0
    """

    __slots__ = (
        "devices",
        "distribution",
        "entry_point",
        "evidence",
        "fix",
        "group",
        "load_ms",
        "name",
        "plugin",
        "probe_ms",
        "rank",
        "reason",
        "state",
        "target",
        "traceback",
        "version",
        "visible_env",
    )

    group: str
    name: str  # what one asks for; `dist/name` for a duplicate that was asked for in full
    distribution: str
    version: str
    target: str  # the entry point's value, `package.module:object`
    state: State
    reason: str
    fix: str
    traceback: str
    evidence: tuple[str, ...]
    devices: tuple[DeviceInfo, ...]
    rank: int
    visible_env: tuple[str, ...]
    load_ms: float | None
    probe_ms: float | None
    plugin: Any  # the light object once it was loaded in this process
    entry_point: EntryPoint | None

    def __init__(self, group: str, name: str, distribution: str, version: str, target: str = "") -> None:
        self.group = group
        self.name = name
        self.distribution = distribution
        self.version = version
        self.target = target
        self.state = "found"
        self.reason = self.fix = self.traceback = ""
        self.evidence = self.visible_env = ()
        self.devices = ()
        self.rank = 0
        self.load_ms = self.probe_ms = None
        self.plugin = self.entry_point = None

    @property
    def source(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def qualified(self) -> str:
        """The name that no other distribution can have: ``dist/name``."""
        return self.name if "/" in self.name else f"{self.distribution}/{self.name}"

    @property
    def builtin(self) -> bool:
        """Whether this is the core's own backend."""
        return self.distribution == CORE

    @property
    def short(self) -> str:
        """The entry point's name, without the distribution."""
        return self.name.rpartition("/")[2]

    def settle(self, state: State, reason: str = "", fix: str = "", traceback: str = "") -> None:
        """Enter what came out."""
        self.reason, self.fix, self.traceback = reason, fix, traceback
        self.state = state  # last: another thread that sees the state finds its reason

    def apply(self, probe: Probe) -> None:
        """Enter what the plugin's probe found."""
        self.devices, self.evidence = probe.devices, probe.evidence
        self.settle(probe.state, probe.reason, probe.fix)

    def row(self) -> tuple[str, str, str, str]:
        """The cells of its line in a table."""
        about = self.reason or ", ".join(f"{info.id} {info.name}".strip() for info in self.devices)
        return self.name, self.state, self.source, about

    def to_json(self) -> dict[str, Any]:
        """Plain data: what `mlcore doctor --json` prints, and what a child process reports."""
        return {
            "name": self.name,
            "group": self.group,
            "distribution": self.distribution,
            "version": self.version,
            "target": self.target,
            "state": self.state,
            "reason": self.reason,
            "fix": self.fix,
            "evidence": list(self.evidence),
            "devices": [info.to_json() for info in self.devices],
            "rank": self.rank,
            "visible_env": list(self.visible_env),
            "load_ms": self.load_ms,
            "probe_ms": self.probe_ms,
            "traceback": self.traceback,
        }

    def update(self, data: dict[str, Any]) -> None:
        """Take over what another process found out about the same plugin."""
        self.devices = tuple(DeviceInfo.from_json(info) for info in data["devices"])
        self.evidence, self.visible_env = tuple(data["evidence"]), tuple(data["visible_env"])
        self.rank, self.load_ms, self.probe_ms = data["rank"], data["load_ms"], data["probe_ms"]
        self.settle(data["state"], data["reason"], data["fix"], data["traceback"])

    def __repr__(self) -> str:
        return "  ".join(cell for cell in self.row() if cell)


class Records(list[Record]):
    """Records that print as an aligned table."""

    def named(self, name: str) -> Record | None:
        """The record of that name (or ``dist/name``), or None."""
        return next((record for record in self if name in (record.name, record.qualified)), None)

    def __repr__(self) -> str:
        return table([record.row() for record in self]) or "(none installed)"


def table(rows: Iterable[Iterable[str]]) -> str:
    """Rows of cells as lines with aligned columns; columns that are empty throughout are left out.

    >>> print(table([("a", "", "one"), ("long", "", "two")]))
    a     one
    long  two
    """
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    keep = [i for i, width in enumerate(widths) if width]
    return "\n".join("  ".join(row[i].ljust(widths[i]) for i in keep).rstrip() for row in cells)
