"""The light object: what it finds without waking a driver up, and what it says where something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlcore_oneapi import listing, vendors
from mlcore_oneapi.plugin import plugin

from mlcore.errors import DeviceError
from mlcore.plugin.api import ProbeContext

FACTS: dict[str, Any] = dict(
    platform="Toy OpenCL", name="Toy 9", vendor="Toys", kind="gpu", version="OpenCL 3.0", driver="9.1",
    memory=2**30, units=4, uuid="0000:03:00.0", fp64=False, fp16=True,
)  # fmt: skip


def context(**env: str) -> ProbeContext:
    return ProbeContext(env=env)


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any driver; the folder may be filled with .icd files."""
    monkeypatch.setattr(vendors, "SYSTEM", str(tmp_path / "system"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(vendors, "pip_runtime", lambda: None)
    for name in (*vendors.SET_BY_USERS, vendors.PLATFORM.name):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


def listed(monkeypatch: pytest.MonkeyPatch, *devices: dict[str, Any], problem: str = "") -> None:
    monkeypatch.setattr(
        listing, "find", lambda drivers, in_child: {"devices": list(devices), "problem": problem}
    )


def test_no_driver(nothing: Path) -> None:
    found = plugin.probe(context())
    assert found.state == "no_hardware"
    assert "no OpenCL driver" in found.reason
    assert "pip install" in found.fix


def test_a_driver_whose_library_is_missing(nothing: Path) -> None:
    (nothing / "toy.icd").write_text("/no/such/libtoy.so\n")
    found = plugin.probe(context())
    assert found.state == "missing_dependency"
    assert "/no/such/libtoy.so, which does not exist" in found.reason


def test_intels_runtime_without_its_companion(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendors, "pip_runtime", lambda: Path("/lib/libintelocl.so"))
    monkeypatch.setattr(vendors.probes, "installed_version", lambda name: None)
    found = plugin.probe(context())
    assert found.state == "missing_dependency"
    assert "intel-cmplr-lib-rt" in found.reason
    assert found.fix == "pip install intel-cmplr-lib-rt"


def test_drivers_without_a_device(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nothing / "toy.icd").write_text("libtoy.so\n")
    listed(monkeypatch)
    found = plugin.probe(context())
    assert (found.state, found.reason) == ("no_hardware", "the OpenCL drivers find no device")


def test_drivers_that_crash(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nothing / "toy.icd").write_text("libtoy.so\n")
    listed(monkeypatch, problem="an OpenCL driver ended the process with signal 11")
    found = plugin.probe(context())
    assert found.state == "missing_dependency"
    assert "signal 11" in found.reason


def test_several_devices(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nothing / "toy.icd").write_text("libtoy.so\n")
    listed(monkeypatch, FACTS, {**FACTS, "platform": "Other", "uuid": ""})
    found = plugin.probe(context())
    assert [one.id for one in found.devices] == ["oneapi:0", "oneapi:1"]
    assert found.devices[0].uuid == "0000:03:00.0"
    assert found.devices[0].details["floats"] == "fp32 fp16"
    assert [one.id for one in plugin.probe(context(MLCORE_ONEAPI_PLATFORM="other")).devices] == ["oneapi:0"]
    missing = plugin.probe(context(MLCORE_ONEAPI_PLATFORM="pocl"))
    assert missing.state == "no_hardware"
    assert "MLCORE_ONEAPI_PLATFORM=pocl" in missing.reason
    assert "Toy OpenCL, Other" in missing.reason


def test_what_users_set_is_left_alone(nothing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vendors, "pip_runtime", lambda: Path("/lib/libintelocl.so"))
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.icd").write_text("libmine.so")
    assert [one.library for one in vendors.drivers({"OCL_ICD_VENDORS": str(own)})] == ["libmine.so"]
    monkeypatch.setenv("OCL_ICD_VENDORS", str(own))
    with vendors.loader_environment():
        assert vendors.os.environ["OCL_ICD_VENDORS"] == str(own)


def test_a_runtime_from_pip_hides_no_driver(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = nothing / "libintelocl.so"
    library.write_text("")
    monkeypatch.setattr(vendors, "pip_runtime", lambda: library)
    (nothing / "card.icd").write_text("libcard.so\n")
    (nothing / "stale.icd").write_text("/no/such/library.so\n")
    with vendors.loader_environment():
        folder = Path(vendors.os.environ["OCL_ICD_VENDORS"])
        lines = {one.name: one.read_text().strip() for one in folder.glob("*.icd")}
    assert lines == {"card.icd": "libcard.so", "mlcore-intel.icd": str(library)}
    assert "OCL_ICD_VENDORS" not in vendors.os.environ


def test_a_listing_is_remembered_until_something_changes(
    nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nothing / "toy.icd").write_text("libtoy.so\n")
    drivers = vendors.drivers({})
    asked = []
    monkeypatch.setattr(listing, "CACHE", "oneapi/test-devices.json")
    monkeypatch.setattr(listing, "_ask_child", lambda: asked.append(1) or {"devices": [FACTS], "problem": ""})
    for _ in range(3):
        assert listing.find(drivers, in_child=False)["devices"] == [FACTS]
    assert len(asked) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    listing.find(drivers, in_child=False)
    assert len(asked) == 2


def test_the_child_reports_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(code: int, out: str = "", err: str = "") -> Any:
        return lambda *args, **kwargs: subprocess.CompletedProcess(args, code, out, err)

    monkeypatch.setattr(subprocess, "run", ended(-11))
    assert "signal 11" in listing._ask_child()["problem"]
    monkeypatch.setattr(subprocess, "run", ended(1, "", "Traceback\nImportError: no libtoy"))
    assert listing._ask_child()["problem"] == "ImportError: no libtoy"
    monkeypatch.setattr(subprocess, "run", ended(0, "chatter\n" + json.dumps({"devices": [], "problem": ""})))
    assert listing._ask_child() == {"devices": [], "problem": ""}


def test_a_probe_is_quick_and_imports_no_driver(device: Any) -> None:
    code = (
        "import time, sys\n"
        "from mlcore.plugin.api import ProbeContext\n"
        "from mlcore_oneapi.plugin import plugin\n"
        "plugin.probe(ProbeContext())\n"
        "times = []\n"
        "for _ in range(5):\n"
        "    started = time.perf_counter(); found = plugin.probe(ProbeContext())\n"
        "    times.append(time.perf_counter() - started)\n"
        "assert found.state == 'ready', found\n"
        "assert 'pyopencl' not in sys.modules, 'a heavy import'\n"
        "print(min(times))\n"
    )
    started = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 0.05, f"{float(run.stdout):.3f} s of {time.perf_counter() - started:.2f}"


def test_a_device_that_is_not_there(device: Any) -> None:
    from mlcore.backends import detect

    with pytest.raises(DeviceError, match="oneapi:99"):
        detect.resolve("oneapi:99")
    with pytest.raises(DeviceError, match="no option 'colour'"):
        detect.resolve("oneapi:0?colour=red")
