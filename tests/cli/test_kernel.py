"""mlcore kernel: the page about it is what it prints, and what is asked wrongly is told."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from mlcore.backends import detect
from mlcore.cli import main
from mlcore.plugin import BackendPlugin, Probe, discovery

pytest.importorskip("mlcore_cpu")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"```console\n\$ mlcore ([^\n]*)\n(.*?)```", TEXT, re.DOTALL)


class Missing(BackendPlugin):
    """A device that is not there."""

    name, dialect = "absent", "mlcore_cpu.dialect:DIALECT"

    def probe(self, ctx: object) -> Probe:
        return Probe.no_hardware("no /dev/absent* device")


class Wrong(Missing):
    name, dialect = "wrong", "mlcore_cpu.dialect:NOTHING"


class Plain(Missing):
    name, dialect = "plain", ""


@pytest.fixture(autouse=True)
def plugins() -> object:
    if importlib.util.find_spec("mlcore_cpu.dialect") is None:
        pytest.skip("mlcore-cpu is older than its dialect")
    detect.reset()
    for plugin in (Missing(), Wrong(), Plain()):
        discovery.provide(plugin)
    yield
    detect.reset()


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(["kernel", *words])
    found = capsys.readouterr()
    return status, found.out + found.err


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_the_page_shows_what_is_printed(command: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, *command.split()[1:])
    assert text == shown
    assert status == (2 if "Error" in shown else 0)


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 3


def test_the_page_s_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    exec(program, {})  # noqa: S102  (the page is ours)
    assert capsys.readouterr().out.rstrip() == shown.rstrip()


def test_a_missing_device_is_no_obstacle(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "tanh", "--backend", "absent")
    assert status == 0
    assert "__builtin_tanhf(a_x)" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tnah", "--backend", "cpu"), "unknown operation 'tnah'; did you mean 'tanh'?"),
        (("tanh", "--backend", "absnet"), "no backend 'absnet' is installed; did you mean 'absent'?"),
        (("tanh", "--backend", "wrong"), "its dialect 'mlcore_cpu.dialect:NOTHING' cannot be imported"),
        (("tanh", "--backend", "plain"), "backend 'plain' names no dialect"),
        (("tanh", "--backend", "cpu", "--dtype", "int8"), "tanh has no C++ kernel for int8"),
        (
            ("tanh", "--backend", "cpu", "--dtype", "flot32"),
            "unknown dtype 'flot32'; did you mean 'float32'?",
        ),
        (("reshape", "--backend", "cpu"), "it is a view"),
        (("gelu", "--backend", "cpu"), "it is composed from other operations"),
    ],
)
def test_what_is_wrong_is_told(words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, *words)
    assert status == 2
    assert told in text


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "--backend", "cpu")
    assert status == 0
    rows = {line.split()[0]: line for line in text.splitlines()[1:]}
    assert rows["max"].endswith("group, each")
    assert "12 dtypes" in rows["add"]
    assert "reshape" not in rows


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (
            ("astype", "--dtype", "int8", "--to", "float16", "--form", "strided"),
            "ml_astype_int8_float16_to_strided",
        ),
        (("max", "--form", "each"), "ml_max_float32_each"),
        (("contract", "--dtype", "bfloat16"), "ml_contract_bfloat16_tiled"),
        (("random_bits",), "ml_random_bits_uint32_flat"),
        (("concat", "--dtype", "float64"), "ml_copy_uint64_flat"),
        (("where_true", "--form", "unravel"), "ml_where_true_int64_unravel"),
    ],
)
def test_forms_and_dtypes(words: tuple[str, ...], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, *words, "--backend", "cpu:0")
    assert status == 0
    assert f"void {name}(" in text
