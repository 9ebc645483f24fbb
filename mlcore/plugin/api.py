"""What a plugin author subclasses: BackendPlugin or DomainPlugin, and the facts they report.

A plugin's entry point names a *light* object: its module imports the standard library and `mlcore.plugin`,
nothing heavy. Heavy imports belong in `BackendPlugin.open`, or in a domain's own package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from mlcore.errors import PluginError

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device

PLUGIN_API: Final = "1.0"
"""The version of this contract, apart from the core's own. A minor release only adds what has a default."""

State = Literal[
    "found",
    "ready",
    "no_hardware",
    "missing_dependency",
    "incompatible_api",
    "driver_too_old",
    "busy",
    "disabled",
    "duplicate",
    "broken",
    "crashed",
]
STATES: Final[tuple[str, ...]] = get_args(State)
MEANINGS: Final[Mapping[State, str]] = {
    "found": "installed, not looked at yet",
    "ready": "usable: its probe listed at least one device",
    "no_hardware": "the device is not in this machine, or hidden from this process",
    "missing_dependency": "a library or driver that it needs is not installed",
    "incompatible_api": "made for another version of the plugin API, or of the core",
    "driver_too_old": "the driver is there, and older than what it needs",
    "busy": "somebody else holds the device, or its memory is full; it may work later",
    "disabled": "switched off by MLCORE_BACKENDS or MLCORE_PLUGINS",
    "duplicate": "two distributions provide the name (ask for `dist/name`), or its hardware is another one's too",
    "broken": "loading or probing it raised, or its answer keeps not to the contract",
    "crashed": "it ended the child process in which it was tried; off until its version changes",
}
"""What each state means."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device that a probe found: pure data.

    `id` is ``name:index``; `memory` is in bytes; `uuid` (or a PCI address, there or in `details`) tells that
    two backends see the same hardware; what is unknown stays empty.

    >>> DeviceInfo(id="toy:1", name="Toy 9", memory=2**30).index, DeviceInfo("toy:0").short
    (1, 'toy')
    """

    id: str
    name: str = ""
    kind: str = ""
    arch: str = ""
    memory: int | None = None
    uuid: str = ""
    driver: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def index(self) -> int:
        """The number after the colon."""
        return int(self.id.rpartition(":")[2])

    @property
    def type(self) -> str:
        """The part before the colon: the backend's name."""
        return self.id.rpartition(":")[0]

    @property
    def short(self) -> str:
        """The id as people write it: without ``:0``."""
        return self.id.removesuffix(":0")

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DeviceInfo:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a backend found out about this machine, made by one of the class methods.

    >>> Probe.no_hardware("no /dev/toy* device", fix="load the toy driver").state
    'no_hardware'
    """

    state: State
    devices: tuple[DeviceInfo, ...] = ()
    reason: str = ""
    fix: str = ""
    evidence: tuple[str, ...] = ()

    @classmethod
    def ready(cls, devices: Iterable[DeviceInfo], *, evidence: Iterable[str] = ()) -> Probe:
        """Usable: at least one device."""
        return cls("ready", tuple(devices), evidence=tuple(evidence))

    @classmethod
    def no_hardware(cls, reason: str, *, fix: str = "", evidence: Iterable[str] = ()) -> Probe:
        """The device is not in this machine, or hidden from this process."""
        return cls("no_hardware", reason=reason, fix=fix, evidence=tuple(evidence))

    @classmethod
    def missing_dependency(cls, reason: str, *, fix: str = "", evidence: Iterable[str] = ()) -> Probe:
        """A library or driver that the backend needs is not installed."""
        return cls("missing_dependency", reason=reason, fix=fix, evidence=tuple(evidence))

    @classmethod
    def driver_too_old(cls, reason: str, *, fix: str = "", evidence: Iterable[str] = ()) -> Probe:
        """The driver is there, and older than what the backend needs."""
        return cls("driver_too_old", reason=reason, fix=fix, evidence=tuple(evidence))

    @classmethod
    def busy(cls, reason: str, *, fix: str = "", evidence: Iterable[str] = ()) -> Probe:
        """Somebody else holds the device: it may work later."""
        return cls("busy", reason=reason, fix=fix, evidence=tuple(evidence))

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {**asdict(self), "devices": [device.to_json() for device in self.devices]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Probe:
        devices = tuple(DeviceInfo.from_json(device) for device in data["devices"])
        return cls(data["state"], devices, data["reason"], data["fix"], tuple(data["evidence"]))


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What a probe may know: the environment, whether it runs in a child process, and its time limit (s)."""

    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    in_child: bool = False
    limit: float = 0.05


