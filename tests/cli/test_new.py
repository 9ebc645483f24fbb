"""`mlcore new`: names that are possible, folders that are free, and what is said about it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from mlcore.cli import main
from mlcore.cli.starters import LAYERS, TEMPLATES
from mlcore.cli.starting import check, requirement_of
from mlcore.errors import ArgumentError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("arguments", ["backend toychip", "domain toybirds", "op toyclip"])
def test_what_is_written_is_what_was_announced(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", *arguments.split(), "--dry-run", "--json"]) == 0
    announced = json.loads(capsys.readouterr().out)
    folder = Path(announced["folder"])
    assert not folder.exists()
    assert not announced["written"]
    assert main(["new", *arguments.split()]) == 0
    assert files(folder) == set(announced["files"])
    assert [path.name for path in Path().iterdir()] == [folder.name], "something is left behind"
    settings = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["name"] == announced["distribution"]
    for path in folder.rglob("*"):
        assert not path.is_file() or "{{" not in path.read_text(encoding="utf-8").replace("${{", "")


@pytest.mark.parametrize(
    ("what", "name", "says"),
    [
        ("backend", "My Chip", "fix:   my_chip"),
        ("backend", "9lives", "fix:   lives"),
        ("backend", "a__b", "fix:   a_b"),
        ("backend", "", "is no name for a backend"),
        ("backend", "../etc", "fix:   etc"),
        ("backend", "naïve", "is no name"),
        ("backend", "lambda", "'lambda' cannot name a backend"),
        ("domain", "match", "fix:   my_match"),
        ("backend", "auto", "the word has a meaning already"),
        ("backend", "a" * 25, "is too long: 25 letters"),
        ("backend", "reference", "a backend 'reference' is installed already"),
        ("op", "tanh", "an operation 'tanh' exists already"),
        ("op", "stack", "an operation 'stack' exists already"),
        ("op", "shape", "a Tensor has 'shape' already"),
        ("op", "json", "is a module of Python's"),
    ],
)
def test_names_that_cannot_be(what: str, name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", what, name]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("ArgumentError: ")
    assert not list(Path().iterdir())


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("mlcore-toychip")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for options in ([], ["--dry-run"]):
        assert main(["new", "backend", "toychip", *options]) == 2
        assert "mlcore-toychip exists already" in capsys.readouterr().err
    assert files(Path()) == {"mlcore-toychip/mine.txt"}
    assert main(["new", "backend", "toychip", "--path", "other/place"]) == 0
    assert Path("other/place/pyproject.toml").is_file()


def test_an_empty_folder_is_taken() -> None:
    Path("mlcore-toychip").mkdir()
    assert main(["new", "backend", "toychip"]) == 0
    assert "pyproject.toml" in files(Path("mlcore-toychip"))


def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert main(["new", "backend", "toychip", "--path", "file/inside"]) == 2
    assert "cannot write file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--library", "a-b"], "'a-b' is no module"),
        (["--library", "a.class"], "'a.class' is no module"),
        (["--library", "json"], "'json' is no array library"),
        (["--library", "mlcore"], "'mlcore' is no array library"),
        (["--requires", "toylib; x"], "is not a requirement"),
        (["--kind", "kernels", "--library", "numpy"], "--library is for --kind arraylib"),
    ],
)
def test_libraries_that_cannot_be(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "backend", "toychip", *options]) == 2
    assert says in capsys.readouterr().err


def test_the_library_s_distribution_is_found() -> None:
    assert requirement_of("numpy.linalg", None).startswith("numpy>=")
    assert requirement_of("toy_library.sub", None) == "toy-library"
    assert requirement_of("numpy", "toylib[fast]>=2,<3") == "toylib[fast]>=2,<3"


def test_an_operation_goes_into_a_package_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "domain", "toybirds"]) == 0
    before = (Path("mlcore-toybirds") / "pyproject.toml").read_text(encoding="utf-8")
    assert main(["new", "op", "toyclip", "--into", "mlcore-toybirds", "--dry-run"]) == 0
    assert (Path("mlcore-toybirds") / "pyproject.toml").read_text(encoding="utf-8") == before
    for name in ("toyclip", "toysmooth"):
        assert main(["new", "op", name, "--into", "mlcore-toybirds"]) == 0
    after = (Path("mlcore-toybirds") / "pyproject.toml").read_text(encoding="utf-8")
    assert after.startswith(before)
    points = tomllib.loads(after)["project"]["entry-points"]["mlcore.ops"]
    assert points == {"toyclip": "mlcore_toybirds.toyclip", "toysmooth": "mlcore_toybirds.toysmooth"}
    capsys.readouterr()
    assert main(["new", "op", "toyclip", "--into", "mlcore-toybirds"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["new", "op", "toyclip", "--into", "."]) == 2
    assert "has no pyproject.toml" in capsys.readouterr().err
    assert main(["new", "op", "toyclip", "--into", "mlcore-toybirds", "--path", "x"]) == 2


def test_every_folder_of_templates_is_used() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == {
        layer for layers in LAYERS.values() for layer in layers
    }


def test_a_name_is_taken_by_what_is_installed() -> None:
    pytest.importorskip("mlcore_vision")
    with pytest.raises(ArgumentError, match="a domain 'vision' is installed already"):
        check("domain", "vision")
