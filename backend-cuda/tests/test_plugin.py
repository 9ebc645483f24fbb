"""What the light plugin says of a machine, from facts that are made up: no GPU, driver or CuPy is needed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlcore_cuda.facts import Facts, needed
from mlcore_cuda.plugin import CudaPlugin
from mlcore_cupy.installed import Distribution, choose, distributions, visible

from mlcore.plugin.api import ProbeContext

CUPY13, CUPY12 = Distribution("cupy-cuda13x", "14.2.0"), Distribution("cupy-cuda12x", "14.2.0")
ROCM = Distribution("cupy-rocm-7-0", "14.2.0")
MODEL = (
    "Model: \t\t NVIDIA H100\nIRQ: 40\nGPU UUID: \t {uuid}\n"
    "Bus Location: \t 0000:{bus}:00.0\nDevice Minor: \t {minor}\n"
)


class Machine(Facts):
    """A machine with some GPUs, a driver and a CuPy, as files under a folder."""

    def __init__(
        self, root: Path, *, gpus: int = 2, driver: str | None = "580.82.07",
        cupy: tuple[Distribution, ...] = (CUPY13,), library: str = "",
    ) -> None:  # fmt: skip
        super().__init__(str(root))
        self.cupy, self.missing = list(cupy), library
        (root / "dev").mkdir(parents=True, exist_ok=True)
        (root / "dev/nvidiactl").touch()
        for i in range(gpus):
            (root / f"dev/nvidia{i}").touch()
            folder = root / f"proc/driver/nvidia/gpus/0000:0{i + 1}:00.0"
            folder.mkdir(parents=True)
            text = MODEL.format(uuid=f"GPU-{i}aaa", bus=f"0{i + 1}", minor=i)
            (folder / "information").write_text(text)
        if driver:
            (root / "proc/driver/nvidia").mkdir(parents=True, exist_ok=True)
            text = (
                f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sat Aug 19\nGCC version: 12.2.0\n"
            )
            (root / "proc/driver/nvidia/version").write_text(text)

    def distributions(self) -> list[Distribution]:
        return self.cupy

    def library(self) -> str:
        return self.missing


def probe(facts: Facts, **env: str):  # type: ignore[no-untyped-def]
    plugin = CudaPlugin()
    plugin.facts = facts
    return plugin.probe(ProbeContext(env=env))


def test_a_machine_with_two_gpus_is_ready(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path))
    assert found.state == "ready"
    assert [(d.id, d.name, d.uuid, d.driver) for d in found.devices] == [
        ("cuda:0", "NVIDIA H100", "GPU-0aaa", "580.82.07"),
        ("cuda:1", "NVIDIA H100", "GPU-1aaa", "580.82.07"),
    ]
    assert found.devices[1].details["bus"] == "0000:02:00.0"


def test_no_device_file_is_no_hardware(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, gpus=0, driver=None))
    assert (found.state, found.reason) == ("no_hardware", "no /dev/nvidia* device")
    assert "MLCORE_DEVICE=cpu" in found.fix


@pytest.mark.parametrize(
    ("driver", "cupy", "oldest"), [("535.104.05", CUPY13, "580.65"), ("470.82", CUPY12, "525.60")]
)
def test_an_old_driver_is_named_with_what_the_cupy_needs(
    tmp_path: Path, driver: str, cupy: Distribution, oldest: str
) -> None:
    found = probe(Machine(tmp_path, driver=driver, cupy=(cupy,)))
    assert found.state == "driver_too_old"
    assert found.reason == f"driver {driver} found; {cupy.name} needs {oldest} or newer"
    assert "update the driver" in found.fix


def test_a_driver_that_is_new_enough_for_an_older_cuda_will_do(tmp_path: Path) -> None:
    assert probe(Machine(tmp_path, driver="535.104.05", cupy=(CUPY12,))).state == "ready"


def test_without_cupy_the_extra_is_named(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, cupy=()))
    assert found.state == "missing_dependency"
    assert found.fix == "pip install 'mlcore-cuda[cuda13]'"


def test_rocms_cupy_is_not_taken_for_cudas(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, cupy=(ROCM,)))
    assert found.state == "missing_dependency"
    assert "cupy-rocm-7-0 14.2.0" in found.reason
    assert "installs the same package 'cupy'" in found.reason
    assert "environment of its own" in found.fix
    assert "pip uninstall -y cupy-rocm-7-0" in found.fix


@pytest.mark.parametrize("gpus", [0, 2])
def test_both_cupys_in_one_environment_are_refused_with_both_names(tmp_path: Path, gpus: int) -> None:
    found = probe(Machine(tmp_path, gpus=gpus, cupy=(CUPY13, ROCM)))
    assert found.state == "broken"
    assert "cupy-cuda13x 14.2.0 and cupy-rocm-7-0 14.2.0 are both installed" in found.reason
    assert "pip uninstall -y cupy-cuda13x cupy-rocm-7-0" in found.fix


def test_two_versions_of_cuda_in_one_environment_are_refused(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, cupy=(CUPY13, CUPY12)))
    assert found.state == "broken"
    assert "pip uninstall -y cupy-cuda13x cupy-cuda12x" in found.fix


@pytest.mark.parametrize(
    ("value", "uuids"), [("1", ["GPU-1aaa"]), ("1,0", ["GPU-1aaa", "GPU-0aaa"]), ("GPU-1", ["GPU-1aaa"])]
)
def test_the_visible_devices_are_renumbered(tmp_path: Path, value: str, uuids: list[str]) -> None:
    found = probe(Machine(tmp_path), CUDA_VISIBLE_DEVICES=value)
    assert [d.uuid for d in found.devices] == uuids
    assert [d.id for d in found.devices] == [f"cuda:{i}" for i in range(len(uuids))]


@pytest.mark.parametrize("value", ["", "-1", "7", "nonsense"])
def test_hidden_devices_are_no_hardware_and_the_variable_is_named(tmp_path: Path, value: str) -> None:
    found = probe(Machine(tmp_path), CUDA_VISIBLE_DEVICES=value)
    assert found.state == "no_hardware"
    assert found.reason == f"CUDA_VISIBLE_DEVICES={value!r} hides all devices"
    assert "CUDA_VISIBLE_DEVICES" in found.fix


def test_the_list_of_visible_devices_ends_at_what_is_unknown() -> None:
    assert visible("CUDA_VISIBLE_DEVICES", "1,9,0", 2) == [1]
    assert visible("CUDA_VISIBLE_DEVICES", "0,0", 2) == [0]


def test_a_container_without_the_drivers_library(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, library="OSError: libcuda.so.1: cannot open shared object file"))
    assert found.state == "missing_dependency"
    assert "libcuda.so.1" in found.reason
    assert "container" in found.fix


def test_subsystem_for_linux_has_another_device_file(tmp_path: Path) -> None:
    facts = Machine(tmp_path, gpus=0, driver=None)
    (tmp_path / "dev/dxg").touch()
    found = probe(facts)
    assert found.state == "ready"
    assert [d.name for d in found.devices] == ["NVIDIA GPU"]


def test_distributions_are_read_from_folder_names(tmp_path: Path) -> None:
    for name in ("cupy_cuda13x-14.2.0", "cupy_rocm_7_0-14.1.0", "cupy-13.0.0", "cupy_xarray-0.1", "cupyx-1"):
        (tmp_path / f"{name}.dist-info").mkdir()
    found = {one.name: one.version for one in distributions([str(tmp_path)])}
    assert found == {"cupy": "13.0.0", "cupy-cuda13x": "14.2.0", "cupy-rocm-7-0": "14.1.0"}


def test_a_cupy_built_from_source_serves_either_kind() -> None:
    own = Distribution("cupy", "14.2.0")
    assert choose("cuda", [own], "x") is own
    assert choose("rocm", [own], "x") is own
    assert needed(own) is None


def test_the_probe_is_light_and_quick() -> None:
    """In a fresh process: nothing heavy is imported, and asking takes less than its limit."""
    code = (
        "import sys, time; from mlcore_cuda.plugin import plugin; from mlcore.plugin.api import ProbeContext;"
        "t = time.perf_counter(); plugin.probe(ProbeContext()); print(time.perf_counter() - t);"
        "print([m for m in ('cupy', 'numpy.linalg', 'ml_dtypes', 'mlcore.tensor') if m in sys.modules and m == 'cupy'])"
    )
    for _ in range(3):  # a busy machine may take its time once
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, heavy = run.stdout.splitlines()
        assert heavy == "[]"
        if float(seconds) < 0.05:
            return
        time.sleep(1)
    pytest.fail(f"the probe takes {seconds} s")
