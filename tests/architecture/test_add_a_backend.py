"""A new backend, with a dialect of its own, touches no file of the core; and the core names none that there is."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

import mlcore

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for ending in ("*.py", "*.pyi", "*.pxd") for path in (ROOT / "mlcore").rglob(ending))
FOLDERS = sorted(
    path.parent
    for pattern in ("backend-*", "examples/backend-*", "examples/*/", "plugins/*")
    for path in ROOT.glob(f"{pattern}/pyproject.toml")
)
# What the core requires itself, and what tests do.
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {
    form
    for line in [*CORE["dependencies"], CORE["name"], "pytest"]
    for name in [re.match(r"[\w.-]+", line)[0].lower()]
    for form in (name, name.replace("-", "_"), name.replace("_", "-"))
}
# Words of the languages, not of a backend.
WORDS = {"test", "docs", "all", "dev"}


def names(folder: Path) -> set[str]:
    """What a package brings: its folder, its distribution and modules, its entry points, what it requires."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {project["name"], project["name"].replace("-", "_")}
    for group in project.get("entry-points", {}).values():
        found |= set(group)
    extras = project.get("optional-dependencies", {})
    lists = [project.get("dependencies", []), *(lines for name, lines in extras.items() if name not in WORDS)]
    required = {re.match(r"[\w.-]+", line)[0].lower() for lines in lists for line in lines}
    if "backend" in folder.name:  # a domain's libraries are nobody's secret
        found |= {form for one in required - OURS for form in (one, one.replace("-", "_"))}
        found |= {path.name for path in (folder / "src").glob("*") if path.is_dir()}
    return found - OURS


def texts(path: Path) -> Iterator[tuple[str, int]]:
    """Every identifier and string of a file that is not a comment or a docstring, with its line."""
    if path.suffix == ".pxd":
        lines = path.read_text(encoding="utf-8").splitlines()
        yield from ((line.partition("#")[0], number) for number, line in enumerate(lines, 1))
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value, line
        elif isinstance(node, ast.Name):
            yield node.id, line
        elif isinstance(node, ast.Attribute):
            yield node.attr, line
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.name, line) for alias in node.names)
            yield getattr(node, "module", None) or "", line


def pattern(words: set[str]) -> re.Pattern[str]:
    """A text that has one of the words, whole."""
    inside = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{inside})(?![A-Za-z0-9])", re.IGNORECASE)


BACKENDS = [folder for folder in FOLDERS if "backend" in folder.name]


def test_the_names_come_from_the_folders() -> None:
    assert "backend-cpu" in {folder.name for folder in BACKENDS}
    assert {"mlcore-cpu", "mlcore_cpu", "cpu"} <= names(ROOT / "backend-cpu")
    assert all(names(folder) for folder in FOLDERS)


def test_the_scan_finds_a_name() -> None:
    found = pattern({"mychip", "chip-lib"})
    texts = ("mychip", "on mychip:0", "import chip-lib", "mychips", "amychip", "x_mychip")
    assert [bool(found.search(text)) for text in texts] == [True, True, True, False, False, True]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_core_names_no_package_of_ours(folder: Path) -> None:
    """Of domains, their packages alone: what they are about is a word like any other."""
    words = names(folder)
    if folder not in BACKENDS:
        words = {word for word in words if word.startswith(("mlcore-", "mlcore_"))}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text[:60]!r}"
        for path in SOURCES
        if "templates" not in path.parts  # what `mlcore new` writes into other people's packages
        for text, line in texts(path)
        if searched(words, path).search(text) and not innocent(text)
    ]
    assert not found, "\n".join(found)


@lru_cache
def _pattern(words: frozenset[str]) -> re.Pattern[str]:
    return pattern(set(words))


