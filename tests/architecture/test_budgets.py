"""How much one has to read: budgets for the kernel, for backends, for the plugin system, and for each file."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_BUDGET = 450
# What may be longer, and why.
LONGER: dict[str, tuple[int, str]] = {}

FOLDERS = ["mlcore", "backend-cpu/src", "plugins"]
FILES = sorted(
    path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "build" not in path.parts
)
# Statements: what computes (the layers up to the operations), and what finds plugins for it.
PLUGINS = ["config", "plugin"]
BACKENDS = ["backends", "codegen"]  # what makes a library, or a dialect, a backend
# The operations hold recurrent layers and attention since they are fused: 4,100 statements without them; then all
# functions of the Array API.
BUDGETS = {"kernel": 5_400, "backends": 3_000, "plugins": 1_500}


def kernel() -> list[str]:
    """The modules of the layers from the operations down, but for backends and the plugin system."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers: list[str] = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    names = [re.sub(r"[() ]", "", name) for layer in layers for name in layer.split(":")]
    return [name for name in names[names.index("ops") :] if name not in PLUGINS + BACKENDS]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def statements(path: Path) -> int:
    """Lines of code, however the formatter breaks them: a statement counts once, comments and docstrings do not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = [
        node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return sum(isinstance(node, ast.stmt | ast.ExceptHandler) for node in ast.walk(tree)) - len(prose)


def test_statements_are_counted_without_prose(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        '"""Says\nmuch."""\n\n# more\nx = [\n    1,\n    2,\n]\ndef f():\n    "doc"\n    return x\n'
    )
    assert statements(file) == 3


@pytest.mark.parametrize("part", BUDGETS)
def test_a_part_fits_its_budget(part: str) -> None:
    names = {"kernel": kernel(), "backends": BACKENDS, "plugins": PLUGINS}[part]
    paths = [ROOT / "mlcore" / name for name in names]
    files = [
        file
        for path in paths
        for file in (path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")])
    ]
    total = sum(statements(path) for path in files)
    assert len(files) >= len(names)
    assert total <= BUDGETS[part], f"{part} has {total} statements"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_reads_in_one_go(path: Path) -> None:
    budget, reason = LONGER.get(name(path), (FILE_BUDGET, ""))
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= budget, f"{name(path)} has {count} lines; split it, or give a reason in LONGER"
    assert not reason or count > FILE_BUDGET, f"{name(path)} fits now: remove it from LONGER"


def test_every_exception_still_exists() -> None:
    assert not [path for path in LONGER if not (ROOT / path).exists()]
