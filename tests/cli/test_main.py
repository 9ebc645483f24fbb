"""The command line by itself: help, mistakes, interruptions, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlcore.cli.config
from mlcore._version import __version__
from mlcore.backends import detect
from mlcore.cli import main
from mlcore.errors import ArgumentError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("MLCORE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLCORE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLCORE_CONFIG", "off")
    detect.reset()
    yield
    monkeypatch.undo()
    detect.reset()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mlcore {__version__}\n"


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: mlcore")
    for command in ("doctor", "devices", "coverage", "config"):
        assert f"    {command}" in shown


def test_a_misspelt_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["docter"])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "mlcore: error: unknown command 'docter'; did you mean 'doctor'?" in message
    assert "commands: " in message


def test_an_interruption_has_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlcore.cli.config, "run", interrupted)
    assert main(["config"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_of_mlcore_is_its_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(arguments: object) -> int:
        raise ArgumentError("a value of 3", fix="use 4")

    monkeypatch.setattr(mlcore.cli.config, "run", fails)
    assert main(["config"]) == 2
    assert capsys.readouterr().err == "ArgumentError: a value of 3\n  fix: use 4\n"


def test_a_fault_in_a_command_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(mlcore.cli.config, "run", fails)
    with pytest.raises(ZeroDivisionError):
        main(["config"])


def test_a_reader_that_stops_reading_is_no_error() -> None:
    code = "import sys; from mlcore.cli import main; sys.exit(main(['coverage', 'reference']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    message = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(), message) == (0, "")


def test_config_lists_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    shown = capsys.readouterr().out
    for variable in mlcore.config.VARIABLES:
        assert f"\n{variable} " in shown
    assert "configuration file: off" in shown


def test_config_reports_problems(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCORE_FALLBACK", "eror")
    assert main(["config", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["problems"] == [
        "MLCORE_FALLBACK='eror' is not one of warn, error, allow; did you mean 'error'?"
    ]
    (found,) = [v for v in content["variables"] if v["name"] == "MLCORE_FALLBACK"]
    assert (found["value"], found["origin"]) == ("eror", "invalid")


def test_devices_lists_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLCORE_DEVICE", "reference")
    assert main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("*  reference") for line in lines)
    assert "* is the default device, chosen by: MLCORE_DEVICE=reference" in lines


def test_devices_when_the_default_is_unusable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLCORE_DEVICE", "refrence")
    assert main(["devices"]) == 2
    shown = capsys.readouterr()
    assert "reference" in shown.out
    assert "DeviceError: unknown device 'refrence'; did you mean 'reference'?" in shown.err