class BackendPlugin:
    """A backend, found through the entry-point group ``mlcore.backends``. Subclass it and make one object.

    `rank` orders backends that nobody has measured, the higher the sooner (accelerators 200-500, processors
    100). `requires` are requirements such as ``"toylib>=2"``, checked without importing; `conflicts` are
    requirements that must not be installed; `core` limits the core's version (``">=0.1,<2"``). `visible_env`
    names the vendor's variables that hide devices. `options` are the keys that ``device="toy:0?key=value"``
    may carry. `dialect` names, as ``"toy_package.dialect:DIALECT"``, the kernel language of a backend whose kernels are
    generated: a mlcore.codegen.Dialect, which `mlcore kernel` reads without opening a device.

    >>> class Toy(BackendPlugin):
    ...     name, api, rank = "toy", "1.0", 300
    ...     def probe(self, ctx):
    ...         return Probe.ready([DeviceInfo(id="toy:0", name="Toy 9")])
    >>> Toy()
    <BackendPlugin toy, api 1.0>
    """

    name: str = ""
    api: str = PLUGIN_API
    core: str = ""
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    rank: int = 0
    vendor: str = ""
    kind: str = ""
    visible_env: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    homepage: str = ""
    dialect: str = ""

    def probe(self, ctx: ProbeContext) -> Probe:
        """Cheap facts about this machine: under 50 ms, no heavy import, no device context, no threads."""
        raise PluginError(
            f"backend plugin {self.name!r} has no probe", fix="define probe(self, ctx) -> Probe"
        )

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend of one device. Called once for each device that is used; import what is heavy here."""
        raise PluginError(
            f"backend plugin {self.name!r} cannot open {device}",
            fix="define open(self, device, options) -> Backend",
        )

    def __repr__(self) -> str:
        return f"<BackendPlugin {self.name}, api {self.api}>"


class DomainPlugin:
    """A domain (vision, language, ...), found through the entry-point group ``mlcore.domains``.

    `module` is the import path of the plugin's package, which is imported by whoever uses it. What a domain
    offers to the core (models, commands) are methods marked with `mlcore.plugin.hookimpl`.

    >>> class Toys(DomainPlugin):
    ...     name, api, module, summary = "toys", "1.0", "toys_package", "models of toys"
    >>> Toys()
    <DomainPlugin toys, api 1.0>
    """

    name: str = ""
    api: str = PLUGIN_API
    core: str = ""
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    module: str = ""
    summary: str = ""
    homepage: str = ""

    def __repr__(self) -> str:
        return f"<DomainPlugin {self.name}, api {self.api}>"


def check_api(api: object) -> str:
    """Why a plugin that speaks `api` cannot work with this core; empty when it can.

    The major version must be equal, and the plugin's minor at most the core's.

    >>> check_api("1.0")
    ''
    >>> check_api("2.0")
    'speaks plugin API 2.0, this mlcore speaks 1.0'
    """
    parts = api.split(".") if isinstance(api, str) else []
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        return f"declares its plugin API as {api!r}; this mlcore expects text such as {PLUGIN_API!r}"
    major, minor = map(int, parts)
    ours_major, ours_minor = map(int, PLUGIN_API.split("."))
    if major != ours_major or minor > ours_minor:
        return f"speaks plugin API {api}, this mlcore speaks {PLUGIN_API}"
    return ""
