"""The command line with plugins installed: healthy ones, and every broken one at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

LIMIT = {"MLCORE_PROBE_TIMEOUT": "4"}


def test_doctor_with_every_broken_plugin(everything: Any) -> None:
    result = everything.mlcore("doctor", **LIMIT)
    assert result.status == 1, result.err
    lines = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    assert lines["processor"].endswith(" usable")
    for name, state in [
        ("healthy", "ready  "),
        ("needslib", "missing_dependency"),
        ("futureapi", "incompatible_api"),
        ("olddriver", "driver_too_old"),
        ("nohardware", "no_hardware"),
        ("exits", "broken"),
        ("segfault", "crashed"),
        ("twin", "duplicate"),
    ]:
        assert any(line.split()[:2] == [name, state.strip()] for line in result.out.splitlines()), name
    for text in (
        "plugins\n",
        "\nfixes\n",
        "pip install 'no-such-library>=2'",
        "\ndefault device\n  default device: healthy (Healthy 0)\n",
        "ok    healthy:0",
        "add, matmul and a round trip agree with NumPy",
        "WARN  segfault",
        "crashed: crashed (SIGSEGV) while probing in a child process",
        "ok    healthy",
        "two devices, as always",
        "WARN  slow",
    ):
        assert text in result.out, text
    assert "Traceback" not in result.err


def test_doctor_json(everything: Any) -> None:
    result = everything.mlcore("doctor", "--json", **LIMIT)
    content = json.loads(result.out)
    assert result.status == 1
    assert list(content) == ["versions", "plugins", "levels", "devices", "default_device", "checks"]
    plugins = {(plugin["distribution"], plugin["name"]): plugin for plugin in content["plugins"]}
    assert plugins["mlcore-test-olddriver", "olddriver"]["fix"] == "update the driver"
    assert {"id", "name", "rank", "reason", "chosen", "profile"} <= set(content["devices"][0])
    assert {check["status"] for check in content["checks"]} == {"ok", "warning"}


def test_doctor_for_one_plugin(site: Callable[..., Any]) -> None:
    some = site("olddriver", "raises", "healthy")
    result = some.mlcore("doctor", "olddriver")
    assert result.status == 2
    assert [line.split() for line in result.out.splitlines()[:6]] == [
        ["plugin", "olddriver"],
        ["distribution", "mlcore-test-olddriver", "1.0"],
        ["entry", "point", "mlcore.backends:", "mlcore_test_olddriver:plugin"],
        ["state", "driver_too_old"],
        ["cause", "driver", "525.60", "found;", "olddriver", "1.0", "needs", "527", "or", "newer"],
        ["fix", "update", "the", "driver"],
    ]
    raises = some.mlcore("doctor", "raises")
    assert "traceback\n  Traceback (most recent call last):" in raises.out
    healthy = some.mlcore("doctor", "healthy")
    assert healthy.status == 0
    assert "healthy:1  Healthy 1  7.1  h-1" in healthy.out
    misspelt = some.mlcore("doctor", "helthy")
    assert (misspelt.status, misspelt.out) == (2, "")
    assert misspelt.err.startswith(
        "PluginError: no plugin called 'helthy' is installed; did you mean 'healthy'?"
    )


def test_doctor_retries_a_crashed_plugin(site: Callable[..., Any]) -> None:
    some = site("segfault")
    assert some.mlcore("doctor", "segfault").status == 2
    (proof,) = (some.home / "cache/probes").glob("*segfault.json")
    before = proof.stat().st_mtime_ns
    some.mlcore("doctor", "segfault")
    assert proof.stat().st_mtime_ns == before
    assert "state         crashed" in some.mlcore("doctor", "segfault", "--retry").out
    assert proof.stat().st_mtime_ns > before


def test_doctor_when_the_device_asked_for_is_unusable(site: Callable[..., Any]) -> None:
    some = site("nohardware")
    result = some.mlcore("doctor", MLCORE_DEVICE="nohardware")
    assert result.status == 2
    assert "DeviceError: device 'nohardware' was requested (MLCORE_DEVICE) but is not usable" in result.out
    assert "cause:   no /dev/no-such-chip* device" in result.out
    assert json.loads(some.mlcore("doctor", "--json", MLCORE_DEVICE="nohardware").out)["default_device"][
        "error"
    ]


def test_doctor_reports_what_is_wrong_with_the_settings(site: Callable[..., Any]) -> None:
    some = site("healthy")
    result = some.mlcore(
        "doctor",
        MLCORE_DEVISE="x",
        MLCORE_NUM_THREADS="many",
        MLCORE_BACKENDS="healthy,!helthy",
        MLCORE_CONFIG="no/file",
    )
    assert result.status == 1
    for text in (
        "MLCORE_DEVISE is set in the environment, but no such variable exists; did you mean 'MLCORE_DEVICE'?",
        "MLCORE_NUM_THREADS='many' is not valid: use a whole number of at least 1",
        "MLCORE_BACKENDS names 'helthy', which is not installed; did you mean 'healthy'?",
        "MLCORE_CONFIG names no/file, which does not exist",
    ):
        assert text in result.out, text


def test_devices_with_every_broken_plugin(everything: Any) -> None:
    result = everything.mlcore("devices", **LIMIT)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split() == ["device", "hardware", "why"]
    assert lines[1].split() == ["*", "healthy", "Healthy", "0", "rank", "300"]
    assert "* is the default device, chosen by: static rank" in lines


def test_devices_can_be_measured(site: Callable[..., Any]) -> None:
    some = site("healthy")
    settings = {"MLCORE_BACKENDS": "healthy", "HEALTHY_VISIBLE_DEVICES": "0"}
    result = some.mlcore("devices", "--measure", "--json", **settings)
    assert result.status == 0, result.err
    content = json.loads(result.out)
    assert content["default"] == "healthy:0"
    for device in content["devices"]:
        profile = device["profile"]
        known = {"gemm", "bandwidth", "launch", "upload", "download", "queued", "memory", "taken", "fused"}
        assert set(profile) == known
        assert list(profile["gemm"]) == ["64", "256", "1024"]
        assert all(
            value > 0 for value in (*profile["gemm"].values(), profile["bandwidth"], profile["launch"])
        )
    table = some.mlcore("devices", **settings).out.splitlines()
    heads = ["device", "hardware", "GFLOP/s", "GB/s", "launch", "transfer", "measured", "why"]
    assert table[0].split() == heads
    assert "just now" in table[1]


def test_commands_of_plugins(everything: Any) -> None:
    played = everything.mlcore("play", "ball", **LIMIT)
    assert (played.status, played.out) == (0, "playing with ball\n")
    assert everything.mlcore("healthy", **LIMIT).out == "all is well\n"
    listed = everything.mlcore("--help", **LIMIT).out
    assert "plays with a toy" in listed
    assert "says that all is well" in listed
    failed = everything.mlcore("half", **LIMIT)  # its plugin broke down while adding it
    assert failed.status == 2
    assert "RuntimeError: no commands today" in failed.err


def test_a_command_of_the_core_loads_no_command_of_a_plugin(site: Callable[..., Any]) -> None:
    result = site("brokendomain").mlcore("devices")
    assert "no commands today" not in result.err


def test_config_shows_the_plugins_variables(site: Callable[..., Any]) -> None:
    some = site("healthy")
    content = json.loads(some.mlcore("config", "--json", MLCORE_HEALTHY_LEVEL="7").out)
    (found,) = [variable for variable in content["variables"] if variable["name"] == "MLCORE_HEALTHY_LEVEL"]
    assert (found["value"], found["origin"], found["owner"]) == (7, "environment", "mlcore-test-healthy")
    assert content["problems"] == []


@pytest.mark.parametrize("device", ["healthy", "reference"])
def test_coverage(site: Callable[..., Any], device: str) -> None:
    some = site("healthy")
    lines = some.mlcore("coverage", device).out.splitlines()
    add = next(line.split() for line in lines if line.startswith("add "))
    assert "N" in add
    content = json.loads(some.mlcore("coverage", device, "--json").out)
    assert content["device"] == f"{device}:0"
    assert content["operations"]["add"]["dtypes"]["float32"] == "native"
    assert content["totals"]["native"] > 100
    unknown = some.mlcore("coverage", "helthy")
    assert (unknown.status, unknown.out) == (2, "")
    assert "did you mean 'healthy'?" in unknown.err


def test_the_main_job_with_every_broken_plugin(everything: Any) -> None:
    """With the real backends and domains beside them; MLCORE_BACKENDS="" takes no backend out."""
    pytest.importorskip("mlcore_vision", reason="the vision plugin is not installed")
    job = ("train", "digits", "--quick", "--quiet", "--device", "reference", "--out", "broken-beside")
    result = everything.mlcore(*job, MLCORE_BACKENDS="", **LIMIT)
    assert result.status == 0, result.err
    assert "held out:" in result.out
    assert (everything.home / "broken-beside" / "summary.txt").exists()
