"""``mlcore doctor [NAME]``: versions, plugins with state, reason and fix, the chosen device and why.

Exit status: 0 fine, 1 warnings, 2 when the device asked for (by NAME or MLCORE_DEVICE) is not usable.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlcore import config
from mlcore._version import __version__
from mlcore.backends import detect
from mlcore.backends.ranking import ranked
from mlcore.cli.config import declare_plugin_variables
from mlcore.cli.devices import measure_all
from mlcore.cli.output import aligned, print_json, print_pairs, print_section
from mlcore.errors import DeviceError, MlcoreError, PluginError, did_you_mean
from mlcore.ops.creation import asarray
from mlcore.plugin import discovery, hooks, isolation, probes
from mlcore.plugin.api import PLUGIN_API
from mlcore.plugin.hooks import Check
from mlcore.plugin.records import BACKENDS, Record
from mlcore.tensor import Tensor
from mlcore.testing.stamp import Standing, standing

# PCI numbers of makers of accelerators, so that one nobody uses can be pointed out.
MAKERS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel"}
EXPECTED = ("ready", "no_hardware", "disabled")  # states that are nothing to worry about


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor", help="what is installed, what works, and why not", description=__doc__
    )
    parser.add_argument("name", nargs="?", help="one plugin, in full")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--bench", action="store_true", help="measure each device and keep the profile")
    parser.add_argument(
        "--retry", action="store_true", help="look again at plugins that crashed (or at NAME)"
    )
    parser.add_argument("--safe", action="store_true", help="probe every backend in a child process")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.safe:
        os.environ[config.SAFE_PROBE.name] = "1"
    if arguments.retry:
        discovery.retry(arguments.name)
    plugins = [*discovery.backends(), *discovery.domains()]
    one = _named(arguments.name, plugins) if arguments.name else None
    declare_plugin_variables()
    failures = measure_all(ranked()[0], quiet=arguments.json) if arguments.bench else []
    error, explanation = "", ""
    try:
        explanation = detect.explain_device()
    except DeviceError as unusable:
        error = str(unusable)
    checks = [] if one else _checks(plugins, failures)
    versions = _versions()
    if arguments.json:
        print_json(
            {
                "versions": versions,
                "plugins": [record.to_json() for record in ([one] if one else plugins)],
                "levels": {r.name: s.to_json() for r, s in _levels([one] if one else plugins)},
                "devices": [device.to_json() for device in detect.devices()],
                "default_device": {"error": error or None, "explanation": explanation.splitlines()},
                "checks": [_check_json(check) for check in checks],
            }
        )
    elif one:
        _print_one(one)
    else:
        _print_all(versions, plugins, explanation, error, checks)
    if one:
        return 0 if one.state == "ready" else 2
    return 2 if error else int(any(check.status == "warning" for check in checks))


def _levels(plugins: list[Record]) -> list[tuple[Record, Standing]]:
    """The adoption level of each usable backend: L0 boots, L1 complete, L2 fast, L3 scale."""
    return [(r, standing(r)) for r in plugins if r.group == BACKENDS and r.state == "ready"]


def _named(name: str, plugins: list[Record]) -> Record:
    found = discovery.find_backend(name) or next((r for r in plugins if name in (r.name, r.qualified)), None)
    if found is None:
        known = [record.name for record in plugins]
        raise PluginError(
            f"no plugin called {name!r} is installed{did_you_mean(name, known)}",
            installed=", ".join(dict.fromkeys(known)),
        )
    return found


def _versions() -> dict[str, str]:
    compiled = str(sys.modules[Tensor.__module__].__file__).endswith((".so", ".pyd"))
    return {
        "mlcore": f"{__version__} (plugin API {PLUGIN_API})",
        "hot path": "compiled" if compiled else "plain Python (the same results; each call costs more)",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "system": platform.platform(),
        "processor": f"{probes.processor_name()}, {probes.processor_count()} usable",
        "cache": str(config.cache_dir()),
        "config file": str(config.config_path() or "off"),
    }


# ---------------------------------------------------------------- checks


def _checks(plugins: list[Record], failures: list[str]) -> list[Check]:
    checks = [
        Check(line, "warning", "") for line in (*config.unknown_variables(), *discovery.unknown_filters())
    ]
    checks += [Check(s.problem, "warning", "") for s in config.settings() if s.problem]
    checks += [Check("measurement", "warning", line) for line in failures]
    if config.config_problem():
        checks.append(Check("config file", "warning", config.config_problem()))
    if config.cache_problem():
        fix = (
            "set MLCORE_CACHE_DIR to a folder you can write; until then new plugins are probed at each start"
        )
        checks.append(Check("cache", "warning", config.cache_problem(), fix))
    for record in plugins:
        if record.state not in EXPECTED:
            checks.append(Check(record.name, "warning", f"{record.state}: {record.reason}", record.fix))
        if (record.probe_ms or 0.0) > isolation.SLOW_MS:
            text = f"its probe takes {record.probe_ms:.0f} ms; {isolation.SLOW_MS:.0f} are allowed"
            checks.append(
                Check(record.name, "warning", text, f"report this to the makers of {record.distribution}")
            )
    listed = detect.devices()
    checks += [_computes(device.id) for device in listed]
    checks += [Check(device.info.short, "ok", device.reason) for device in listed.duplicates]
    checks += _unused_accelerators(plugins)
    for name, found in hooks.call("mlcore_doctor_checks"):
        checks += [
            check if isinstance(check, Check) else Check(name, "warning", str(check)) for check in found
        ]
    return checks


def _computes(id: str) -> Check:
    """Three operations on the device, held against NumPy."""
    try:
        device = detect.resolve(id)
        host = np.arange(6, dtype=np.float32).reshape(2, 3)
        x = asarray(host, device=device)
        product = x @ x.mT
        result = np.asarray(product + product)
        if not np.allclose(result, 2 * (host @ host.T)):
            return Check(id, "warning", f"computes wrong numbers: {result.tolist()}")
    except Exception as error:
        text = error.what if isinstance(error, MlcoreError) else f"{type(error).__name__}: {error}"
        cause = error.details.get("cause", "") if isinstance(error, MlcoreError) else ""
        return Check(id, "warning", f"does not compute: {text}", cause)
    return Check(id, "ok", "add, matmul and a round trip agree with NumPy")


def _unused_accelerators(plugins: list[Record]) -> list[Check]:
    used = {str(getattr(r.plugin, "vendor", "")).lower() for r in plugins if r.state == "ready"}
    return [
        Check(address, "ok", f"{MAKERS[vendor]} device on PCI, and no usable backend says that it drives it")
        for address, vendor, _ in probes.pci_devices()
        if vendor in MAKERS and MAKERS[vendor].lower() not in used
    ]


def _check_json(check: Check) -> dict[str, str]:
    return {"name": check.name, "status": check.status, "text": check.text, "fix": check.fix}


# ---------------------------------------------------------------- printing


def _print_all(
    versions: dict[str, str], plugins: list[Record], explanation: str, error: str, checks: list[Check]
) -> None:
    print_pairs(versions.items())
    print_section("plugins", aligned(record.row() for record in plugins))
    fixes = [(record.name, record.fix) for record in plugins if record.fix and record.state != "disabled"]
    print_section("fixes", aligned(fixes))
    print_section("levels", aligned((record.name, found.text) for record, found in _levels(plugins)))
    print_section("default device", explanation or f"DeviceError: {error}")
    marks = {"ok": "ok", "warning": "WARN"}
    print_section("checks", aligned((marks[c.status], c.name, c.text) for c in checks))


def _print_one(record: Record) -> None:
    pairs: list[tuple[str, Any]] = [
        ("plugin", record.name),
        ("distribution", record.source),
        ("entry point", f"{record.group}: {record.target}"),
        ("state", record.state),
        ("cause", record.reason),
        ("fix", record.fix),
        ("evidence", "; ".join(record.evidence)),
        ("rank", record.rank),
        *(("level", found.text) for _, found in _levels([record])),
        ("load", f"{record.load_ms:.1f} ms" if record.load_ms is not None else ""),
        ("probe", f"{record.probe_ms:.1f} ms" if record.probe_ms is not None else ""),
    ]
    print_pairs(pairs)
    rows = [
        (i.id, i.name, i.kind, i.arch, _size(i.memory), i.driver, i.uuid, _details(i.details))
        for i in record.devices
    ]
    print_section("devices", aligned(rows))
    print_section("traceback", record.traceback)


def _details(details: Mapping[str, str]) -> str:
    """
    >>> _details({"threads": "2", "isa": "v4"})
    'threads 2, isa v4'
    """
    return ", ".join(f"{name} {value}" for name, value in details.items())


def _size(memory: int | None) -> str:
    """
    >>> _size(3 * 2**30)
    '3.0 GiB'
    """
    return "" if memory is None else f"{memory / 2**30:.1f} GiB"
