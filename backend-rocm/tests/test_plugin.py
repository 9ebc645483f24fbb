"""What the light plugin says of a machine, from facts that are made up: no GPU, driver or CuPy is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlcore_cupy.installed import Distribution
from mlcore_rocm.facts import Facts
from mlcore_rocm.plugin import RocmPlugin

from mlcore.plugin.api import ProbeContext

ROCM, CUDA = Distribution("cupy-rocm-7-0", "14.2.0"), Distribution("cupy-cuda13x", "14.2.0")


class Machine(Facts):
    """A machine with a processor node, some GPUs, a ROCm and a CuPy, as files under a folder."""

    def __init__(
        self, root: Path, *, gpus: int = 2, rocm: str | None = "7.0.1-43", cupy: tuple[Distribution, ...] = (ROCM,),
        library: str = "", allowed: bool = True, node: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(str(root))
        self.cupy, self.missing, self.allowed = list(cupy), library, allowed
        (root / "dev").mkdir(parents=True, exist_ok=True)
        if node:
            (root / "dev/kfd").touch()
        for i in range(gpus + 1):  # the first is the processor
            folder = root / f"sys/class/kfd/kfd/topology/nodes/{i}"
            (folder / "mem_banks/0").mkdir(parents=True)
            facts = f"simd_count {440 if i else 0}\ngfx_target_version {90010 if i else 0}\n"
            (folder / "properties").write_text(facts + f"unique_id {i * 4096}\n")
            (folder / "name").write_text("aldebaran\n" if i else "\n")
            (folder / "mem_banks/0/properties").write_text("heap_type 1\nsize_in_bytes 68702699520\n")
        if rocm:
            (root / "opt/rocm/.info").mkdir(parents=True)
            (root / "opt/rocm/.info/version").write_text(rocm + "\n")

    def distributions(self) -> list[Distribution]:
        return self.cupy

    def library(self, name: str) -> str:
        assert name == "libamdhip64.so.7"
        return self.missing

    def may_open(self, node: str) -> bool:
        return self.allowed


def probe(facts: Facts, **env: str):  # type: ignore[no-untyped-def]
    plugin = RocmPlugin()
    plugin.facts = facts
    return plugin.probe(ProbeContext(env=env))


def test_a_machine_with_two_gpus_is_ready(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path))
    assert found.state == "ready"
    assert [(d.id, d.name, d.arch, d.uuid) for d in found.devices] == [
        ("rocm:0", "aldebaran", "gfx90a", "GPU-0000000000001000"),
        ("rocm:1", "aldebaran", "gfx90a", "GPU-0000000000002000"),
    ]
    assert found.devices[0].memory == 68702699520
    assert found.devices[0].driver == "7.0.1"


def test_no_device_file_is_no_hardware(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, node=False))
    assert (found.state, found.reason) == ("no_hardware", "no /dev/kfd device")


def test_a_driver_without_gpus_is_no_hardware(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, gpus=0))
    assert found.state == "no_hardware"
    assert "lists no GPU" in found.reason


def test_an_older_rocm_is_named_with_what_the_cupy_needs(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, rocm="6.2.4"))
    assert found.state == "driver_too_old"
    assert found.reason == "ROCm 6.2.4 found; cupy-rocm-7-0 needs 7.0 or newer"


def test_without_hips_library_it_is_named(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, library="OSError: libamdhip64.so.7: cannot open shared object file"))
    assert found.state == "missing_dependency"
    assert "libamdhip64.so.7" in found.reason
    assert "LD_LIBRARY_PATH" in found.fix


def test_a_device_file_that_this_user_may_not_open(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, allowed=False))
    assert found.state == "no_hardware"
    assert "render" in found.fix


def test_without_cupy_the_extra_is_named(tmp_path: Path) -> None:
    assert probe(Machine(tmp_path, cupy=())).fix == "pip install 'mlcore-rocm[rocm7]'"


def test_cudas_cupy_is_not_taken_for_rocms(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, cupy=(CUDA,)))
    assert found.state == "missing_dependency"
    assert "cupy-cuda13x 14.2.0" in found.reason
    assert "installs the same package 'cupy'" in found.reason


def test_both_cupys_in_one_environment_are_refused_with_both_names(tmp_path: Path) -> None:
    found = probe(Machine(tmp_path, cupy=(CUDA, ROCM)))
    assert found.state == "broken"
    assert "cupy-rocm-7-0 14.2.0 and cupy-cuda13x 14.2.0 are both installed" in found.reason


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_visible_devices(tmp_path: Path, variable: str) -> None:
    facts = Machine(tmp_path)
    assert [d.uuid[-4:] for d in probe(facts, **{variable: "1"}).devices] == ["2000"]
    hidden = probe(facts, **{variable: ""})
    assert hidden.state == "no_hardware"
    assert hidden.reason == f"{variable}='' hides all devices"


def test_the_variables_apply_one_after_the_other(tmp_path: Path) -> None:
    """HIP counts among what ROCr leaves."""
    found = probe(Machine(tmp_path), ROCR_VISIBLE_DEVICES="1", HIP_VISIBLE_DEVICES="0")
    assert [d.uuid[-4:] for d in found.devices] == ["2000"]