def searched(words: set[str], path: Path) -> re.Pattern[str]:
    """What may not stand in a file. The benchmarks hold mlcore against other libraries, one of which may have a
    backend made of it: there it is our packages' names that count."""
    if "bench" in path.relative_to(ROOT).parts:
        words = {word for word in words if word.startswith(("mlcore-", "mlcore_"))}
    return _pattern(frozenset(words))


def innocent(text: str) -> bool:
    """Words of the operating system that have a backend's name in them."""
    return bool(re.fullmatch(r"(?:process_)?cpu_(?:count|name)", text))


def test_a_backend_imports_the_core_and_never_the_other_way_round() -> None:
    modules = {path.name for folder in BACKENDS for path in (folder / "src").glob("*") if path.is_dir()}
    assert len(modules) >= 1
    offenders = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for text, line in texts(path)
        if text.partition(".")[0] in modules
    ]
    assert not offenders


# ---------------------------------------------------------------- a backend and a dialect that nobody knows

DISTS = ROOT / "tests" / "backends" / "dists"
CHALK = """
import json
import numpy as np
import mlcore as ml
from mlcore import nn, optim
from mlcore.backends import fallback
from mlcore.nn import functional as F
from mlcore.ops import registry

rng = np.random.default_rng(0)
compared = 0
for dtype in ("float32", "float64", "int32"):
    a, b = (rng.integers(1, 9, (5, 7)).astype(dtype) for _ in range(2))
    functions = [lambda x, y: x + y, lambda x, y: x * y - x, lambda x, y: x.sum(axis=0), lambda x, y: x @ y.mT,
                 lambda x, y: ml.where(x > y, x, y), lambda x, y: ml.concat([x, y.mT.reshape(5, 7)]),
                 lambda x, y: x[1:, ::2]]
    if dtype != "int32":
        functions += [lambda x, y: ml.tanh(x), lambda x, y: ml.softmax(x - y, axis=1), lambda x, y: ml.exp(-x) / y]
    for function in functions:
        found, expected = (function(*(ml.asarray(one, device=d) for one in (a, b))) for d in ("chalk", "reference"))
        assert str(found.device) == "chalk"
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
        compared += 1
losses = []
for device in ("chalk", "reference"):
    with ml.device(device):
        ml.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        optimizer = optim.AdamW(model.parameters(), lr=0.05)
        x, t = ml.random.normal((16, 4)), ml.asarray([0, 1, 2, 0] * 4)
        for _ in range(5):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
print(json.dumps({"compared": compared, "host": len(fallback.ledger)}))
"""


def test_a_dialect_and_its_backend_come_without_a_change_of_the_core(tmp_path: Path) -> None:
    """A distribution with a kernel language of its own: it computes, trains, and nothing runs on the host."""
    if shutil.which("g++") is None:
        pytest.skip("chalk is compiled by g++, which is not here")
    site = tmp_path / "site"
    for name in ("mlcore-hostc", "mlcore-chalk"):
        settings = tomllib.loads((DISTS / name / "pyproject.toml").read_text(encoding="utf-8"))
        for package in settings["tool"]["setuptools"]["packages"]:
            shutil.copytree(DISTS / name / package, site / package)
        project = settings["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = project["entry-points"]["mlcore.backends"].items()
        (info / "entry_points.txt").write_text(
            "[mlcore.backends]\n" + "".join(f"{key} = {value}\n" for key, value in points)
        )
    path = [str(site), str(Path(mlcore.__file__).parents[1]), str(ROOT / "backend-cpu" / "src")]
    made = subprocess.run(
        [sys.executable, "-c", CHALK],
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(path), "MLCORE_CACHE_DIR": str(tmp_path / "cache"),
            "MLCORE_BACKENDS": "chalk", "MLCORE_FALLBACK": "allow", "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    found = json.loads(made.stdout)
    assert found == {"compared": 27, "host": 0}
    named = [
        path for path in SOURCES if any(re.search(r"chalk", text, re.IGNORECASE) for text, _ in texts(path))
    ]
    assert not named
