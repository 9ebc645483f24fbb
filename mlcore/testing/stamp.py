"""Which level a backend has reached: kept from a run of the kit, or shipped with the backend's package.

A whole run of ``mlcore conformance NAME`` leaves a stamp in the cache folder, and ``--stamp FILE`` writes the same
into the backend's package, as ``conformance.json``, for those who install it. `mlcore doctor` and `mlcore coverage`
show the stamp of this machine, else the shipped one, and say which.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlcore import config
from mlcore.errors import FormatError
from mlcore.plugin.records import Record

if TYPE_CHECKING:
    from mlcore.testing.report import Report

FILE: Final = "conformance.json"
LEVELS: Final = {
    0: "boots: transfers, aliasing and first operations are right",
    1: "complete: every operation agrees with the reference; MLP, CNN and transformer train with no host fallback",
    2: "fast: level 1, and no kernel slower than the composition it stands for, as timed",
    3: "scale: streams, collectives, capture; the kit does not measure this level yet",
}
"""The adoption levels of a backend."""
_FORM: Final = 1  # of the file


@dataclass(frozen=True, slots=True)
class Stamp:
    """The outcome of one whole run of the kit.

    `level` is what was reached (None: it does not boot), `asked` what was tried; `digest` is the report's.

    >>> Stamp(1, 1, "1.0", "0.1.0", "mlcore-toy 1.0", "toy:0", "Toy 9", False, 4212, 0, 3, "").words
    'L1 (kit 1.0, mlcore 0.1.0: 4,212 cases, 0 units failed, 3 expected to)'
    """

    level: int | None
    asked: int
    kit: str
    mlcore: str
    plugin: str
    device: str
    hardware: str
    quick: bool
    cases: int
    failed: int
    expected: int
    digest: str

    @property
    def short(self) -> str:
        """``L1``, or ``none`` for a backend that does not boot."""
        return "none" if self.level is None else f"L{self.level}"

    @property
    def words(self) -> str:
        """The level, and the run that it comes from."""
        how = f"kit {self.kit}, mlcore {self.mlcore}{', quick' if self.quick else ''}"
        return f"{self.short} ({how}: {self.cases:,} cases, {self.failed} units failed, {self.expected} expected to)"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a backend's level: the stamp, where it comes from, and whether it still holds."""

    stamp: Stamp | None
    origin: str
    fresh: bool = True

    @property
    def level(self) -> int | None:
        """The level to show; None where nobody has measured, or what was measured is no longer installed."""
        return self.stamp.level if self.stamp is not None and self.fresh else None

    @property
    def text(self) -> str:
        """One line for people."""
        if self.stamp is None:
            return self.origin
        return f"{self.stamp.words}, {self.origin}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "level": self.level,
            "origin": self.origin,
            "fresh": self.fresh,
            "stamp": None if self.stamp is None else asdict(self.stamp),
        }


def of(report: Report, record: Record) -> Stamp:
    """The stamp of a report about the backend of `record`."""
    from mlcore._version import __version__
    from mlcore.testing.report import KIT_VERSION

    counts = report.counts()
    return Stamp(
        report.achieved(), report.level, KIT_VERSION, __version__, record.source, report.device, report.hardware,
        report.quick, report.cases, counts["failed"] + counts["xpassed"], counts["xfailed"],
        report.to_json()["digest"],
    )  # fmt: skip


def keep(stamp: Stamp, record: Record) -> None:
    """Remember a stamp on this machine. A lesser run that found nothing wrong replaces no greater one."""
    kept, code = _kept(record)
    here = code_digest(record)
    lesser = kept is not None and (stamp.asked, not stamp.quick) < (kept.asked, not kept.quick)
    if lesser and code == here and not stamp.failed:
        return
    config.write_cache_json(_place(record), {"form": _FORM, "code": here, **asdict(stamp)})


def write(stamp: Stamp, path: Path) -> None:
    """Write a stamp for the backend's package to ship."""
    path.write_text(json.dumps({"form": _FORM, **asdict(stamp)}, indent=1) + "\n", encoding="utf-8")


def standing(record: Record) -> Standing:
    """What is known of the level of the backend of `record`."""
    kept, code = _kept(record)
    if kept is not None:
        fresh = code == code_digest(record)
        return Standing(kept, "measured here" if fresh else "measured before its code changed", fresh)
    path = _shipped(record)
    if path is not None:
        try:
            shipped = read(path)
        except FormatError as error:
            return Standing(None, error.what)
        fresh = shipped.plugin == record.source
        origin = "as its makers say" if fresh else f"as its makers say of {shipped.plugin}"
        return Standing(shipped, origin, fresh)
    return Standing(None, f"not measured (mlcore conformance {record.name})")


def read(path: Path) -> Stamp:
    """Read a shipped stamp; FormatError when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _stamp(content)
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        fix = f"write it anew: mlcore conformance NAME --stamp {path.name}"
        raise FormatError(f"{path} is no conformance stamp: {error}", fix=fix) from None


def _stamp(content: Any) -> Stamp:
    if not isinstance(content, dict) or content.get("form") != _FORM:
        raise ValueError(f"its form is not {_FORM}")
    return Stamp(**{name: content[name] for name in Stamp.__slots__ if name in content})


def _kept(record: Record) -> tuple[Stamp | None, str]:
    content = config.read_cache_json(_place(record))
    try:
        found = _stamp(content)
    except (ValueError, TypeError):
        return None, ""
    return (found, str(content.get("code"))) if found.plugin == record.source else (None, "")


def _place(record: Record) -> str:
    name = "".join(c if c.isalnum() or c in "-._" else "_" for c in record.qualified)
    return f"conformance/{name}.json"


def _folder(record: Record) -> Path | None:
    """The folder of the package that holds the plugin, found without importing it."""
    package = record.target.partition(":")[0].partition(".")[0].strip()
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        return None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


def _shipped(record: Record) -> Path | None:
    folder = _folder(record)
    return folder / FILE if folder is not None and (folder / FILE).is_file() else None


def code_digest(record: Record) -> str:
    """A digest of the names, sizes and times of a backend's files: what was measured is what is installed."""
    folder = _folder(record)
    lines = []
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        if path.is_file() and path.suffix not in (".pyc", ".json"):
            stat = path.stat()
            lines.append(f"{path.relative_to(folder or path)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
