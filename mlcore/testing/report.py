"""What a run came to: counts, the table of operations, and JSON with a digest."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlcore import table
from mlcore._version import __version__
from mlcore.ops import registry
from mlcore.plugin.records import table as aligned
from mlcore.testing.units import Result

if TYPE_CHECKING:
    from mlcore.testing.kit import Kit

KIT_VERSION = "1.0"
NOISE = 1.05  # how much slower than its composite a kernel may be timed and still count as no slower
OUTCOMES = ("passed", "failed", "skipped", "xfailed", "xpassed")
PATHS = ("native", "generated", "composite", "host", "xfail")


@dataclass
class Report:
    """The results of a run, and how the device runs each operation."""

    device: str
    hardware: str
    level: int
    quick: bool
    whole: bool
    results: list[Result]
    paths: dict[str, Counter[str]]
    speed: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, kit: Kit, results: list[Result], whole: bool) -> Report:
        """The report of a kit's results."""
        info = kit.device.info
        return cls(
            kit.device.id,
            info.name if info else "",
            kit.level,
            kit.quick,
            whole,
            results,
            _paths(kit, results),
        )

    @property
    def ok(self) -> bool:
        """Whether nothing failed and nothing passed that was expected to fail."""
        return all(one.outcome not in ("failed", "xpassed") for one in self.results)

    @property
    def cases(self) -> int:
        """How many cases were run."""
        return sum(one.cases for one in self.results)

    @property
    def compared(self) -> int:
        """How many elements were compared."""
        return sum(one.compared for one in self.results)

    def counts(self) -> dict[str, int]:
        """Units by outcome."""
        found = Counter(one.outcome for one in self.results)
        return {name: found[name] for name in OUTCOMES}

    def achieved(self) -> int | None:
        """The level that the device reaches by this run; None where it does not boot.

        0 boots, 1 complete, 2 fast: no kernel slower than the composite it stands for, but for timing's own noise.
        """
        bad = [one for one in self.results if one.outcome in ("failed", "xpassed")]
        if any(one.id.startswith(("device/protocol", "device/roundtrip", "device/aliasing")) for one in bad):
            return None
        if self.level < 1 or not self.whole or bad:
            return 0
        return 2 if self.speed and all(one["ratio"] <= NOISE for one in self.speed) else 1

    def summary(self) -> str:
        """The last lines: kinds of checks, then totals."""
        kinds: dict[str, list[Result]] = {}
        for one in self.results:
            kinds.setdefault(one.id.partition("/")[0], []).append(one)
        heads = ("check", "units", "cases", "compared", "passed", "failed", "skipped", "xfailed", "seconds")
        rows: list[tuple[str, ...]] = [heads]
        for kind, found in kinds.items():
            by = Counter(one.outcome for one in found)
            numbers = [
                len(found),
                sum(one.cases for one in found),
                sum(one.compared for one in found),
                by["passed"],
            ]
            numbers += [by["failed"] + by["xpassed"], by["skipped"], by["xfailed"]]
            rows.append((kind, *map(str, numbers), f"{sum(one.seconds for one in found):.1f}"))
        counts = ", ".join(f"{n} {name}" for name, n in self.counts().items() if n)
        level = self.achieved()
        words = "" if not self.whole else f"; level {'none' if level is None else f'L{level}'}"
        return (
            f"{aligned(rows)}\n\n{self.device}: {self.cases:,} cases executed, {self.compared:,} elements compared; "
            f"{counts} of {len(self.results)} units{words}"
        )

    def failures_text(self) -> str:
        """What failed, and why."""
        bad = [one for one in self.results if one.outcome in ("failed", "xpassed")]
        return "\n".join(f"{one.outcome.upper()} {one.id} ({one.failed} of {one.cases} cases)\n    "
                         + one.reason.replace("\n", "\n    ") for one in bad)  # fmt: skip

    def skips_text(self) -> str:
        """Skips beside passes: how often which reason was given."""
        reasons = Counter(one.reason for one in self.results if one.outcome == "skipped")
        return "\n".join(f"skipped {count}: {reason}" for reason, count in reasons.most_common())

    def table_text(self) -> str:
        """Operations by how the device runs them: dtypes native, generated, composite, host, expected to fail."""
        rows: list[tuple[str, ...]] = [("operation", *PATHS)]
        rows += [
            (name, *(str(found[p]) if found[p] else "." for p in PATHS)) for name, found in self.paths.items()
        ]
        totals: Counter[str] = Counter()
        for found in self.paths.values():
            totals.update(found)
        return aligned([*rows, ("total", *(str(totals[p]) for p in PATHS))])

    def to_json(self) -> dict[str, Any]:
        """Plain data; the digest is of what a rerun must reproduce, so without times."""
        content: dict[str, Any] = {
            "kit": KIT_VERSION, "mlcore": __version__, "device": self.device, "hardware": self.hardware,
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "level": self.level, "achieved": self.achieved(), "quick": self.quick, "whole": self.whole,
            "cases": self.cases, "compared": self.compared, "counts": self.counts(),
            "operations": {name: dict(found) for name, found in self.paths.items()},
            "units": [one.to_json() for one in self.results], "speed": self.speed,
        }  # fmt: skip
        return {**content, "digest": digest(content)}

    def write(self, path: str) -> None:
        """Write the JSON report."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.to_json(), file, indent=1)
            file.write("\n")


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of a report's content that does not differ from run to run."""
    lasting = {
        name: content[name]
        for name in ("kit", "mlcore", "device", "level", "quick", "whole", "counts", "operations")
    }
    lasting["units"] = sorted(
        [one["id"], one["outcome"], one["cases"], one["compared"]] for one in content["units"]
    )
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()


def _paths(kit: Kit, results: list[Result]) -> dict[str, Counter[str]]:
    """For each operation how many dtypes run on which path."""
    from mlcore.testing.op_checks import usable

    failing = {(one.op, one.id.rpartition("/")[2]) for one in results if one.outcome == "xfailed"}
    found: dict[str, Counter[str]] = {}
    for op in sorted(registry.all_ops(), key=lambda one: one.name):
        if op.rule is None:
            continue
        origin = table.entry(op, kit.device).origin
        counter = found[op.name] = Counter()
        for dtype in usable(op, kit.device):
            path = table.path(op, dtype, kit.device)
            if (op.name, dtype.name) in failing:
                path = "xfail"
            elif path == table.NATIVE and origin == "generated":
                path = "generated"
            if path is not None:
                counter[path] += 1
    return found
