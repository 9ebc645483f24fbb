"""conformance.toml: what a backend is known not to do, each with a reason.

```toml
[xfail]                                  # units that must fail, by name or pattern
"special/exp/float16" = "the library flushes float16 subnormals"
[host]                                   # operations that may run on the host
"cholesky" = "the library has no factorisations"
```
"""

from __future__ import annotations

import fnmatch
import importlib.util
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mlcore.backends.protocol import Device
from mlcore.errors import FormatError, MlcoreError

FILE = "conformance.toml"


@dataclass(frozen=True)
class Expectations:
    """The entries of one conformance.toml, and where they stand."""

    xfail: dict[str, str] = field(default_factory=dict)
    host: dict[str, str] = field(default_factory=dict)
    source: str = ""

    def reason(self, unit: str) -> str | None:
        """Why a unit is expected to fail, or None."""
        for pattern, reason in self.xfail.items():
            if pattern == unit or fnmatch.fnmatchcase(unit, pattern):
                return reason
        return None

    def unknown(self, units: Iterable[str], ops: Iterable[str]) -> list[str]:
        """Entries that match no unit or name no operation."""
        names, known = list(units), set(ops)
        lost = [p for p in self.xfail if not fnmatch.filter(names, p) and p not in names]
        return [f"[xfail] {p!r} matches no unit" for p in lost] + [
            f"[host] {n!r} is no operation" for n in self.host if n not in known
        ]


def read(path: Path) -> Expectations:
    """Read and check a file; every entry needs a reason."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{path}: {error}", fix="see mlcore.testing.expectations for the form") from None
    unknown = sorted(set(content) - {"xfail", "host"})
    if unknown:
        raise FormatError(f"{path}: unknown table [{unknown[0]}]", known="[xfail], [host]")
    for table, entries in content.items():
        for name, reason in entries.items() if isinstance(entries, dict) else [("", "")]:
            if not isinstance(reason, str) or not reason.strip():
                raise FormatError(f"{path}: [{table}] {name!r} has no reason", fix='write "name" = "why"')
    return Expectations(content.get("xfail", {}), content.get("host", {}), str(path))


def find(device: Device) -> Expectations:
    """The file in the package of the device's plugin, or no expectations."""
    for module in _modules(device):
        package = module.partition(".")[0]
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / FILE).is_file():
                return read(Path(folder) / FILE)
    return Expectations()


def _modules(device: Device) -> list[str]:
    """The modules of the backend's class and of the plugin that opened it."""
    found = [type(device.backend).__module__]
    from mlcore.plugin import discovery

    try:
        record = discovery.find_backend(device.type)
        if record is not None and record.state == "ready":
            found.insert(0, type(discovery.load(record)).__module__)
    except MlcoreError:
        pass
    return found
