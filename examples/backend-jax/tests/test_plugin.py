"""The light object: what it says of a machine, and that it stays light."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlcore_jax import plugin as light

from mlcore.plugin.api import ProbeContext


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Pretends a machine: the packages that are installed, and the device files."""

    def pretend(packages: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(light.probes, "find_spec", lambda name: name in packages)
        monkeypatch.setattr(
            light.probes, "device_node", lambda pattern: list(files) if pattern in known(files) else []
        )

    def known(files: tuple[str, ...]) -> set[str]:
        from fnmatch import fnmatch

        patterns = [pattern for platform in light.ACCELERATORS for pattern in platform.files]
        return {p for p in patterns if any(fnmatch(file, p) for file in files)}

    return pretend


CHIPS = tuple(f"/dev/vfio/{i}" for i in range(4))
CASES = [
    ((), (), {}, ("cpu", 1)),
    (("libtpu",), CHIPS, {}, ("tpu", 4)),
    (("libtpu",), ("/dev/accel0",), {}, ("tpu", 1)),
    (("libtpu",), (), {}, ("cpu", 1)),  # the package without the chip
    ((), CHIPS, {}, ("cpu", 1)),  # the chip without the package
    (("jax_cuda13_plugin",), ("/dev/nvidia0", "/dev/nvidia1"), {}, ("cuda", 2)),
    (("libtpu",), CHIPS, {"JAX_PLATFORMS": "cpu"}, ("cpu", 1)),
    (("jax_cuda12_plugin",), ("/dev/nvidia0",), {"JAX_PLATFORMS": "tpu,gpu"}, ("cuda", 1)),
    ((), (), {"JAX_PLATFORMS": "tpu"}, ("", 0)),
    ((), (), {"JAX_NUM_CPU_DEVICES": "3"}, ("cpu", 3)),
]


@pytest.mark.parametrize(("packages", "files", "env", "expected"), CASES)
def test_the_platform(
    machine: Callable[..., None], packages: tuple[str, ...], files: tuple[str, ...], env: dict[str, str],
    expected: tuple[str, int],
) -> None:  # fmt: skip
    machine(packages, files)
    assert light.found(env) == expected
    probe = light.plugin.probe(ProbeContext(env=env))
    assert len(probe.devices) == expected[1]
    assert probe.state == ("ready" if expected[1] else "no_hardware")
    assert [info.id for info in probe.devices] == [f"jax:{i}" for i in range(expected[1])]


def test_no_hardware_names_the_variable_and_the_fix(machine: Callable[..., None]) -> None:
    machine()
    probe = light.plugin.probe(ProbeContext(env={"JAX_PLATFORMS": "tpu"}))
    assert "JAX_PLATFORMS=tpu" in probe.reason
    assert "unset JAX_PLATFORMS" in probe.fix


def test_the_probe_is_quick_and_imports_nothing() -> None:
    code = (
        "import sys, mlcore as ml\n"
        "assert any(one.id == 'jax:0' for one in ml.devices())\n"
        "print('jax' in sys.modules, 'jaxlib' in sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.split() == ["False", "False"]
    light.plugin.probe(ProbeContext())
    started = time.perf_counter()
    light.plugin.probe(ProbeContext())
    assert time.perf_counter() - started < 0.05
