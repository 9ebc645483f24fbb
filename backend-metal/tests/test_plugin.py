"""The light object: what it says about a machine, and that it imports nothing heavy."""

import subprocess
import sys

import pytest
from mlcore_metal import plugin as module
from mlcore_metal.plugin import MetalPlugin, plugin

import mlcore as ml
from mlcore.plugin.api import ProbeContext

WITH_MLX = {"mlx": "0.32.4", "mlx-cpu": "0.32.4", "mlx-metal": "0.32.4"}


@pytest.fixture
def machine(monkeypatch):
    """A machine with these distributions and this system."""

    def make(installed, *, apple=False, macos="15.1"):
        monkeypatch.setattr(module.probes, "installed_version", lambda name: installed.get(name))
        monkeypatch.setattr(module, "on_apple_gpu", lambda: apple)
        monkeypatch.setattr(module.platform, "mac_ver", lambda: (macos, ("", "", ""), "arm64"))
        return MetalPlugin().probe(ProbeContext(env={}))

    return make


@pytest.mark.parametrize(
    ("installed", "how", "state", "words"),
    [
        ({}, {}, "missing_dependency", ("mlx", "mlcore-metal[mlx-cpu]")),
        ({"mlx": "0.32.4"}, {}, "missing_dependency", ("without the library", "mlx[cpu]==0.32.4")),
        ({"mlx": "0.21.0", "mlx-cpu": "0.21.0"}, {}, "missing_dependency", ("too old", "0.32")),
        ({}, {"apple": True}, "missing_dependency", ("mlx is not installed", "pip install")),
        ({"mlx": "0.32.4"}, {"apple": True}, "missing_dependency", ("without mlx-metal",)),
        (WITH_MLX, {"apple": True, "macos": "13.6"}, "driver_too_old", ("macOS 13.6", "update macOS")),
    ],
)
def test_states_that_are_not_ready_say_why_and_what_to_do(machine, installed, how, state, words):
    probe = machine(installed, **how)
    assert probe.state == state
    for word in words:
        assert word in f"{probe.reason} {probe.fix}"


def test_on_a_processor_the_device_says_that_it_is_one(machine):
    (info,) = machine(WITH_MLX).devices
    assert info.id == "metal:0"
    assert info.kind == "cpu"
    assert "no GPU" in info.name
    assert "for tests" in info.details["runs on"]


def test_on_a_mac_it_is_the_gpu(machine):
    (info,) = machine(WITH_MLX, apple=True).devices
    assert info.kind == "gpu"
    assert info.driver == "macOS 15.1"
    assert info.uuid
    assert "Metal" in info.details["runs on"]


def test_a_processor_never_wins_over_the_cpu_backend():
    assert module.RANK_CPU < 100 < module.RANK_GPU
    assert plugin.rank == (module.RANK_GPU if module.on_apple_gpu() else module.RANK_CPU)


def test_importing_and_probing_loads_no_mlx_and_is_quick():
    code = (
        "import sys, time; from mlcore_metal.plugin import plugin; from mlcore.plugin.api import ProbeContext\n"
        "plugin.probe(ProbeContext()); start = time.perf_counter(); plugin.probe(ProbeContext())\n"
        "print('mlx' in sys.modules, time.perf_counter() - start < 0.05)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("text", ["metal:0?eval=now", "metal:0?speed=fast"])
def test_options_are_checked(device, text):
    with pytest.raises(ml.errors.MlcoreError, match=r"eval"):
        ml.ones((2,), device=text)


def test_options_choose_the_evaluation(device):
    eager = plugin.open(device, {"eval": "eager"})
    lazy = plugin.open(device, {"eval": "lazy"})
    assert eager.runtime.eager
    assert not lazy.runtime.eager
