"""Values of MLCORE_* variables: from the environment, the configuration file, the default; and the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcore import config
from mlcore.errors import ArgumentError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("MLCORE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLCORE_CONFIG", "off")
    monkeypatch.setenv("MLCORE_CACHE_DIR", str(tmp_path / "cache"))
    config.reload()
    yield
    monkeypatch.undo()
    config.reload()


def write(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(text)
    monkeypatch.setenv("MLCORE_CONFIG", str(path))
    config.reload()


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        (config.BACKENDS, " a , !b,", ("a", "!b")),
        (config.NUM_THREADS, "3", 3),
        (config.PLUGINS, "off", False),
        (config.PLUGINS, "OFF", False),
        (config.PLUGINS, "0", False),
        (config.SAFE_PROBE, "1", True),
        (config.PROBE_TIMEOUT, "0.5", 0.5),
        (config.FALLBACK, "error", "error"),
        (config.DEVICE, "", None),
        (config.DEVICE, "   ", None),
    ],
)
def test_values(
    variable: config.Variable[object], text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.name, text)
    assert variable.get() == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "MLCORE_FALLBACK",
            "wran",
            "MLCORE_FALLBACK='wran' is not one of warn, error, allow; did you mean 'warn'?",
        ),
        ("MLCORE_NUM_THREADS", "0", "MLCORE_NUM_THREADS='0' is not valid: use a whole number of at least 1"),
        (
            "MLCORE_NUM_THREADS",
            "-2",
            "MLCORE_NUM_THREADS='-2' is not valid: use a whole number of at least 1",
        ),
        ("MLCORE_PLUGINS", "maybe", "MLCORE_PLUGINS='maybe' is not valid: use 1 or 0"),
        (
            "MLCORE_PROBE_TIMEOUT",
            "nan",
            "MLCORE_PROBE_TIMEOUT='nan' is not valid: use a positive number of seconds",
        ),
        (
            "MLCORE_LOG",
            "debgu",
            "MLCORE_LOG='debgu' is not one of debug, info, warning, error, critical; did you mean",
        ),
    ],
)
def test_values_that_make_no_sense(
    name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ArgumentError) as raised:
        config.VARIABLES[name].get()
    assert str(raised.value).startswith(message)
    assert "origin:  environment" in str(raised.value)
    assert config.VARIABLES[name].setting().problem.startswith(message)


def test_the_file_stands_below_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "c.toml",
        'num-threads = 2\nsafe_probe = true\nbackends = ["a", "!b"]\n[toy]\nsize = 3\n',
        monkeypatch,
    )
    assert config.NUM_THREADS.setting().origin == "config file"
    assert (config.NUM_THREADS.get(), config.SAFE_PROBE.get(), config.BACKENDS.get()) == (
        2,
        True,
        ("a", "!b"),
    )
    monkeypatch.setenv("MLCORE_NUM_THREADS", "5")
    assert (config.NUM_THREADS.get(), config.NUM_THREADS.setting().origin) == (5, "environment")
    assert config.unknown_variables() == [
        "MLCORE_TOY_SIZE is set in the configuration file, but no such variable exists"
    ]


def test_a_bad_value_in_the_file_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "c.toml", 'fallback = "never"\n', monkeypatch)
    with pytest.raises(ArgumentError, match="not one of warn, error, allow") as raised:
        config.FALLBACK.get()
    assert f"origin:  config file {tmp_path / 'c.toml'}" in str(raised.value)


@pytest.mark.parametrize("text", ["device = ", "[", "device = 'x'\ndevice = 'y'\n", "\ud800"])
def test_a_file_that_cannot_be_read_is_ignored(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    monkeypatch.setenv("MLCORE_CONFIG", str(file))
    config.reload()
    assert config.DEVICE.get() is None
    assert config.config_problem().startswith(f"the configuration file {file} was ignored: ")


def test_unknown_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCORE_CACHEDIR", "x")
    assert config.unknown_variables() == [
        "MLCORE_CACHEDIR is set in the environment, but no such variable exists; did you mean 'MLCORE_CACHE_DIR'?"
    ]


def test_cache_files_are_written_whole(tmp_path: Path) -> None:
    assert config.write_cache_json("a/b.json", {"x": [1, 2]})
    assert config.read_cache_json("a/b.json") == {"x": [1, 2]}
    assert [path.name for path in (tmp_path / "cache/a").iterdir()] == ["b.json"]
    assert config.cache_problem() == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"3"])
def test_a_corrupt_cache_file_reads_as_empty(content: bytes) -> None:
    config.write_cache("x.json", content)
    assert config.read_cache_json("x.json") == {}


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLCORE_CACHE_DIR", str(tmp_path / "file"))
    assert not config.write_cache_json("x.json", {})
    assert config.read_cache("x.json") is None
    assert config.cache_problem() == f"the cache folder {tmp_path / 'file'} cannot be written"


def test_declaring_twice_keeps_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "VARIABLES", {})
    first = config.declare(config.Variable("MLCORE_TOY", 1, int, "a toy"))
    assert config.declare(config.Variable("MLCORE_TOY", 2, int, "another")) is first
    with pytest.raises(ArgumentError, match="starts with MLCORE_"):
        config.declare(config.Variable("TOY", 2, int, "another"))
